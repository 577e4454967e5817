"""How well scores rank present above absent, for each class.

Labels are 1, 0 or NaN. NaN means not known: that row is left out of that class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, PRESENT, UNCERTAIN
from place_cxr.core.results import Metric
from place_cxr.metrics.intervals import (
    RESAMPLES,
    Floats,
    Statistic,
    bootstrap_columns,
    undefined_metric,
)

UncertainPolicy = Literal["ignore", "absent", "present"]
_POLICIES = {"ignore": np.nan, "absent": ABSENT, "present": PRESENT}


def binary_labels(labels: ArrayLike, uncertain: UncertainPolicy) -> Floats:
    """Labels [N] or [N, M] in {1, 0, -1, NaN} as 1, 0 or NaN. ``uncertain`` decides what -1
    becomes.

    Raises:
        PlaceError: PL-D221 on any other value, with its row.
    """
    table = np.array(labels, dtype=np.float64)
    is_invalid = ~(np.isnan(table) | np.isin(table, (PRESENT, ABSENT, UNCERTAIN)))
    if is_invalid.any():
        row = int(np.argwhere(is_invalid)[0][0])
        raise PlaceError(
            f"row {row}: a label must be 1, 0, -1 or empty", code="PL-D221", fix="correct the label"
        )

    table[table == UNCERTAIN] = _POLICIES[uncertain]

    return table


def auroc_statistic(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """AUROC of one class as a function of row counts: the chance that a present row scores above an
    absent one. Equal scores count one half.

    Labels [N] in {1, 0, NaN}, scores [N].
    """
    # Rows are sorted once, here. Each resample then costs O(N).
    rows, positive, starts = _sorted(labels, scores)

    def statistic(counts: Floats) -> Floats:
        weight = counts[:, rows]
        present = _sum_per_score(weight * positive, starts)
        absent = _sum_per_score(weight * ~positive, starts)

        # Mann-Whitney: pairs in which the present row scores higher, plus half of the tied pairs.
        absent_below = np.cumsum(absent, axis=1) - absent
        won = (present * (absent_below + 0.5 * absent)).sum(1)
        pairs = present.sum(1) * absent.sum(1)

        return _ratio(won, pairs)

    return statistic


def average_precision_statistic(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """Average precision of one class as a function of row counts: precision at each distinct score,
    weighted by recall gained there (no interpolation). NaN without present or without absent rows.
    """
    rows, positive, starts = _sorted(labels, scores)

    def statistic(counts: Floats) -> Floats:
        weight = counts[:, rows]
        # Scores rise with the column, and thresholds are lowered from the highest score.
        present = _sum_per_score(weight * positive, starts)[:, ::-1]
        absent = _sum_per_score(weight * ~positive, starts)[:, ::-1]
        true_positives = np.cumsum(present, axis=1)
        false_positives = np.cumsum(absent, axis=1)

        # Precision at each threshold times the present rows that it adds. The tiny number keeps a
        # resample without any row from dividing by 0.
        detections = np.maximum(true_positives + false_positives, 1e-300)
        gained = np.where(true_positives > 0, present * true_positives / detections, 0.0)

        # A denominator of 0 makes the value NaN.
        has_absent = false_positives[:, -1:].sum(1) > 0
        return _ratio(gained.sum(1), np.where(has_absent, present.sum(1), 0.0))

    return statistic


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """AUROC with ties counted one half; None where present or absent rows are missing (see
    :func:`why_undefined`).
    """
    return _evaluate_once(auroc_statistic, labels, scores)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Average precision; None where present or absent rows are missing."""
    return _evaluate_once(average_precision_statistic, labels, scores)


def why_undefined(labels: ArrayLike) -> str:
    """Why no ranking metric exists for these labels; empty where one does."""
    values = np.asarray(labels, dtype=np.float64)
    missing = []
    for name, value in (("present", PRESENT), ("absent", ABSENT)):
        if not (values == value).any():
            missing.append(name)

    return "no " + " and no ".join(missing) + " rows" if missing else ""


def classification_metrics(
    labels: ArrayLike,
    scores: ArrayLike | Sequence[ArrayLike],
    names: Sequence[str],
    patients: Sequence[str],
    *,
    statistic: Callable[[ArrayLike, ArrayLike], Statistic] = auroc_statistic,
    n: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Metric]:
    """A value with an interval for each class, and ``macro`` over the classes that have one.

    Labels [N, M] in {1, 0, NaN}; scores [N, M], or several such tables (one per training seed)
    whose values are averaged within each resample. ``macro`` says in its reason which classes are
    left out; in a resample in which a rare class has no present row, the mean is over the others.

    Raises:
        PlaceError: PL-G002 if a score is NaN or infinite, naming rows; PL-D222 if shapes disagree.
    """
    table = np.asarray(labels, dtype=np.float64)
    stack = np.asarray(scores, dtype=np.float64)
    stack = stack[None] if stack.ndim == 2 else stack
    if stack.shape[1:] != table.shape or table.shape != (len(patients), len(names)):
        raise PlaceError(
            f"labels {table.shape}, scores {stack.shape[1:]}, {len(patients)} patients and "
            f"{len(names)} names disagree",
            code="PL-D222",
        )

    reasons = [why_undefined(column) for column in table.T]
    kept = [m for m, reason in enumerate(reasons) if not reason]
    known_counts = np.isfinite(table).sum(0)
    metrics = {
        name: undefined_metric(reasons[m], int(known_counts[m])) for m, name in enumerate(names)
    }
    if not kept:
        return metrics | {
            "macro": undefined_metric("no class has present and absent rows", len(table))
        }

    def mean_over_runs(m: int) -> Statistic:
        runs = [statistic(table[:, m], run[:, m]) for run in stack]
        return lambda counts: np.mean([run(counts) for run in runs], axis=0)

    parts = [mean_over_runs(m) for m in kept]

    def columns(counts: Floats) -> Floats:
        # One column a class, and behind them their mean over the classes that are defined.
        values = np.stack([part(counts) for part in parts], axis=1)
        defined = np.isfinite(values)
        macro = np.where(defined, values, 0.0).sum(1) / np.maximum(defined.sum(1), 1)
        return np.column_stack([values, np.where(defined.any(1), macro, np.nan)])

    rows = [*(int(known_counts[m]) for m in kept), len(table)]
    *class_metrics, macro = bootstrap_columns(columns, patients, n=n, seed=seed, rows=rows)
    metrics |= {names[m]: value for m, value in zip(kept, class_metrics, strict=True)}
    absent = [name for m, name in enumerate(names) if m not in kept]
    note = f"mean of {len(kept)} of {len(names)} classes" + (
        f", without {', '.join(absent)}" if absent else ""
    )

    return metrics | {"macro": replace(macro, reason=note)}


def _sorted(
    labels: ArrayLike, scores: ArrayLike
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.intp]]:
    """Rows with a known label by rising score, whether each is present, and where each distinct
    score starts.
    """
    label_values = np.asarray(labels, dtype=np.float64)
    values = np.asarray(scores, dtype=np.float64)
    if label_values.shape != values.shape:
        raise PlaceError(
            f"labels {label_values.shape} and scores {values.shape} disagree", code="PL-D222"
        )

    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        first_rows = ", ".join(str(row) for row in bad[:5])
        raise PlaceError(
            f"{len(bad)} scores are NaN or infinite, first rows {first_rows}", code="PL-G002"
        )

    rows = np.flatnonzero(~np.isnan(label_values))
    rows = rows[np.argsort(values[rows], kind="stable")]
    ordered = values[rows]
    is_start = np.ones(len(rows), dtype=bool)
    is_start[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(is_start)

    return rows, label_values[rows] == PRESENT, starts


def _sum_per_score(weight: Floats, starts: NDArray[np.intp]) -> Floats:
    """Sums [R, U] of ``weight`` [R, N] over rows of equal score."""
    # Without ties there is nothing to add up.
    return weight if len(starts) == weight.shape[1] else np.add.reduceat(weight, starts, axis=1)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(
        numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0
    )


def _evaluate_once(
    statistic: Callable[[ArrayLike, ArrayLike], Statistic], labels: ArrayLike, scores: ArrayLike
) -> float | None:
    label_values = np.asarray(labels)
    # One resample in which each row counts once: the data as they are.
    value = float(statistic(label_values, scores)(np.ones((1, len(label_values))))[0])
    return value if np.isfinite(value) else None
