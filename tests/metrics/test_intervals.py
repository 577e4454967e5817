"""The patient bootstrap: clusters stay together, coverage is right, pairs share their resamples."""

import numpy as np
import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.intervals import (
    bootstrap,
    bootstrap_columns,
    mean_statistic,
    paired_difference,
    resamples,
)


def test_rows_of_a_patient_are_drawn_together():
    counts = np.concatenate(list(resamples(["a", "b", "a", "", ""], 200, 1)))
    assert counts.shape == (200, 5)
    np.testing.assert_array_equal(counts[:, 0], counts[:, 2])
    assert (counts[:, 3] != counts[:, 4]).any()  # no name: not one patient
    np.testing.assert_array_equal(
        counts[:, [0, 1, 3, 4]].sum(1), 4
    )  # as many patients as there are


def test_chunks_do_not_change_the_draws(monkeypatch):
    whole = np.concatenate(list(resamples([str(i) for i in range(7)], 50, 3)))
    monkeypatch.setattr("place_cxr.metrics.intervals._CELLS", 21)
    np.testing.assert_array_equal(
        np.concatenate(list(resamples([str(i) for i in range(7)], 50, 3))), whole
    )


def test_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap(mean_statistic(values), [str(i) for i in range(400)], seed=1)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.012)
    assert found.high == pytest.approx(values.mean() + half, abs=0.012)


@pytest.mark.fault("E8")
def test_copies_of_a_patient_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=100)
    names = [str(i) for i in range(100)]
    once = bootstrap(mean_statistic(values), names, seed=2)
    copied = bootstrap(mean_statistic(np.tile(values, 9)), names * 9, seed=2)
    naive = bootstrap(mean_statistic(np.tile(values, 9)), [str(i) for i in range(900)], seed=2)
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=1e-9)
    assert naive.high - naive.low < 0.5 * (copied.high - copied.low)


def test_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=200)
    first, second = hard + 0.1 + 0.01 * rng.normal(size=200), hard
    found = paired_difference(
        mean_statistic(first), mean_statistic(second), [str(i) for i in range(200)]
    )
    assert found.value == pytest.approx(0.1, abs=0.005)
    assert 0.09 < found.low < found.high < 0.11


def test_undefined_is_none_with_a_reason():
    patients = [str(i) for i in range(4)]
    nothing, rare = bootstrap_columns(
        mean_statistic([[np.nan, 5.0], [np.nan, np.nan], [np.nan, np.nan], [np.nan, np.nan]]),
        patients,
        n=400,
        rows=[0, 1],
    )
    assert nothing.value is None and nothing.low is None and nothing.reason
    assert rare.value == rare.low == rare.high == 5.0 and rare.n == 1
    never = bootstrap(lambda c: np.where((c == 1).all(1), 1.0, np.nan), [str(i) for i in range(20)])
    assert never.value == 1.0 and never.low is None and "too few" in never.reason
    with pytest.raises(PlaceError, match="no rows"):
        bootstrap(mean_statistic([]), [])


def test_same_seed_same_interval():
    values, names = np.arange(30.0), [str(i % 10) for i in range(30)]
    assert bootstrap(mean_statistic(values), names, seed=5) == bootstrap(
        mean_statistic(values), names, seed=5
    )
    assert bootstrap(mean_statistic(values), names, seed=5) != bootstrap(
        mean_statistic(values), names, seed=6
    )
