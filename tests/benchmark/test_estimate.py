"""Intervals over seeds and patients: closed forms, invariances, coverage, degenerate draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, t

from place_cxr.benchmark.estimate import (
    Estimate,
    correct_holm,
    estimate,
    estimate_unpaired,
    p_value,
)

UNIT = np.linspace(-1.0, 1.0, 401)  # percentiles 2.5 and 97.5 are -.95 and .95


def test_one_seed_has_the_patients_part_alone() -> None:
    found = estimate([0.7], [0.7 + 0.1 * UNIT])
    assert (found.value, found.seeds, found.seed_error) == (0.7, 1, 0.0)
    assert (found.low, found.high) == pytest.approx((0.7 - 0.095, 0.7 + 0.095))


def test_seeds_alone_give_the_t_interval() -> None:
    """Patients that do not matter: all that is left is t(.975, 2) sd / sqrt(3) = 4.3027 * .02 /
    1.7321.
    """
    found = estimate([0.68, 0.70, 0.72], [np.full(50, v) for v in (0.68, 0.70, 0.72)])
    assert found.high == pytest.approx(0.70 + 4.302653 * 0.02 / math.sqrt(3), abs=1e-6)
    assert found.low == pytest.approx(0.70 - 4.302653 * 0.02 / math.sqrt(3), abs=1e-6)


def test_both_parts_are_squared_and_added() -> None:
    """By hand: 3 below and 1 above over patients, 4 over seeds: 5 below and sqrt(17) above."""
    step = (
        4.0 / (12.706205 / math.sqrt(2)) / math.sqrt(2)
    )  # half the distance of two seeds whose half width is 4
    draws = np.concatenate([np.full(30, 7.0), np.full(40, 10.0), np.full(30, 11.0)])
    found = estimate([10 - step, 10 + step], [draws, draws])
    assert found.value - found.low == pytest.approx(5.0, abs=1e-5)
    assert found.high - found.value == pytest.approx(math.sqrt(17), abs=1e-5)


def test_draws_of_seeds_are_paired() -> None:
    """Seeds that move against each other on the same resamples cancel; moving together they do
    not.
    """
    against = estimate([0.5, 0.5], [0.5 + 0.1 * UNIT, 0.5 - 0.1 * UNIT])
    together = estimate([0.5, 0.5], [0.5 + 0.1 * UNIT, 0.5 + 0.1 * UNIT])
    assert (against.low, against.high) == pytest.approx((0.5, 0.5))
    assert together.high == pytest.approx(0.595)


def test_two_groups_of_patients_by_hand() -> None:
    """Half widths .095 and .19 of groups that share no patient, and seeds that agree: sqrt of the
    sum of squares.
    """
    found = estimate_unpaired(
        [0.8, 0.8], [0.6, 0.6], [0.8 + 0.1 * UNIT] * 2, [0.6 + 0.2 * UNIT] * 2
    )
    half = math.hypot(0.095, 0.19)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half))


def test_a_lopsided_group_widens_the_other_side_of_a_difference() -> None:
    lopsided = np.concatenate([np.full(30, 0.3), np.full(70, 0.6)])  # low 0.3, high 0.6
    found = estimate_unpaired([0.8], [0.6], [np.full(100, 0.8)], [lopsided])
    assert (found.low, found.high) == pytest.approx((0.2, 0.5))


@pytest.mark.parametrize(
    "draws",
    [
        [None, UNIT],
        [UNIT, UNIT[:10]],
        [np.full(401, np.nan), UNIT],
        [np.where(UNIT < 0.1, np.nan, UNIT), UNIT],
        [np.zeros(0), np.zeros(0)],
    ],
    ids=["none", "lengths", "all undefined", "most undefined", "empty"],
)
def test_no_interval_without_resamples(draws: list[np.ndarray | None]) -> None:
    found = estimate([0.4, 0.6], draws)
    assert (found.value, found.low, found.high, found.clear) == (0.5, None, None, False)
    assert p_value(found) is None
    apart = estimate_unpaired([0.4, 0.6], [0.1, 0.1], draws, [UNIT, UNIT])
    assert (apart.low, apart.clear) == (None, False)


def test_a_few_undefined_resamples_are_left_out() -> None:
    holed = np.where(np.arange(401) % 4 == 0, np.nan, UNIT)
    found = estimate([0.0], [holed])
    assert found.low == pytest.approx(np.nanpercentile(holed, 2.5))


def test_a_mean_outside_its_percentiles_keeps_the_interval_around_it() -> None:
    found = estimate([2.0], [UNIT])
    assert (found.low, found.high) == pytest.approx((-0.95, 2.0))


@pytest.mark.parametrize(
    ("interval", "clear"),
    [((0.01, 0.02), True), ((-2.0, -1.0), True), ((-1.0, 1.0), False), ((0.0, 1.0), False)],
)
def test_clear(interval: tuple[float, float], clear: bool) -> None:
    assert Estimate(0.0, *interval, 3).clear is clear


def test_p_value_of_patients_alone_is_the_normal_one() -> None:
    assert p_value(Estimate(0.03, 0, 0, 1, 0.01, 0.0)) == pytest.approx(2 * norm.sf(3.0), rel=1e-6)


def test_p_value_of_seeds_alone_is_the_t_one() -> None:
    assert p_value(Estimate(-0.03, 0, 0, 3, 0.0, 0.01)) == pytest.approx(2 * t.sf(3.0, 2), rel=1e-6)


def test_p_value_is_the_level_at_which_the_interval_touches_0() -> None:
    patients, between = 0.01, 0.004
    half = math.hypot(1.959964 * patients, 4.302653 * between)
    assert p_value(Estimate(half, 0, 0, 3, patients, between)) == pytest.approx(0.05, abs=1e-6)


def test_p_value_at_the_ends() -> None:
    assert p_value(Estimate(0.0, 0.0, 0.0, 3, 0.0, 0.0)) == 1.0
    assert p_value(Estimate(0.1, 0.1, 0.1, 3, 0.0, 0.0)) == 0.0


def test_holm_by_hand() -> None:
    """.01 x 4, .02 x 3, .03 x 2 (raised to .06), .5 x 1; order is kept."""
    assert correct_holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert correct_holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert correct_holm([]) == []


def test_coverage_over_seeds_and_patients() -> None:
    """Means of 3 seeds x 120 patients, both drawn anew: about 95 % of the intervals hold the truth,
    and not all.
    """
    rng = np.random.default_rng(0)
    hit, runs, patients = 0, 400, 120
    counts = rng.multinomial(patients, np.full(patients, 1 / patients), size=200) / patients
    for _ in range(runs):
        person, seed = rng.normal(0, 0.3, patients), rng.normal(0, 0.02, 3)
        scores = 0.7 + person[:, None] + seed + rng.normal(0, 0.1, (patients, 3))
        found = estimate(list(scores.mean(axis=0)), list((counts @ scores).T))
        hit += found.low <= 0.7 <= found.high
    assert 0.92 < hit / runs < 0.995
