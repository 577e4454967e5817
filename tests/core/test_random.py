"""Counter-based random numbers: even, independent, and the same bits for ever."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from place_cxr.core.random import counter_seed, counter_uniform, epoch_order


def _splitmix64(numbers: tuple[int, ...]) -> int:
    """The published finalizer in plain integers."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) % 2**64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    return mixed


@given(st.lists(st.integers(-(2**63), 2**64), max_size=5))
def test_a_seed_is_splitmix64(numbers: list[int]) -> None:
    assert counter_seed(*numbers) == _splitmix64(tuple(numbers))


@given(
    st.integers(-(2**63), 2**64),
    st.integers(0, 10**6),
    st.lists(st.integers(0, 2**40), max_size=50),
)
def test_order_is_a_permutation_of_any_rows(seed: int, epoch: int, rows: list[int]) -> None:
    order = epoch_order(seed, epoch, np.array(rows, dtype=np.int64))
    assert sorted(order.tolist()) == list(range(len(rows)))


def test_order_changes_with_seed_and_epoch_and_is_even() -> None:
    rows = np.arange(200)
    orders = np.stack([epoch_order(seed, epoch, rows) for seed in range(30) for epoch in range(30)])
    assert len(np.unique(orders, axis=0)) == 900
    # Every row's mean place is the middle, within 5 deviations of a mean over 900.
    assert np.abs(orders.argsort(1).mean(0) - 99.5).max() < 5 * 57.7 / 30
    assert np.array_equal(orders[0], epoch_order(0, 0, rows))


def test_order_follows_rows_not_their_positions() -> None:
    rows = np.arange(50)[::-1].copy()
    assert np.array_equal(rows[epoch_order(1, 2, rows)], epoch_order(1, 2, np.arange(50)))


def test_uniforms_are_uniform_independent_and_below_one() -> None:
    values = counter_uniform(3, 1, np.arange(20_000), 8)
    assert values.dtype == np.float32 and values.min() >= 0 and values.max() < 1
    assert (
        np.abs(values.mean(0) - 0.5).max() < 0.011 and np.abs(values.var(0) - 1 / 12).max() < 0.004
    )
    counts = np.histogram(values, bins=64, range=(0, 1))[0]
    expected = values.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 5 * np.sqrt(2 * 63)
    others = (
        counter_uniform(4, 1, np.arange(20_000), 8),
        counter_uniform(3, 2, np.arange(20_000), 8),
    )
    for other in (*others, np.roll(values, 1, axis=0), np.roll(values, 1, axis=1)):
        assert abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 0.0125


def test_uniforms_are_a_row_s_own() -> None:
    alone = np.concatenate([counter_uniform(3, 1, np.array([row]), 4) for row in (9, 2, 17)])
    assert np.array_equal(alone, counter_uniform(3, 1, np.array([9, 2, 17]), 4))
    assert np.array_equal(alone, counter_uniform(3, 1, np.array([9, 2, 17]), 6)[:, :4])
    # Written down: a change of the numbers would change every resumed run.
    assert counter_uniform(1, 2, np.array([3]), 2)[0].tolist() == [
        0.2959336042404175,
        0.025814473628997803,
    ]
    assert epoch_order(1, 2, np.arange(8)).tolist() == [7, 2, 1, 0, 3, 4, 6, 5]
