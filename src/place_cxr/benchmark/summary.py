"""What a benchmark's cells say: means, differences to the reference method, site shift, costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from place_cxr.benchmark.cell import ALL, Cost
from place_cxr.benchmark.estimate import Estimate, Floats, estimate, estimate_apart, holm, p_value
from place_cxr.benchmark.plan import Row
from place_cxr.benchmark.result_table import Book, Column, columns


@dataclass(frozen=True, slots=True)
class Difference:
    """The reference less a method, seed by seed and resample by resample; above 0 the reference is ahead."""

    estimate: Estimate
    ahead: int  # seeds in which the reference scores higher
    p: float | None  # None: no resamples to tell from
    corrected: float | None = None  # over all methods of the column, after Holm

    @property
    def sure(self) -> bool:
        """Clear, and so after the correction."""
        return self.estimate.clear and self.corrected is not None and self.corrected < 0.05


@dataclass(frozen=True, slots=True)
class Summary:
    """Means and differences of every column of every site, worked out once."""

    book: Book
    means: Mapping[tuple[str, Column], Estimate]  # (slug, column): those that there are
    differences: Mapping[Column, Mapping[str, Difference]]  # column -> slug


@dataclass(frozen=True, slots=True)
class Spent:
    """What a method took, means over seeds; None where it was not measured."""

    seconds: float | None  # of pre-training
    memory_gb: float | None  # highest of all seeds
    parameters: int | None
    encoder: int | None
    heads: float | None  # seconds of everything after pre-training, for one seed


def summarise(book: Book) -> Summary:
    """Everything that the tables are made of."""
    every = [column for site in book.config.sites or (ALL,) for column in columns(book.config, site)]
    means = {(slug, c): found for c in every for slug in book.config.methods if (found := mean(book, slug, c))}
    return Summary(book, means, {column: differences(book, column) for column in every})


def mean(book: Book, slug: str, column: Column) -> Estimate | None:
    """Of the seeds that there are; None without any."""
    found = list(book.values(slug, column).values())
    return estimate([one.value for one in found], [one.draws for one in found]) if found else None


def difference(book: Book, slug: str, column: Column) -> Difference | None:
    """Over the seeds that both have, on the same test rows; None without any."""
    first, second = book.values(book.config.reference, column), book.values(slug, column)
    pairs = [(first[seed], second[seed]) for seed in first if seed in second]
    if not pairs or any(a.digest != b.digest for a, b in pairs):
        return None
    steps = [a.value - b.value for a, b in pairs]
    found = estimate(steps, [_less(a.draws, b.draws) for a, b in pairs])
    return Difference(found, sum(step > 0 for step in steps), p_value(found))


def differences(book: Book, column: Column) -> dict[str, Difference]:
    """Of every other method that has the column, with p values corrected over all of them."""
    found = {
        slug: one
        for slug in book.config.methods
        if slug != book.config.reference and (one := difference(book, slug, column))
    }
    told = [(slug, one.p) for slug, one in found.items() if one.p is not None]
    corrected = dict(zip((slug for slug, _ in told), holm([p for _, p in told]), strict=True))
    return {slug: replace(one, corrected=corrected.get(slug)) for slug, one in found.items()}


def shift(book: Book, slug: str, here: Column, site: str) -> Estimate | None:
    """A column's value less the same at another site, over the seeds that have both; the patients are others."""
    first, second = book.values(slug, here), book.values(slug, replace(here, site=site))
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    return estimate_apart(
        [first[seed].value for seed in seeds],
        [second[seed].value for seed in seeds],
        [first[seed].draws for seed in seeds],
        [second[seed].draws for seed in seeds],
    )


def spent(book: Book, slug: str, out: Path) -> Spent:
    """What a method's rows took; heads count only where a row has all that is asked of it."""
    costs = [cost for seed in book.config.seeds if (cost := Cost.read(out / Row(slug, seed).name))]
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    memory = [cost.memory_gb for cost in costs if cost.memory_gb is not None]
    by_seed: dict[int, list[float]] = {}
    for cell in book.cells.values():
        if cell.place.slug == slug:
            by_seed.setdefault(cell.place.seed, []).append(cell.result.seconds)
    most = max((len(one) for one in by_seed.values()), default=0)
    whole = [sum(one) for one in by_seed.values() if len(one) == most]
    return Spent(
        fmean(seconds) if seconds else None,
        max(memory, default=None),
        costs[0].parameters if costs else None,
        costs[0].encoder if costs else None,
        fmean(whole) if whole else None,
    )


def _less(first: Floats | None, second: Floats | None) -> Floats | None:
    if first is None or second is None or len(first) != len(second):
        return None
    less: Floats = first - second
    return less
