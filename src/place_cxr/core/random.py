"""Counter-based random numbers: pure functions of a few integers, with no state to save.

Every number is splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014) at a counter. The streams are part of every run: a change of one bit would change the
order of the data, the augmentation and dropout of a resumed run.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64, UInt64
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd: the step of splitmix64's counter
_ORDER_STREAM, _UNIFORM_STREAM = 1, 2  # two uses of one (seed, epoch) that must not correlate


def counter_seed(*numbers: int) -> int:
    """One well-mixed number in [0, 2**64) from a few integers, in this order; each is taken modulo
    2**64.
    """
    # An array, not a numpy scalar: only arrays wrap around at 2**64 without a warning.
    key = np.zeros(1, dtype=np.uint64)

    for number in numbers:
        key = _mix(key + np.uint64(_GOLDEN) + np.uint64(number % 2**64))

    return int(key[0])


def counter_uniform(
    seed: int, epoch: int, rows: Int64[np.ndarray, "n"], count: int
) -> Float32[np.ndarray, "n count"]:
    """``count`` numbers in [0, 1) for each row: a function of (seed, epoch, row, column) alone."""
    keys = _row_keys(counter_seed(seed, epoch, _UNIFORM_STREAM), rows)[:, None]
    columns = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)

    # The upper 24 bits: as many as a float32 holds exactly, so that no value rounds up to 1.
    bits = _mix(keys + columns) >> np.uint64(40)
    return bits.astype(np.float32) * np.float32(2**-24)


def epoch_order(seed: int, epoch: int, rows: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Positions 0..n-1 in the order in which this epoch visits them: rows sorted by their hash."""
    return np.argsort(_row_keys(counter_seed(seed, epoch, _ORDER_STREAM), rows), kind="stable")


def _row_keys(key: int, rows: Int64[np.ndarray, "n"]) -> UInt64[np.ndarray, "n"]:
    """One well-mixed number per row."""
    counters = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    return _mix(np.uint64(key) + counters)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64, a bijection of 64-bit numbers."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
