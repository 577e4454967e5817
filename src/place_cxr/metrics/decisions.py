"""What a probability is worth once somebody acts on it: decisions at a threshold, and whether chances are as stated.

Labels are 1, 0 or NaN (not known: that row is left out), probabilities lie in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import PRESENT
from place_cxr.metrics.intervals import Floats, Statistic, mean_of

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions between two probabilities: how many, their mean, and how often the finding was there."""

    low: float
    high: float
    n: int
    said: float
    seen: float


def f1_statistic(labels: ArrayLike, decided: ArrayLike) -> Statistic:
    """F1 of bool decisions [N] as a function of row counts: 2 TP / (2 TP + FP + FN); NaN where that is 0 / 0."""
    known, truth, yes = _known(labels, decided)
    hit, wrong = known & truth & yes, known & (truth != yes)

    def statistic(counts: Floats) -> Floats:
        hits, wrongs = counts @ hit, counts @ wrong
        below = 2 * hits + wrongs
        return np.divide(2 * hits, below, out=np.full_like(below, np.nan), where=below > 0)

    return statistic


def accuracy_statistic(labels: ArrayLike, decided: ArrayLike) -> Statistic:
    """Share of known rows decided rightly."""
    known, truth, yes = _known(labels, decided)
    return mean_of(np.where(known, truth == yes, np.nan))


def brier_statistic(labels: ArrayLike, probability: ArrayLike) -> Statistic:
    """Mean squared distance of probability and truth: 0 is perfect, a constant 0.5 scores 0.25."""
    truth, chance = _chances(labels, probability)
    return mean_of((chance - truth) ** 2)


def calibration_error_statistic(labels: ArrayLike, probability: ArrayLike, bins: int = BINS) -> Statistic:
    """Expected calibration error: |mean probability - share present| over ``bins`` equal bins, weighted by rows."""
    truth, chance = _chances(labels, probability)
    known = np.isfinite(truth)
    member = (_bin(chance, bins)[:, None] == np.arange(bins)) & known[:, None]
    gap = member * np.where(known, chance - truth, 0.0)[:, None]

    def statistic(counts: Floats) -> Floats:
        total = counts @ known
        return np.divide(np.abs(counts @ gap).sum(1), total, out=np.full_like(total, np.nan), where=total > 0)

    return statistic


def reliability(labels: ArrayLike, probability: ArrayLike, bins: int = BINS) -> list[Bin]:
    """Bins of equal width that hold predictions, from low to high: what was said, and what was seen."""
    truth, chance = _chances(labels, probability)
    known = np.isfinite(truth)
    place = _bin(chance, bins)
    found = []
    for number in range(bins):
        here = known & (place == number)
        if here.any():
            said, seen = float(chance[here].mean()), float(truth[here].mean())
            found.append(Bin(number / bins, (number + 1) / bins, int(here.sum()), said, seen))
    return found


def best_threshold(labels: ArrayLike, probability: ArrayLike) -> float:
    """The lowest probability that counts as present where F1 on these rows is highest; 0.5 without present rows."""
    truth, chance = _chances(labels, probability)
    known = np.isfinite(truth)
    truth, chance = truth[known], chance[known]
    if not (truth == PRESENT).any():
        return 0.5
    order = np.argsort(-chance, kind="stable")
    hits, taken = np.cumsum(truth[order]), np.arange(1, len(order) + 1)
    ends = np.append(chance[order][1:] != chance[order][:-1], True)  # equal scores are decided alike
    f1 = np.where(ends, 2 * hits / (taken + truth.sum()), -1.0)
    return float(chance[order][int(f1.argmax())])


def _known(labels: ArrayLike, decided: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    truth, yes = np.asarray(labels, dtype=np.float64), np.asarray(decided, dtype=bool)
    _same(truth, yes)
    return np.isfinite(truth), truth == PRESENT, yes


def _chances(labels: ArrayLike, probability: ArrayLike) -> tuple[Floats, Floats]:
    truth, chance = np.asarray(labels, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    _same(truth, chance)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise PlaceError("a probability is outside 0 to 1, or NaN", code="PL-G002")
    return truth, chance


def _bin(chance: Floats, bins: int) -> NDArray[np.int64]:
    return np.minimum((chance * bins).astype(np.int64), bins - 1)


def _same(first: NDArray[np.generic], second: NDArray[np.generic]) -> None:
    if first.ndim != 1 or first.shape != second.shape:
        raise PlaceError(f"labels {first.shape} and predictions {second.shape} disagree", code="PL-D222")
