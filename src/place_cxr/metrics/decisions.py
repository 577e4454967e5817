"""Decisions at a threshold (F1, accuracy), and whether probabilities are calibrated.

Labels are 1, 0 or NaN (not known: that row is left out). Probabilities lie in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import PRESENT
from place_cxr.metrics.intervals import Floats, Statistic, mean_statistic

CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions with a probability between ``low`` and ``high``."""

    low: float
    high: float
    n: int  # predictions in the bin
    said: float  # their mean probability
    seen: float  # fraction of them in which the finding is present


def f1_statistic(labels: ArrayLike, decided: ArrayLike) -> Statistic:
    """F1 of bool decisions [N] as a function of row counts: 2 TP / (2 TP + FP + FN); NaN where that
    is 0 / 0.
    """
    known, truth, decision = _known(labels, decided)
    hit = known & truth & decision
    wrong = known & (truth != decision)  # false positives and false negatives

    def statistic(counts: Floats) -> Floats:
        hits, errors = counts @ hit, counts @ wrong
        denominator = 2 * hits + errors

        return np.divide(
            2 * hits, denominator, out=np.full_like(denominator, np.nan), where=denominator > 0
        )

    return statistic


def accuracy_statistic(labels: ArrayLike, decided: ArrayLike) -> Statistic:
    """Fraction of known rows that are decided correctly."""
    known, truth, decision = _known(labels, decided)
    return mean_statistic(np.where(known, truth == decision, np.nan))


def brier_statistic(labels: ArrayLike, probability: ArrayLike) -> Statistic:
    """Mean squared distance of probability and truth: 0 is perfect, a constant 0.5 scores 0.25."""
    truth, chance = _checked_probabilities(labels, probability)
    return mean_statistic((chance - truth) ** 2)


def calibration_error_statistic(
    labels: ArrayLike, probability: ArrayLike, bins: int = CALIBRATION_BINS
) -> Statistic:
    """Expected calibration error: |mean probability - fraction present| over ``bins`` equal bins,
    weighted by rows.
    """
    truth, chance = _checked_probabilities(labels, probability)
    known = np.isfinite(truth)

    # The difference of each row in the column of its bin [N, bins]. Weights of rows cancel: the sum
    # of a bin is its number of rows times the gap between its means.
    member = (_bin(chance, bins)[:, None] == np.arange(bins)) & known[:, None]
    gap = member * np.where(known, chance - truth, 0.0)[:, None]

    def statistic(counts: Floats) -> Floats:
        total = counts @ known
        return np.divide(
            np.abs(counts @ gap).sum(1), total, out=np.full_like(total, np.nan), where=total > 0
        )

    return statistic


def reliability_bins(
    labels: ArrayLike, probability: ArrayLike, bins: int = CALIBRATION_BINS
) -> list[ReliabilityBin]:
    """Bins of equal width from low to high; empty ones are left out."""
    truth, chance = _checked_probabilities(labels, probability)
    known = np.isfinite(truth)
    bin_index = _bin(chance, bins)
    filled_bins = []

    for number in range(bins):
        in_bin = known & (bin_index == number)
        if in_bin.any():
            reliability = ReliabilityBin(
                low=number / bins,
                high=(number + 1) / bins,
                n=int(in_bin.sum()),
                said=float(chance[in_bin].mean()),
                seen=float(truth[in_bin].mean()),
            )
            filled_bins.append(reliability)

    return filled_bins


def best_threshold(labels: ArrayLike, probability: ArrayLike) -> float:
    """The threshold with the highest F1 on these rows: this probability and all above it count as
    present. 0.5 without present rows.
    """
    truth, chance = _checked_probabilities(labels, probability)
    known = np.isfinite(truth)
    truth, chance = truth[known], chance[known]
    if not (truth == PRESENT).any():
        return 0.5

    order = np.argsort(-chance, kind="stable")
    hits = np.cumsum(truth[order])
    positives = np.arange(1, len(order) + 1)

    # Rows of equal probability get the same decision, so only the last of them can be a threshold.
    ends = np.append(chance[order][1:] != chance[order][:-1], True)
    f1 = np.where(ends, 2 * hits / (positives + truth.sum()), -1.0)

    return float(chance[order][int(f1.argmax())])


def _known(
    labels: ArrayLike, decided: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows have a label, which are present, and which were decided as present."""
    truth, decision = np.asarray(labels, dtype=np.float64), np.asarray(decided, dtype=bool)
    _check_shapes(truth, decision)

    return np.isfinite(truth), truth == PRESENT, decision


def _checked_probabilities(labels: ArrayLike, probability: ArrayLike) -> tuple[Floats, Floats]:
    truth, chance = np.asarray(labels, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    _check_shapes(truth, chance)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise PlaceError("a probability is outside 0 to 1, or NaN", code="PL-G002")
    return truth, chance


def _bin(chance: Floats, bins: int) -> NDArray[np.int64]:
    # A probability of exactly 1 belongs to the last bin.
    return np.minimum((chance * bins).astype(np.int64), bins - 1)


def _check_shapes(first: NDArray[np.generic], second: NDArray[np.generic]) -> None:
    if first.ndim != 1 or first.shape != second.shape:
        raise PlaceError(
            f"labels {first.shape} and predictions {second.shape} disagree", code="PL-D222"
        )
