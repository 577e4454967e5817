"""What a probability is worth once somebody acts on it: decisions at a threshold, and whether
chances are as stated.

Labels are 1, 0 or NaN (not known: that row is left out), probabilities lie in [0, 1].
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
    """Predictions between two probabilities: how many, their mean, and how often the finding was
    there.
    """

    low: float
    high: float
    n: int
    said: float
    seen: float


def f1_statistic(labels: ArrayLike, decided: ArrayLike) -> Statistic:
    """F1 of bool decisions [N] as a function of row counts: 2 TP / (2 TP + FP + FN); NaN where that
    is 0 / 0.
    """
    known, truth, decision = _known(labels, decided)
    hit, wrong = known & truth & decision, known & (truth != decision)

    def statistic(counts: Floats) -> Floats:
        hits, wrongs = counts @ hit, counts @ wrong
        below = 2 * hits + wrongs
        return np.divide(2 * hits, below, out=np.full_like(below, np.nan), where=below > 0)

    return statistic


def accuracy_statistic(labels: ArrayLike, decided: ArrayLike) -> Statistic:
    """Share of known rows decided rightly."""
    known, truth, decision = _known(labels, decided)
    return mean_statistic(np.where(known, truth == decision, np.nan))


def brier_statistic(labels: ArrayLike, probability: ArrayLike) -> Statistic:
    """Mean squared distance of probability and truth: 0 is perfect, a constant 0.5 scores 0.25."""
    truth, chance = _checked_probabilities(labels, probability)
    return mean_statistic((chance - truth) ** 2)


def calibration_error_statistic(
    labels: ArrayLike, probability: ArrayLike, bins: int = CALIBRATION_BINS
) -> Statistic:
    """Expected calibration error: |mean probability - share present| over ``bins`` equal bins,
    weighted by rows.
    """
    truth, chance = _checked_probabilities(labels, probability)
    known = np.isfinite(truth)
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
    """Bins of equal width that hold predictions, from low to high: what was said, and what was
    seen.
    """
    truth, chance = _checked_probabilities(labels, probability)
    known = np.isfinite(truth)
    bin_index = _bin(chance, bins)
    filled_bins = []

    for number in range(bins):
        in_bin = known & (bin_index == number)
        if in_bin.any():
            mean_probability, present_fraction = (
                float(chance[in_bin].mean()),
                float(truth[in_bin].mean()),
            )
            filled_bins.append(
                ReliabilityBin(
                    number / bins,
                    (number + 1) / bins,
                    int(in_bin.sum()),
                    mean_probability,
                    present_fraction,
                )
            )

    return filled_bins


def best_threshold(labels: ArrayLike, probability: ArrayLike) -> float:
    """The lowest probability that counts as present where F1 on these rows is highest; 0.5 without
    present rows.
    """
    truth, chance = _checked_probabilities(labels, probability)
    known = np.isfinite(truth)
    truth, chance = truth[known], chance[known]
    if not (truth == PRESENT).any():
        return 0.5
    order = np.argsort(-chance, kind="stable")
    hits, positives = np.cumsum(truth[order]), np.arange(1, len(order) + 1)
    ends = np.append(
        chance[order][1:] != chance[order][:-1], True
    )  # equal scores are decided alike
    f1 = np.where(ends, 2 * hits / (positives + truth.sum()), -1.0)

    return float(chance[order][int(f1.argmax())])


def _known(
    labels: ArrayLike, decided: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
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
    return np.minimum((chance * bins).astype(np.int64), bins - 1)


def _check_shapes(first: NDArray[np.generic], second: NDArray[np.generic]) -> None:
    if first.ndim != 1 or first.shape != second.shape:
        raise PlaceError(
            f"labels {first.shape} and predictions {second.shape} disagree", code="PL-D222"
        )
