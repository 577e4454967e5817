"""Decisions and calibration: scikit-learn's values, closed forms, and rows that are not known."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.decisions import (
    accuracy_statistic,
    best_threshold,
    brier_statistic,
    calibration_error_statistic,
    f1_statistic,
    reliability_bins,
)

RNG = np.random.default_rng(0)
LABELS = (RNG.random(200) < 0.3).astype(float)
CHANCE = np.clip(0.3 * LABELS + 0.7 * RNG.random(200), 0, 1)


def once(statistic):
    return float(statistic(np.ones((1, 200)))[0])


def test_values_are_those_of_scikit_learn():
    yes = CHANCE > 0.5
    assert once(f1_statistic(LABELS, yes)) == pytest.approx(f1_score(LABELS, yes))
    assert once(accuracy_statistic(LABELS, yes)) == pytest.approx(accuracy_score(LABELS, yes))
    assert once(brier_statistic(LABELS, CHANCE)) == pytest.approx(brier_score_loss(LABELS, CHANCE))


def test_a_row_drawn_twice_counts_twice():
    counts = RNG.integers(0, 3, (1, 200)).astype(float)
    rows = np.repeat(np.arange(200), counts[0].astype(int))
    made = [
        (f1_statistic, CHANCE > 0.5),
        (accuracy_statistic, CHANCE > 0.5),
        (brier_statistic, CHANCE),
        (calibration_error_statistic, CHANCE),
    ]
    for make, values in made:
        whole = make(LABELS[rows], values[rows])(np.ones((1, len(rows))))
        np.testing.assert_allclose(make(LABELS, values)(counts), whole)


@pytest.mark.fault("E1")
def test_unknown_rows_are_left_out():
    known = np.arange(200) % 3 > 0
    labels = np.where(known, LABELS, np.nan)
    for make, values in (
        (f1_statistic, CHANCE > 0.5),
        (brier_statistic, CHANCE),
        (calibration_error_statistic, CHANCE),
    ):
        fewer = make(LABELS[known], values[known])(np.ones((1, int(known.sum()))))[0]
        assert once(make(labels, values)) == pytest.approx(fewer)


def test_calibration_in_closed_form():
    labels = np.tile([1.0, 0.0, 0.0, 0.0], 50)
    assert once(calibration_error_statistic(labels, np.full(200, 0.25))) == pytest.approx(0)
    assert once(calibration_error_statistic(labels, np.full(200, 0.95))) == pytest.approx(0.7)
    assert once(calibration_error_statistic(labels, np.ones(200))) == pytest.approx(
        0.75
    )  # 1 lies in the last bin
    [one] = reliability_bins(labels, np.full(200, 0.25))
    assert (one.low, one.high, one.n, one.said, one.seen) == (0.2, 0.3, 200, 0.25, 0.25)
    assert sum(b.n for b in reliability_bins(LABELS, CHANCE)) == 200


@pytest.mark.fault("E2")
def test_a_threshold_is_the_best_of_all():
    tried = [f1_score(LABELS, np.greater_equal(CHANCE, limit)) for limit in np.unique(CHANCE)]
    best = np.greater_equal(CHANCE, best_threshold(LABELS, CHANCE))
    assert f1_score(LABELS, best) == pytest.approx(max(tried))
    assert best_threshold(np.zeros(4), np.full(4, 0.1)) == 0.5
    assert best_threshold([1, 0, 1], [0.4, 0.4, 0.4]) == 0.4  # a constant: all alike
    assert np.isnan(once(f1_statistic(np.zeros(200), np.zeros(200, bool))))


def test_no_probability_is_refused():
    with pytest.raises(PlaceError, match="PL-G002"):
        brier_statistic(LABELS, LABELS * np.nan)
    with pytest.raises(PlaceError, match="PL-D222"):
        f1_statistic(LABELS, np.ones(3, bool))
