"""Metrics of predicted probabilities: ranking, decisions, calibration, and gaps between groups of
patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from place_cxr.core.results import Metric
from place_cxr.metrics.classification import (
    auroc_statistic,
    average_precision_statistic,
    why_undefined,
)
from place_cxr.metrics.decisions import (
    accuracy_statistic,
    best_threshold,
    brier_statistic,
    calibration_error_statistic,
    f1_statistic,
    reliability_bins,
)
from place_cxr.metrics.intervals import Floats, bootstrap_columns, mean_statistic, undefined_metric
from place_cxr.tasks.aggregate import (
    Positions,
    fraction_label,
    metrics_by_name,
    prefix_metrics,
    seed_mean_statistic,
)
from place_cxr.tasks.predictions import Predictions

PATIENT_GROUPS = ("sex", "age", "view", "site")
# Numbers of a group with fewer studies are not shown: they could be traced to patients.
MIN_GROUP_STUDIES = 30
# A gap in AUROC between groups from which a result flags it.
FLAGGED_AUROC_GAP = 0.05
_RANKING_STATISTICS = {"auroc": auroc_statistic, "average precision": average_precision_statistic}
_PROBABILITY_STATISTICS = {"brier": brier_statistic, "ECE": calibration_error_statistic}
_DECISION_STATISTICS = {"f1": f1_statistic, "accuracy": accuracy_statistic}


AUROC_IN_WORDS = (
    "The score (AUROC) is the chance that a picture with the finding is ranked above one without "
    "it: 0.5 is guessing, 1 is perfect."
)


def class_scores(
    predictions: Predictions, names: Sequence[str], *, multi_class: bool
) -> dict[str, Metric]:
    """All metrics of the columns ``truth.<name>`` and ``score.<name>``.

    ``multi_class``: exactly one name is right.
    """
    results: dict[str, Metric] = {}
    for fraction in predictions.fractions:
        test, val = predictions.subset("test", fraction), predictions.subset("val", fraction)
        truth, score = _truth_and_score(test, names)
        left_out = predictions.left_out(fraction)
        variant = fraction_label(fraction)
        decisions = _decide(test, val, names, truth, score, multi_class)

        for metrics, values, needs_both in (
            (_RANKING_STATISTICS, score, True),
            (_DECISION_STATISTICS, decisions, False),
            (_PROBABILITY_STATISTICS, score, False),
        ):
            for metric, statistic in metrics.items():
                class_metrics = metrics_by_name(
                    names,
                    test.seeds,
                    test.patients,
                    _statistic_maker(statistic, truth, values),
                    undefined_reason=_reason_finder(truth, needs_both),
                    count_known=_known_counter(truth),
                    left_out=left_out,
                )
                results |= prefix_metrics(variant, metric, class_metrics)

        if multi_class:
            results[f"{variant}/top-1 accuracy/all classes"] = _top_1_accuracy(
                test, truth, decisions
            )

        results |= _reliability_metrics(variant, names, left_out, truth, score)

    return results | _group_metrics(predictions, names)


def _truth_and_score(predictions: Predictions, names: Sequence[str]) -> tuple[Floats, Floats]:
    """Labels and scores of ``names``, [L, M] each; NaN where a label is not known."""
    truth = predictions.numbers(*(f"truth.{name}" for name in names))
    score = predictions.numbers(*(f"score.{name}" for name in names))
    return truth, score


def _statistic_maker(statistic: Any, truth: Floats, values: Any) -> Any:
    return lambda column, rows: statistic(truth[rows, column], values[rows, column])


def _reason_finder(truth: Floats, needs_both: bool) -> Any:
    """Why a column has no value.

    Rankings need present and absent rows, other metrics any known row.
    """
    if needs_both:
        return lambda column: why_undefined(truth[:, column])
    return lambda column: "" if np.isfinite(truth[:, column]).any() else "no known label"


def _known_counter(truth: Floats) -> Callable[[int], int]:
    return lambda column: int(np.isfinite(truth[:, column]).sum())


def _top_1_accuracy(test: Predictions, truth: Floats, decisions: Any) -> Metric:
    """Fraction of images whose most probable class is the true one."""
    is_known = np.isfinite(truth).all(1)
    correct = np.where(is_known, (decisions * np.nan_to_num(truth)).sum(1), np.nan)
    statistic = seed_mean_statistic(test.seeds, lambda rows: mean_statistic(correct[rows]))
    return bootstrap_columns(statistic, test.patients, rows=[int(is_known.sum())])[0]


def _decide(
    test: Predictions,
    val: Predictions,
    names: Sequence[str],
    truth: Floats,
    score: Floats,
    multi_class: bool,
) -> Any:
    """Decisions [L, M]: the likeliest class, or probabilities at each seed's own threshold, chosen
    on validation.
    """
    if multi_class:
        return score.argmax(1)[:, None] == np.arange(len(names))
    val_truth, val_score = _truth_and_score(val, names)
    decisions = np.zeros(score.shape, dtype=bool)

    for seed in np.unique(test.seeds):
        rows, val_rows = test.seeds == seed, val.seeds == seed
        for column in range(len(names)):
            threshold = best_threshold(val_truth[val_rows, column], val_score[val_rows, column])
            decisions[rows, column] = score[rows, column] >= threshold

    return decisions


def _reliability_metrics(
    variant: str, names: Sequence[str], left_out: Mapping[str, str], truth: Floats, score: Floats
) -> dict[str, Metric]:
    """One entry per bin of predicted probability, over all names and seeds.

    The value is the observed frequency, the note the mean probability.
    """
    kept = [column for column, name in enumerate(names) if name not in left_out]
    if not kept:
        return {}
    metrics = {}

    for reliability_bin in reliability_bins(truth[:, kept].ravel(), score[:, kept].ravel()):
        note = f"mean probability {reliability_bin.said:.3f}"
        metrics[f"{variant}/reliability/{reliability_bin.low:.1f}-{reliability_bin.high:.1f}"] = (
            Metric(reliability_bin.seen, None, None, reliability_bin.n, note)
        )

    return metrics


def _group_metrics(predictions: Predictions, names: Sequence[str]) -> dict[str, Metric]:
    """Mean AUROC of each group of patients, and the gap between best and worst.

    Heads are those of the largest fraction of labels.
    """
    if not predictions.fractions:
        return {}
    fraction = predictions.fractions[-1]
    test, variant, left_out = (
        predictions.subset("test", fraction),
        fraction_label(fraction),
        predictions.left_out(fraction),
    )
    truth, score = _truth_and_score(test, names)
    studies, patients, metrics = test.numbers("row")[:, 0], np.array(test.patients), {}

    for group in PATIENT_GROUPS:
        membership = np.array(test.values(group))
        values = sorted(set(membership.tolist()) - {""})
        if len(values) < 2:
            continue

        for value in values:
            rows = np.flatnonzero(membership == value)
            count = len(np.unique(studies[rows]))
            if count < MIN_GROUP_STUDIES:
                metric = undefined_metric(
                    f"suppressed: fewer than {MIN_GROUP_STUDIES} studies", count
                )
            else:
                metric = _group_auroc(
                    truth[rows],
                    score[rows],
                    names,
                    test.seeds[rows],
                    patients[rows].tolist(),
                    left_out,
                )

            metrics[f"{variant}/auroc by {group}/{value}"] = metric

        aurocs = {v: metrics[f"{variant}/auroc by {group}/{v}"].value for v in values}
        metrics[f"{variant}/auroc gap/{group}"] = _auroc_gap(
            {v: value for v, value in aurocs.items() if value is not None}
        )

    return metrics


def _group_auroc(
    truth: Floats,
    score: Floats,
    names: Sequence[str],
    seeds: Any,
    patients: Sequence[str],
    left_out: Mapping[str, str],
) -> Metric:
    def make(column: int, rows: Positions) -> Any:
        return auroc_statistic(truth[rows, column], score[rows, column])

    return metrics_by_name(
        names,
        seeds,
        patients,
        make,
        undefined_reason=_reason_finder(truth, True),
        count_known=_known_counter(truth),
        left_out=left_out,
    )["macro"]


def _auroc_gap(values: Mapping[str, float]) -> Metric:
    if len(values) < 2:
        return undefined_metric("fewer than two groups are large enough")
    low, high = min(values, key=lambda v: values[v]), max(values, key=lambda v: values[v])
    gap = values[high] - values[low]
    note = (
        f"flagged: {low} below {high} by more than {FLAGGED_AUROC_GAP}"
        if gap > FLAGGED_AUROC_GAP
        else f"{low} below {high}"
    )

    return Metric(gap, None, None, len(values), note)
