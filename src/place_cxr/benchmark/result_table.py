"""All cells of a benchmark that the plan asks for, by where they lie, and the columns of its
tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from place_cxr.benchmark.cell import ALL_SITES, Cell, CellKey, read_cells
from place_cxr.benchmark.estimate import FloatArray
from place_cxr.benchmark.plan import BenchmarkConfig, planned_cells, worker_jobs
from place_cxr.benchmark.worker import PAIRS_SOURCE, cell_hash, planned_key
from place_cxr.tasks.engine import format_task_title
from place_cxr.tasks.task import Profile

PathKey = tuple[str, int, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Column:
    """One number that all methods are asked for."""

    task: str  # as the registry names it
    source: str
    fraction: float  # of the training patients; 0: nothing is learned
    site: str
    metric: str  # {score} and {heat} stand for what the method is read by
    profile: Profile = "strict"


@dataclass(frozen=True, slots=True)
class SeedScore:
    """What one method scored with one seed."""

    value: float
    draws: FloatArray | None
    digest: str  # of the test rows
    n: int  # scored rows
    note: str  # what the task says of the number


@dataclass(frozen=True, slots=True)
class ResultTable:
    """The cells that there are."""

    config: BenchmarkConfig
    cells: Mapping[PathKey, Cell]
    stale: frozenset[PathKey] = (
        frozenset()
    )  # measured with settings that are not the plan's any more: left out

    @classmethod
    def read(cls, config: BenchmarkConfig, out: Path) -> ResultTable:
        """Those that ``config`` asks for; others that lie in ``out`` are of no concern."""
        sites = config.sites or (ALL_SITES,)
        expected_hashes = {
            path_key(planned_key(config, job, planned_cell, site)): expected_hash
            for job in worker_jobs(config)
            for planned_cell in planned_cells(config, job.slug)
            for expected_hash in [cell_hash(config, job, planned_cell)]
            for site in sites
        }
        measured = {
            path_key(cell.place): cell
            for cell in read_cells(out)
            if path_key(cell.place) in expected_hashes
        }
        stale = frozenset(
            cell_path
            for cell_path, cell in measured.items()
            if cell.result.config_hash != expected_hashes[cell_path]
        )
        return cls(
            config,
            {cell_path: cell for cell_path, cell in measured.items() if cell_path not in stale},
            stale,
        )

    def cell(self, slug: str, seed: int, column: Column) -> Cell | None:
        """The cell that holds a column."""
        task = format_task_title(column.task, self.config.methods[slug].mode, column.profile)
        return self.cells.get(
            path_key(CellKey(slug, seed, task, column.source, column.fraction, column.site))
        )

    def values(self, slug: str, column: Column) -> dict[int, SeedScore]:
        """By seed; a number that is missing or undefined is not there."""
        method = self.config.methods[slug]
        name = column.metric.format(score=method.score, heat=method.heat)
        scores = {}
        for seed in self.config.seeds:
            cell = self.cell(slug, seed, column)
            metric = cell.metric(name) if cell else None
            if cell and metric and metric.value is not None:
                scores[seed] = SeedScore(
                    metric.value,
                    cell.metric_draws(name),
                    cell.result.split_digest,
                    metric.n,
                    metric.reason,
                )
        return scores


def path_key(cell_key: CellKey) -> PathKey:
    """A place with its share as folders name it, which is not the same float before and after."""
    return (
        cell_key.slug,
        cell_key.seed,
        cell_key.task,
        cell_key.source,
        f"{100 * cell_key.fraction:g}",
        cell_key.site,
    )


def planned_keys(config: BenchmarkConfig) -> Iterator[CellKey]:
    """All cells that the plan asks for, in the order of its rows."""
    for job in worker_jobs(config):
        for planned_cell in planned_cells(config, job.slug):
            for site in config.sites or (ALL_SITES,):
                yield planned_key(config, job, planned_cell, site)


def home_site(config: BenchmarkConfig) -> str:
    """The part of the test patients that the main tables are of."""
    return (config.sites or (ALL_SITES,))[0]


def site_columns(config: BenchmarkConfig, site: str) -> list[Column]:
    """All columns at a site, question by question: for each metric one column a share."""
    ordered: dict[Column, None] = {}
    for question in config.questions:
        matching = [
            planned_cell
            for slug in config.methods
            for planned_cell in planned_cells(config, slug)
            if planned_cell.question is question
        ]
        fractions = sorted({planned_cell.fraction for planned_cell in matching})
        for metric in question.columns:
            for fraction in fractions:
                source = question.source or PAIRS_SOURCE
                ordered[Column(question.task, source, fraction, site, metric, question.profile)] = (
                    None
                )
    return list(ordered)
