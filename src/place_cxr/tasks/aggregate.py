"""From stored predictions to metrics: one value per name, the mean over seeds in each resample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.results import Metric
from place_cxr.metrics.intervals import (
    RESAMPLES,
    Floats,
    Statistic,
    bootstrap_columns,
    undefined_metric,
)

# Positions of rows in the predictions of one fraction.
Positions = NDArray[np.intp]


def seed_mean_statistic(
    seeds: NDArray[np.int64], make_statistic: Callable[[Positions], Statistic]
) -> Statistic:
    """The mean over seeds (or folds) of the statistic of each, where it is defined.

    ``make_statistic`` gets the positions of a seed's rows. Scores of two heads are never ranked
    against each other.
    """
    runs = [np.flatnonzero(seeds == seed) for seed in np.unique(seeds)]
    parts = [(rows, make_statistic(rows)) for rows in runs]

    def statistic(counts: Floats) -> Floats:
        # One row per seed; a resample may leave a seed without a defined value.
        seed_values = np.stack([run(counts[:, rows]) for rows, run in parts])
        defined = np.isfinite(seed_values)
        # NaN where no seed has a value.
        total = np.where(defined, seed_values, 0.0).sum(0)
        return np.divide(
            total, defined.sum(0), out=np.full_like(total, np.nan), where=defined.any(0)
        )

    return statistic


def metrics_by_name(
    names: Sequence[str],
    seeds: NDArray[np.int64],
    patients: Sequence[str],
    make_statistic: Callable[[int, Positions], Statistic],
    *,
    undefined_reason: Callable[[int], str],
    count_known: Callable[[int], int],
    left_out: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Metric]:
    """A value with an interval for each name, and ``macro``, their mean.

    The reason of ``macro`` names what it leaves out.

    ``make_statistic(column, positions)`` is one seed's statistic of a name,
    ``undefined_reason(column)`` says why there is none (empty: there is one),
    ``count_known(column)`` counts the scored rows. ``left_out`` are names that the training rows
    could not teach.
    """
    reasons = [
        (left_out or {}).get(name, "") or undefined_reason(column)
        for column, name in enumerate(names)
    ]
    kept = [column for column, reason in enumerate(reasons) if not reason]
    metrics = {
        name: undefined_metric(reasons[column], count_known(column))
        for column, name in enumerate(names)
    }
    if not kept:
        return metrics | {"macro": undefined_metric("no name has a value", len(patients))}
    parts = [seed_mean_statistic(seeds, partial(make_statistic, column)) for column in kept]

    def columns(counts: Floats) -> Floats:
        values = np.stack([part(counts) for part in parts], axis=1)
        defined = np.isfinite(values)
        mean = np.where(defined, values, 0.0).sum(1) / np.maximum(defined.sum(1), 1)
        return np.column_stack([values, np.where(defined.any(1), mean, np.nan)])

    # The macro mean is a column of its own, so that it is resampled together with its parts.
    rows = [*(count_known(column) for column in kept), len(patients)]
    *intervals, macro = bootstrap_columns(columns, patients, n=resamples, rows=rows)
    metrics |= {names[column]: value for column, value in zip(kept, intervals, strict=True)}
    absent = [name for name in names if metrics[name].value is None]
    note = f"mean of {len(names) - len(absent)} of {len(names)}" + (
        f", without {', '.join(absent)}" if absent else ""
    )

    return metrics | {"macro": replace(macro, reason=note)}


def prefix_metrics(variant: str, metric: str, values: Mapping[str, Metric]) -> dict[str, Metric]:
    """Full names of metrics: ``variant/metric/of what``."""
    return {f"{variant}/{metric}/{what}": value for what, value in values.items()}


def fraction_label(fraction: float) -> str:
    """A fraction of the training patients as results name it: ``10%``."""
    return f"{100 * fraction:g}%"
