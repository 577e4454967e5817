"""All cells of a benchmark that the plan asks for, by where they lie, and the columns of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from place_cxr.benchmark.cell import ALL, Cell, Place, read_cells
from place_cxr.benchmark.estimate import Floats
from place_cxr.benchmark.plan import BenchmarkConfig, cells, rows
from place_cxr.benchmark.worker import PAIRS, cell_hash, place_of
from place_cxr.tasks.engine import title
from place_cxr.tasks.task import Profile

Key = tuple[str, int, str, str, str, str]


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
class Value:
    """What one method scored with one seed."""

    value: float
    draws: Floats | None
    digest: str  # of the test rows
    n: int  # scored rows
    note: str  # what the task says of the number


@dataclass(frozen=True, slots=True)
class Book:
    """The cells that there are."""

    config: BenchmarkConfig
    cells: Mapping[Key, Cell]
    stale: frozenset[Key] = frozenset()  # measured with settings that are not the plan's any more: left out

    @classmethod
    def read(cls, config: BenchmarkConfig, out: Path) -> Book:
        """Those that ``config`` asks for; others that lie in ``out`` are of no concern."""
        sites = config.sites or (ALL,)
        asked = {
            key(place_of(config, row, one, site)): wanted
            for row in rows(config)
            for one in cells(config, row.slug)
            for wanted in [cell_hash(config, row, one)]
            for site in sites
        }
        found = {key(cell.place): cell for cell in read_cells(out) if key(cell.place) in asked}
        stale = frozenset(where for where, cell in found.items() if cell.result.config_hash != asked[where])
        return cls(config, {where: cell for where, cell in found.items() if where not in stale}, stale)

    def cell(self, slug: str, seed: int, column: Column) -> Cell | None:
        """The cell that holds a column."""
        task = title(column.task, self.config.methods[slug].mode, column.profile)
        return self.cells.get(key(Place(slug, seed, task, column.source, column.fraction, column.site)))

    def values(self, slug: str, column: Column) -> dict[int, Value]:
        """By seed; a number that is missing or undefined is not there."""
        method = self.config.methods[slug]
        name = column.metric.format(score=method.score, heat=method.heat)
        found = {}
        for seed in self.config.seeds:
            cell = self.cell(slug, seed, column)
            metric = cell.metric(name) if cell else None
            if cell and metric and metric.value is not None:
                found[seed] = Value(metric.value, cell.drawn(name), cell.result.split_digest, metric.n, metric.reason)
        return found


def key(place: Place) -> Key:
    """A place with its share as folders name it, which is not the same float before and after."""
    return (place.slug, place.seed, place.task, place.source, f"{100 * place.fraction:g}", place.site)


def planned(config: BenchmarkConfig) -> Iterator[Place]:
    """All cells that the plan asks for, in the order of its rows."""
    for row in rows(config):
        for asked in cells(config, row.slug):
            for site in config.sites or (ALL,):
                yield place_of(config, row, asked, site)


def home(config: BenchmarkConfig) -> str:
    """The part of the test patients that the main tables are of."""
    return (config.sites or (ALL,))[0]


def columns(config: BenchmarkConfig, site: str) -> list[Column]:
    """All columns at a site, question by question: for each metric one column a share."""
    found: dict[Column, None] = {}
    for question in config.questions:
        asked = [one for slug in config.methods for one in cells(config, slug) if one.question is question]
        fractions = sorted({one.fraction for one in asked})
        for metric in question.columns:
            for fraction in fractions:
                source = question.source or PAIRS
                found[Column(question.task, source, fraction, site, metric, question.profile)] = None
    return list(found)
