"""The planned cells of a benchmark that have a result, and the columns of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, product
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
    """One metric of one task, which all methods are compared by."""

    task: str  # as the registry names it
    source: str
    fraction: float  # of the training patients; 0: the task has no head
    site: str
    metric: str  # {score} and {heat} stand for the settings of the method
    profile: Profile = "strict"


@dataclass(frozen=True, slots=True)
class SeedScore:
    """The score of one method with one seed."""

    value: float
    draws: FloatArray | None
    digest: str  # of the test rows
    n: int  # scored rows
    note: str  # the task's remark on the number


@dataclass(frozen=True, slots=True)
class ResultTable:
    """All planned cells that have a result."""

    config: BenchmarkConfig
    cells: Mapping[PathKey, Cell]
    # Measured with other settings than the plan's, and left out of `cells`.
    stale: frozenset[PathKey] = frozenset()

    @classmethod
    def read(cls, config: BenchmarkConfig, out: Path) -> ResultTable:
        """Read the cells that ``config`` plans; other cells in ``out`` are ignored."""
        expected_hashes: dict[PathKey, str] = {}
        for job in worker_jobs(config):
            for planned_cell in planned_cells(config, job.slug):
                # The same for all sites, and slow enough to be computed once.
                expected_hash = cell_hash(config, job, planned_cell)
                for site in config.sites or (ALL_SITES,):
                    key = planned_key(config, job, planned_cell, site)
                    expected_hashes[path_key(key)] = expected_hash

        measured = {
            path_key(cell.key): cell
            for cell in read_cells(out)
            if path_key(cell.key) in expected_hashes
        }
        stale = frozenset(
            cell_path
            for cell_path, cell in measured.items()
            if cell.result.config_hash != expected_hashes[cell_path]
        )

        current = {path: cell for path, cell in measured.items() if path not in stale}
        return cls(config, current, stale)

    def cell(self, slug: str, seed: int, column: Column) -> Cell | None:
        """The cell that holds a column, if it has a result."""
        task = format_task_title(column.task, self.config.methods[slug].mode, column.profile)
        return self.cells.get(
            path_key(CellKey(slug, seed, task, column.source, column.fraction, column.site))
        )

    def values(self, slug: str, column: Column) -> dict[int, SeedScore]:
        """The scores by seed, without those that are missing or undefined."""
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
    """A key that is equal before and after the fraction is written as the name of a folder."""
    return (
        cell_key.slug,
        cell_key.seed,
        cell_key.task,
        cell_key.source,
        f"{100 * cell_key.fraction:g}",
        cell_key.site,
    )


def planned_keys(config: BenchmarkConfig) -> Iterator[CellKey]:
    """All planned cells, in the order of the jobs."""
    for job in worker_jobs(config):
        for planned_cell in planned_cells(config, job.slug):
            for site in config.sites or (ALL_SITES,):
                yield planned_key(config, job, planned_cell, site)


def home_site(config: BenchmarkConfig) -> str:
    """The site of the test patients in the main tables."""
    return (config.sites or (ALL_SITES,))[0]


def site_columns(config: BenchmarkConfig, site: str) -> list[Column]:
    """All columns at a site, question by question: for each metric one column a fraction."""
    # A dict keeps the order of first appearance and drops repeated columns.
    ordered: dict[Column, None] = {}
    for question in config.questions:
        cells = chain.from_iterable(planned_cells(config, slug) for slug in config.methods)
        fractions = sorted({cell.fraction for cell in cells if cell.question is question})
        source = question.source or PAIRS_SOURCE

        for metric, fraction in product(question.columns, fractions):
            column = Column(question.task, source, fraction, site, metric, question.profile)
            ordered[column] = None

    return list(ordered)
