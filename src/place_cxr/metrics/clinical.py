"""Do two sets of reports name the same findings? Precision, recall and F1 over labels.

They are averaged in three ways. *micro*: all findings of all reports in one count. *macro*: mean
over the findings that some true report has. *example*: mean over the reports in which either side
has a finding. Labels come from a labeler; the numbers are no better than it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN
from place_cxr.core.results import Metric
from place_cxr.metrics.intervals import (
    RESAMPLES,
    Floats,
    Statistic,
    bootstrap_columns,
    mean_statistic,
    undefined_metric,
)

BinaryUncertainPolicy = Literal["absent", "present"]
CLINICAL_SCORES = ("precision", "recall", "F1")


def clinical_signature(uncertain: BinaryUncertainPolicy) -> str:
    """The rules behind each number, as a text beside it."""
    return (
        f"not mentioned counts as absent, uncertain as {uncertain}; "
        "micro: all findings in one count; macro: mean over findings that a true report has; "
        "example: mean over reports in which either side has a finding; "
        "nothing predicted: precision 0 in macro and example"
    )


def clinical_metrics(
    predicted: ArrayLike,
    truth: ArrayLike,
    names: Sequence[str],
    patients: Sequence[str],
    *,
    uncertain: BinaryUncertainPolicy = "absent",
    n: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Metric]:
    """``micro F1``, ``macro recall``, ``example precision`` ... and ``<finding> F1`` ..., with
    intervals over patients.

    Labels [N, M] in {1, 0, -1, NaN}. A finding that no true report has is undefined. ``macro``
    leaves it out and names it in its reason. In a resample, macro is the mean over the same
    findings where they are defined.

    Raises:
        PlaceError: PL-D222 if shapes disagree, PL-D227 if a label is none of these.
    """
    guess = _binary(predicted, uncertain)
    true = _binary(truth, uncertain)
    if guess.shape != true.shape or true.shape != (len(patients), len(names)):
        raise PlaceError(
            f"labels {guess.shape} and {true.shape}, {len(patients)} patients and {len(names)} "
            f"names disagree",
            code="PL-D222",
        )

    both = guess * true  # true positives
    kept = np.flatnonzero(true.any(0))
    missing = [name for m, name in enumerate(names) if m not in kept]
    note = f"mean of {len(kept)} of {len(names)} findings" + (
        f", without {', '.join(missing)}" if missing else ""
    )

    # A report in which neither side has a finding has no precision and no recall.
    has_finding = np.asarray(guess.any(1) | true.any(1))
    example_scores = _scores(both.sum(1), guess.sum(1), true.sum(1))
    example = np.where(has_finding[:, None], example_scores, np.nan)

    def micro(counts: Floats) -> Floats:
        totals = [(counts @ part).sum(1) for part in (both, guess, true)]
        return _scores(*totals, undefined_as=np.nan)

    # As functions of report counts, so that each resample of patients has all three.
    averages: dict[str, Statistic] = {
        "micro": micro,
        "macro": _macro(both[:, kept], guess[:, kept], true[:, kept]),
        "example": mean_statistic(example),
    }
    metrics: dict[str, Metric] = {}

    for average, statistic in averages.items():
        scored = int(has_finding.sum()) if average == "example" else len(patients)
        rows = [scored] * len(CLINICAL_SCORES)
        values = bootstrap_columns(statistic, patients, n=n, seed=seed, rows=rows)

        for score, value in zip(CLINICAL_SCORES, values, strict=True):
            reason = note if average == "macro" and value.value is not None else value.reason
            metrics[f"{average} {score}"] = replace(value, reason=reason)

    for m, name in enumerate(names):
        if m in kept:
            # The mean over one finding is that finding.
            column = slice(m, m + 1)
            statistic = _macro(
                both[:, column], guess[:, column], true[:, column], undefined_as=np.nan
            )
            values = bootstrap_columns(statistic, patients, n=n, seed=seed)
        else:
            undefined = undefined_metric("no true report has it", len(patients))
            values = [undefined] * len(CLINICAL_SCORES)

        for score, value in zip(CLINICAL_SCORES, values, strict=True):
            metrics[f"{name} {score}"] = value

    return metrics


def _macro(both: Floats, guess: Floats, true: Floats, *, undefined_as: float = 0.0) -> Statistic:
    """Mean over findings of precision, recall and F1, as a function of report counts.

    A finding without a true report in a resample is left out of that resample's mean.
    """

    def statistic(counts: Floats) -> Floats:
        truths = counts @ true

        # [R, M, 3]: resamples, findings, the three scores.
        scores = _scores(counts @ both, counts @ guess, truths, undefined_as=undefined_as)
        is_defined = (truths > 0)[:, :, None]
        total = is_defined.sum(1)
        mean = np.where(is_defined, scores, 0.0).sum(1)

        return np.divide(mean, total, out=np.full_like(mean, np.nan), where=total > 0)

    return statistic


def _scores(both: Floats, guess: Floats, true: Floats, *, undefined_as: float = 0.0) -> Floats:
    """Precision, recall and F1 on a new last axis; ``undefined_as`` where a denominator is 0."""

    def quotient(numerator: Floats, denominator: Floats) -> Floats:
        return np.divide(
            numerator,
            denominator,
            out=np.full(np.shape(numerator), undefined_as, dtype=np.float64),
            where=denominator > 0,
        )

    precision, recall = quotient(both, guess), quotient(both, true)
    f1 = quotient(2.0 * both, guess + true)

    return np.stack([precision, recall, f1], axis=-1)


def _binary(labels: ArrayLike, uncertain: BinaryUncertainPolicy) -> Floats:
    """1 where a finding counts as present, else 0. Not mentioned counts as absent."""
    table = np.asarray(labels, dtype=np.float64)
    if not (np.isin(table, (PRESENT, ABSENT, UNCERTAIN)) | np.isnan(table)).all():
        raise PlaceError(
            f"labels are {PRESENT:g}, {ABSENT:g}, {UNCERTAIN:g} or {NOT_MENTIONED}, and some are "
            f"not",
            code="PL-D227",
        )

    present = table == PRESENT
    if uncertain == "present":
        present |= table == UNCERTAIN

    return present.astype(np.float64)
