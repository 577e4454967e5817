"""Scores of probabilities: ranking, decisions, calibration, and whether groups of patients are served alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from place_cxr.core.results import Metric
from place_cxr.metrics.classification import auroc_statistic, average_precision_statistic, why_undefined
from place_cxr.metrics.decisions import (
    accuracy_statistic,
    best_threshold,
    brier_statistic,
    calibration_error_statistic,
    f1_statistic,
    reliability_bins,
)
from place_cxr.metrics.intervals import Floats, bootstrap_columns, mean_statistic, undefined_metric
from place_cxr.tasks.aggregate import Positions, by_name, named, over_seeds, share
from place_cxr.tasks.predictions import Predictions

GROUPS = ("sex", "age", "view", "site")
SMALLEST = 30  # studies of a group that may be shown
FLAGGED = 0.05  # a gap in AUROC that is pointed at
_RANKING = {"auroc": auroc_statistic, "average precision": average_precision_statistic}
_CHANCE = {"brier": brier_statistic, "ECE": calibration_error_statistic}
_DECISION = {"f1": f1_statistic, "accuracy": accuracy_statistic}


def class_scores(predictions: Predictions, names: Sequence[str], *, one_of: bool) -> dict[str, Metric]:
    """All metrics of columns ``truth.<name>`` and ``score.<name>``; ``one_of``: exactly one name is right."""
    found: dict[str, Metric] = {}
    for fraction in predictions.fractions:
        test, val = predictions.part("test", fraction), predictions.part("val", fraction)
        truth, score = (test.numbers(*(f"{kind}.{name}" for name in names)) for kind in ("truth", "score"))
        left_out = predictions.left_out(fraction)
        variant = share(fraction)
        yes = _decided(test, val, names, truth, score, one_of)
        for metrics, values, needs_both in ((_RANKING, score, True), (_DECISION, yes, False), (_CHANCE, score, False)):
            for metric, statistic in metrics.items():
                made = by_name(
                    names,
                    test.seeds,
                    test.patients,
                    _maker(statistic, truth, values),
                    why=_why(truth, needs_both),
                    known=_known(truth),
                    left_out=left_out,
                )
                found |= named(variant, metric, made)
        if one_of:
            found[f"{variant}/top-1 accuracy/all classes"] = _top_1(test, truth, yes)
        found |= _reliability(variant, names, left_out, truth, score)
    return found | _groups(predictions, names)


def _maker(statistic: Any, truth: Floats, values: Any) -> Any:
    return lambda column, rows: statistic(truth[rows, column], values[rows, column])


def _why(truth: Floats, needs_both: bool) -> Any:
    """Why a column has no value: rankings need present and absent rows, the others any known row."""
    if needs_both:
        return lambda column: why_undefined(truth[:, column])
    return lambda column: "" if np.isfinite(truth[:, column]).any() else "no known label"


def _known(truth: Floats) -> Callable[[int], int]:
    return lambda column: int(np.isfinite(truth[:, column]).sum())


def _top_1(test: Predictions, truth: Floats, yes: Any) -> Metric:
    """Share of pictures whose likeliest class is theirs."""
    known = np.isfinite(truth).all(1)
    right = np.where(known, (yes * np.nan_to_num(truth)).sum(1), np.nan)
    statistic = over_seeds(test.seeds, lambda rows: mean_statistic(right[rows]))
    return bootstrap_columns(statistic, test.patients, rows=[int(known.sum())])[0]


def _decided(
    test: Predictions, val: Predictions, names: Sequence[str], truth: Floats, score: Floats, one_of: bool
) -> Any:
    """Decisions [L, M]: the likeliest class, or probabilities at each seed's own threshold, chosen on validation."""
    if one_of:
        return score.argmax(1)[:, None] == np.arange(len(names))
    val_truth, val_score = (val.numbers(*(f"{kind}.{name}" for name in names)) for kind in ("truth", "score"))
    yes = np.zeros(score.shape, dtype=bool)
    for seed in np.unique(test.seeds):
        rows, chosen = test.seeds == seed, val.seeds == seed
        for column in range(len(names)):
            limit = best_threshold(val_truth[chosen, column], val_score[chosen, column])
            yes[rows, column] = score[rows, column] >= limit
    return yes


def _reliability(
    variant: str, names: Sequence[str], left_out: Mapping[str, str], truth: Floats, score: Floats
) -> dict[str, Metric]:
    """One entry a bin, all names and seeds together: the value is how often it was there, the note what was said."""
    kept = [column for column, name in enumerate(names) if name not in left_out]
    if not kept:
        return {}
    found = {}
    for one in reliability_bins(truth[:, kept].ravel(), score[:, kept].ravel()):
        note = f"mean probability {one.said:.3f}"
        found[f"{variant}/reliability/{one.low:.1f}-{one.high:.1f}"] = Metric(one.seen, None, None, one.n, note)
    return found


def _groups(predictions: Predictions, names: Sequence[str]) -> dict[str, Metric]:
    """Mean AUROC of each group of patients with the largest share of labels, and the gap between best and worst."""
    if not predictions.fractions:
        return {}
    fraction = predictions.fractions[-1]
    test, variant, left_out = predictions.part("test", fraction), share(fraction), predictions.left_out(fraction)
    truth, score = (test.numbers(*(f"{kind}.{name}" for name in names)) for kind in ("truth", "score"))
    studies, patients, found = test.numbers("row")[:, 0], np.array(test.patients), {}
    for group in GROUPS:
        member = np.array(test.values(group))
        values = sorted(set(member.tolist()) - {""})
        if len(values) < 2:
            continue
        for value in values:
            rows = np.flatnonzero(member == value)
            count = len(np.unique(studies[rows]))
            if count < SMALLEST:
                metric = undefined_metric(f"suppressed: fewer than {SMALLEST} studies", count)
            else:
                metric = _group_auroc(
                    truth[rows], score[rows], names, test.seeds[rows], patients[rows].tolist(), left_out
                )
            found[f"{variant}/auroc by {group}/{value}"] = metric
        shown = {v: found[f"{variant}/auroc by {group}/{v}"].value for v in values}
        found[f"{variant}/auroc gap/{group}"] = _gap({v: value for v, value in shown.items() if value is not None})
    return found


def _group_auroc(
    truth: Floats, score: Floats, names: Sequence[str], seeds: Any, patients: Sequence[str], left_out: Mapping[str, str]
) -> Metric:
    def make(column: int, rows: Positions) -> Any:
        return auroc_statistic(truth[rows, column], score[rows, column])

    return by_name(
        names,
        seeds,
        patients,
        make,
        why=_why(truth, True),
        known=_known(truth),
        left_out=left_out,
    )["macro"]


def _gap(values: Mapping[str, float]) -> Metric:
    if len(values) < 2:
        return undefined_metric("fewer than two groups are large enough")
    low, high = min(values, key=lambda v: values[v]), max(values, key=lambda v: values[v])
    gap = values[high] - values[low]
    note = f"flagged: {low} below {high} by more than {FLAGGED}" if gap > FLAGGED else f"{low} below {high}"
    return Metric(gap, None, None, len(values), note)
