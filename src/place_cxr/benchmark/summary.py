"""Means over seeds, differences to the reference method, site shift and costs of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean

from place_cxr.benchmark.cell import ALL_SITES, PretrainingCost
from place_cxr.benchmark.estimate import (
    Estimate,
    FloatArray,
    correct_holm,
    estimate,
    estimate_unpaired,
    p_value,
)
from place_cxr.benchmark.plan import WorkerJob
from place_cxr.benchmark.result_table import Column, ResultTable, site_columns


@dataclass(frozen=True, slots=True)
class Difference:
    """The reference minus a method, seed by seed and resample by resample.

    Above 0 the reference is better.
    """

    estimate: Estimate
    ahead: int  # seeds in which the reference scores higher
    p: float | None  # None: no resamples
    corrected: float | None = None  # p after Holm's correction over all methods of the column

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0 and the corrected p value is below 0.05."""
        return self.estimate.clear and self.corrected is not None and self.corrected < 0.05


@dataclass(frozen=True, slots=True)
class Summary:
    """Means and differences of every column of every site, computed once."""

    results: ResultTable
    means: Mapping[tuple[str, Column], Estimate]  # (slug, column) -> mean, where there is one
    differences: Mapping[Column, Mapping[str, Difference]]  # column -> slug


@dataclass(frozen=True, slots=True)
class MeanCost:
    """Cost of a method, as means over seeds; None where it was not measured."""

    seconds: float | None  # of pre-training
    memory_gb: float | None  # highest of all seeds
    parameters: int | None
    encoder: int | None
    heads: float | None  # seconds after pre-training, for one seed


def summarize(results: ResultTable) -> Summary:
    """All numbers of the tables."""
    columns: list[Column] = []
    for site in results.config.sites or (ALL_SITES,):
        columns += site_columns(results.config, site)

    means = {}
    for column, slug in product(columns, results.config.methods):
        mean = mean_over_seeds(results, slug, column)
        if mean is not None:
            means[slug, column] = mean

    differences = {column: reference_differences(results, column) for column in columns}
    return Summary(results, means, differences)


def mean_over_seeds(results: ResultTable, slug: str, column: Column) -> Estimate | None:
    """The mean over the seeds that have the column; None without any."""
    scores = list(results.values(slug, column).values())
    if not scores:
        return None
    return estimate([score.value for score in scores], [score.draws for score in scores])


def reference_difference(results: ResultTable, slug: str, column: Column) -> Difference | None:
    """The difference over the seeds that both have; None without any, or on other test rows."""
    first, second = results.values(results.config.reference, column), results.values(slug, column)
    pairs = [(first[seed], second[seed]) for seed in first if seed in second]
    if not pairs or any(a.digest != b.digest for a, b in pairs):
        return None

    deltas = [a.value - b.value for a, b in pairs]
    estimated = estimate(deltas, [_subtract(a.draws, b.draws) for a, b in pairs])
    return Difference(estimated, sum(delta > 0 for delta in deltas), p_value(estimated))


def reference_differences(results: ResultTable, column: Column) -> dict[str, Difference]:
    """The differences to all other methods, with p values corrected over all of them."""
    by_slug = {
        slug: compared
        for slug in results.config.methods
        if slug != results.config.reference
        and (compared := reference_difference(results, slug, column))
    }
    # Correct over the methods that have a p value.
    p_values = [(slug, compared.p) for slug, compared in by_slug.items() if compared.p is not None]

    corrected = dict(
        zip((slug for slug, _ in p_values), correct_holm([p for _, p in p_values]), strict=True)
    )

    return {
        slug: replace(compared, corrected=corrected.get(slug)) for slug, compared in by_slug.items()
    }


def site_shift(results: ResultTable, slug: str, home_column: Column, site: str) -> Estimate | None:
    """The value at the home site minus that at another site, over the seeds that have both.

    The patients of the two sites differ, so the difference is unpaired.
    """
    first, second = (
        results.values(slug, home_column),
        results.values(slug, replace(home_column, site=site)),
    )
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None

    return estimate_unpaired(
        [first[seed].value for seed in seeds],
        [second[seed].value for seed in seeds],
        [first[seed].draws for seed in seeds],
        [second[seed].draws for seed in seeds],
    )


def mean_cost(results: ResultTable, slug: str, out: Path) -> MeanCost:
    """Cost of a method. Seconds of heads are of the seeds that have all their cells."""
    costs = [
        cost
        for seed in results.config.seeds
        if (cost := PretrainingCost.read(out / WorkerJob(slug, seed).name))
    ]
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    memory = [cost.memory_gb for cost in costs if cost.memory_gb is not None]

    by_seed: dict[int, list[float]] = {}
    for cell in results.cells.values():
        if cell.key.slug == slug:
            by_seed.setdefault(cell.key.seed, []).append(cell.result.seconds)

    most_cells = max((len(cell_seconds) for cell_seconds in by_seed.values()), default=0)
    complete = [
        sum(cell_seconds) for cell_seconds in by_seed.values() if len(cell_seconds) == most_cells
    ]

    return MeanCost(
        fmean(seconds) if seconds else None,
        max(memory, default=None),
        costs[0].parameters if costs else None,
        costs[0].encoder if costs else None,
        fmean(complete) if complete else None,
    )


def _subtract(first: FloatArray | None, second: FloatArray | None) -> FloatArray | None:
    if first is None or second is None or len(first) != len(second):
        return None
    subtracted: FloatArray = first - second
    return subtracted
