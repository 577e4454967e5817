"""Retrieval: recall, precision and ranks from a similarity matrix and a boolean relevance matrix.

A query may have several relevant candidates (equal reports). **Ties:** each number is its
expectation over a random order of equal similarities, so it does not depend on the order of rows or
columns.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.intervals import Floats, Statistic

_CELLS = 4_000_000  # similarities compared at once


@dataclass(frozen=True, slots=True)
class FirstHit:
    """The position of the best relevant candidate of each query; NaN for a query without any."""

    ahead: Floats  # [Q] irrelevant candidates with a higher similarity
    tied: Floats  # [Q] irrelevant candidates with the same similarity
    relevant: Floats  # [Q] relevant candidates with that similarity
    candidates: int

    @property
    def rank(self) -> Floats:
        """Expected rank [Q] of the first relevant candidate, 1 is best."""
        # The first of r relevant candidates, at random among t + r equal ones, stands at
        # (t + r + 1) / (r + 1) on average.
        return self.ahead + (self.tied + self.relevant + 1) / (self.relevant + 1)

    def recall_at_k(self, k: int) -> Floats:
        """Probability [Q] that a relevant candidate is among the first ``k``; ``k`` is at most the
        number of candidates.
        """
        k = _clip(k, self.candidates)
        miss = np.ones_like(self.ahead)

        # The first k hold k - ahead of the tied candidates, drawn without replacement. All of them
        # must be irrelevant for a miss.
        for draw in range(k):
            inside = draw < k - self.ahead
            miss_chance = np.maximum(self.tied - draw, 0.0) / np.maximum(
                self.tied + self.relevant - draw, 1.0
            )
            miss = np.where(inside, miss * miss_chance, miss)

        return np.where(np.isnan(self.ahead), np.nan, 1.0 - miss)


def first_hit(similarity: ArrayLike, relevant: ArrayLike) -> FirstHit:
    """Rows are queries: similarity [Q, C] and relevance bool [Q, C]. Transpose both for the other
    direction.

    Raises:
        PlaceError: PL-D222 if shapes disagree, PL-G002 if a similarity is NaN or infinite.
    """
    values, is_relevant = _checked(similarity, relevant)
    parts = []
    for rows in _chunks(values.shape):
        part, part_relevant = values[rows], is_relevant[rows]
        best = np.max(part, axis=1, initial=-np.inf, where=part_relevant)[:, None]
        equal = part == best
        counts = [
            ((part > best) & ~part_relevant).sum(1),
            (equal & ~part_relevant).sum(1),
            (equal & part_relevant).sum(1),
        ]
        parts.append(np.stack(counts))

    ahead, tied, tied_relevant = np.concatenate(parts, axis=1).astype(np.float64)
    without_relevant = ~is_relevant.any(axis=1)
    ahead[without_relevant] = np.nan

    return FirstHit(ahead, tied, tied_relevant, values.shape[1])


def precision_at_k(similarity: ArrayLike, relevant: ArrayLike, k: int) -> Floats:
    """Expected fraction [Q] of relevant candidates among the first ``k``; NaN for a query without
    any.
    """
    values, is_relevant = _checked(similarity, relevant)
    k = _clip(k, values.shape[1])
    parts = []

    for rows in _chunks(values.shape):
        part, part_relevant = values[rows], is_relevant[rows]
        last = np.partition(part, -k, axis=1)[:, -k][:, None]
        above, equal = part > last, part == last

        # Places that are left behind the candidates above go to the tied ones at random.
        tied_fraction = (equal & part_relevant).sum(1) / equal.sum(1)
        hits = (above & part_relevant).sum(1) + (k - above.sum(1)) * tied_fraction
        parts.append(hits / k)

    return np.where(is_relevant.any(axis=1), np.concatenate(parts), np.nan)


def median_statistic(rank: Floats) -> Statistic:
    """The median of ``rank`` [Q] as a function of query counts; queries without a relevant
    candidate are left out.
    """
    rows = np.flatnonzero(np.isfinite(rank))
    rows = rows[np.argsort(rank[rows], kind="stable")]
    ordered = np.asarray(rank[rows], dtype=np.float64)

    def statistic(counts: Floats) -> Floats:
        if not len(rows):
            return np.full(len(counts), np.nan)

        passed = np.cumsum(counts[:, rows], axis=1)
        half = passed[:, -1:] / 2

        # With an even number of queries the median is the mean of the two in the middle.
        lower = np.minimum((passed < half).sum(1), len(rows) - 1)
        upper = np.minimum((passed <= half).sum(1), len(rows) - 1)
        median = (ordered[lower] + ordered[upper]) / 2

        return np.where(half[:, 0] == 0, np.nan, median)

    return statistic


def relevance(query_keys: ArrayLike, candidate_keys: ArrayLike) -> NDArray[np.bool_]:
    """Which candidates are relevant to which query [Q, C]: those with an equal key.

    So a report that occurs twice is right at both places.
    """
    equal: NDArray[np.bool_] = np.equal.outer(np.asarray(query_keys), np.asarray(candidate_keys))
    return equal


def _checked(similarity: ArrayLike, relevant: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values, is_relevant = np.asarray(similarity, dtype=np.float64), np.asarray(relevant, dtype=bool)
    if values.ndim != 2 or values.shape != is_relevant.shape or not values.size:
        raise PlaceError(
            f"similarity {values.shape} and relevance {is_relevant.shape} disagree", code="PL-D222"
        )

    if not np.isfinite(values).all():
        rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
        raise PlaceError(
            f"{len(rows)} queries have NaN or infinite scores, first row {rows[0]}", code="PL-G002"
        )

    return values, is_relevant


def _clip(k: int, candidates: int) -> int:
    if k > candidates:
        warnings.warn(f"k = {k} is more than {candidates} candidates: cut", stacklevel=3)
    return min(k, candidates)


def _chunks(shape: tuple[int, ...]) -> list[slice]:
    """Slices of queries, so that a comparison holds at most `_CELLS` values."""
    step = max(1, _CELLS // shape[1])
    return [slice(start, start + step) for start in range(0, shape[0], step)]
