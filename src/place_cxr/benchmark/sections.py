"""The numbers of a benchmark as tables and charts, section by section."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from place_cxr.benchmark import descriptions
from place_cxr.benchmark.curves import chart
from place_cxr.benchmark.document import Entry, Line, Section, Table
from place_cxr.benchmark.estimate import Estimate
from place_cxr.benchmark.plan import BenchmarkConfig
from place_cxr.benchmark.ranks import Ranks, rank
from place_cxr.benchmark.result_table import Book, Column, columns, home
from place_cxr.benchmark.summary import Difference, Summary, shift, spent

_WIDEST = 4  # columns with intervals that fit a laptop
_NOTES = 6
Grouped = tuple[str, str, list[Column]]  # title, key, columns


def overview(book: Book) -> Section:
    """Mean ranks, best first."""
    found = rank(book)
    slugs = sorted(found.overall, key=lambda slug: found.overall[slug])
    tasks = list(found.by_task)
    count = f"{len(found.counted)} of {len(found.counted) + len(found.left_out)} columns count."
    lacking = f" Not all ranked methods have: {_listed(found.left_out)}." if found.left_out else ""
    heads = ["mean rank", "first in", *map(_short, tasks)]
    table = Table("", heads, _ranked_lines(book, found, slugs, tasks), [count + lacking])
    return Section("overview", "Overview", [descriptions.RANKS], tables=[table])


def task_sections(told: Summary) -> list[Section]:
    """All numbers of the home site, a section a task and source."""
    reference = told.book.config.reference
    found = []
    for title, key, group in groups(told.book.config):
        tables = []
        for name, part, heads in _tables(group):
            apart = [told.differences[column] for column in part]
            lines = [
                _line(
                    told.book.config,
                    slug,
                    [
                        _entry(told, slug, column, others.get(slug) if slug != reference else None)
                        for column, others in zip(part, apart, strict=True)
                    ],
                )
                for slug in told.book.config.methods
            ]
            notes = [*_trivial(told.book, part), *_notes(told.book, part)]
            tables.append(Table(name, heads, _bold(told, lines, part), notes))
        task = descriptions.TASKS.get(group[0].task)
        found.append(Section(key, title, [task.says] if task else [], tables=tables))
    return found


def difference_section(told: Summary) -> Section:
    """The reference less every other method."""
    reference = told.book.config.methods[told.book.config.reference].title
    tables = []
    for title, _, group in groups(told.book.config):
        for name, part, heads in _tables(group):
            apart = [told.differences[column] for column in part]
            lines = [
                _line(told.book.config, slug, [_difference(told.book.config, others.get(slug)) for others in apart])
                for slug in told.book.config.methods
                if slug != told.book.config.reference
            ]
            tables.append(Table(f"{title}, {name}" if name else title, heads, lines))
    return Section(
        "differences",
        f"Differences to {reference}",
        [descriptions.DIFFERENCES.format(reference=reference)],
        tables=tables,
    )


def shift_sections(told: Summary) -> list[Section]:
    """Home and away; nothing where the patients are not apart by site."""
    sites = told.book.config.sites
    if len(sites) < 2:
        return []
    tables = []
    for title, _, group in groups(told.book.config):
        column = _leading(group)[-1]
        heads = [f"site {sites[0]}", *(head for site in sites[1:] for head in (f"site {site}", f"{sites[0]} − {site}"))]
        lines = [_line(told.book.config, slug, list(_shifts(told, slug, column))) for slug in told.book.config.methods]
        said = ", ".join(
            filter(None, [title, descriptions.heading(column.metric), descriptions.share(column.fraction)])
        )
        tables.append(Table(said, heads, lines))
    return [
        Section("shift", f"Site shift: from {sites[0]} to {', '.join(sites[1:])}", [descriptions.SHIFT], tables=tables)
    ]


def curve_sections(told: Summary) -> list[Section]:
    """Values against the share of labels; nothing where each task has one share."""
    order = [
        told.book.config.reference,
        *(slug for slug in told.book.config.methods if slug != told.book.config.reference),
    ]
    drawn = []
    for title, _, group in groups(told.book.config):
        leading = _leading(group)
        values = {}
        for style, slug in enumerate(order):
            points = {c.fraction: found.value for c in leading if c.fraction and (found := told.means.get((slug, c)))}
            values[told.book.config.methods[slug].title] = (style, points)
        shown = chart(title, descriptions.heading(leading[0].metric), values)
        drawn += [shown] if shown else []
    return [Section("curves", "Sample-size curves", [descriptions.CURVES], charts=drawn)] if drawn else []


def cost_section(book: Book, out: Path) -> Section:
    """What each method took."""
    lines = []
    for slug in book.config.methods:
        took = spent(book, slug, out)
        shown = [
            _whole(took.seconds),
            descriptions.number(took.memory_gb, 2),
            _millions(took.parameters),
            _millions(took.encoder),
            _whole(took.heads),
        ]
        lines.append(_line(book.config, slug, [Entry(text) for text in shown]))
    heads = ["pre-training, s", "peak memory, GB", "trained parameters, M", "of these image encoder, M", "heads, s"]
    return Section("costs", "Costs", [descriptions.COSTS], tables=[Table("", heads, lines)])


def groups(config: BenchmarkConfig) -> list[Grouped]:
    """Columns of the home site by task and source."""
    by_place: dict[tuple[str, str], list[Column]] = {}
    for column in columns(config, home(config)):
        by_place.setdefault((column.task, column.source), []).append(column)
    tasks = [task for task, _ in by_place]
    return [
        (
            _title(task) + (f" on {source}" if tasks.count(task) > 1 else ""),
            f"{task}-{source}" if tasks.count(task) > 1 else task,
            group,
        )
        for (task, source), group in by_place.items()
    ]


def _tables(group: Sequence[Column]) -> Iterator[tuple[str, list[Column], list[str]]]:
    """Tables that are not too wide: (title, columns, heads); a table a metric where there are shares."""
    if len({column.fraction for column in group}) > 1:
        for metric, part in groupby(group, lambda column: column.metric):
            yield from _chunks(
                descriptions.heading(metric), list(part), lambda column: descriptions.share(column.fraction)
            )
    else:
        yield from _chunks(
            descriptions.share(group[0].fraction), list(group), lambda column: descriptions.heading(column.metric)
        )


def _chunks(
    title: str, part: list[Column], head: Callable[[Column], str]
) -> Iterator[tuple[str, list[Column], list[str]]]:
    width = math.ceil(len(part) / math.ceil(len(part) / _WIDEST))
    for start in range(0, len(part), width):
        chunk = part[start : start + width]
        yield title, chunk, [head(column) for column in chunk]


def _leading(group: Sequence[Column]) -> list[Column]:
    """The first metric's columns, the largest share last."""
    return sorted((c for c in group if c.metric == group[0].metric), key=lambda column: column.fraction)


def _line(config: BenchmarkConfig, slug: str, entries: Sequence[Entry]) -> Line:
    method = config.methods[slug]
    return Line(method.title, entries, slug == config.reference, method.ranked)


def _entry(told: Summary, slug: str, column: Column, apart: Difference | None) -> Entry:
    found = told.means.get((slug, column))
    sign = "" if apart is None or not apart.estimate.clear else "▼" if apart.estimate.value > 0 else "▲"
    return _estimate(told.book.config, found, sign=sign)


def _estimate(config: BenchmarkConfig, found: Estimate | None, *, signed: bool = False, sign: str = "") -> Entry:
    if found is None:
        return Entry()
    few = "" if found.seeds == len(config.seeds) else f"{found.seeds} of {len(config.seeds)} seeds"
    return Entry(
        descriptions.number(found.value, signed=signed),
        descriptions.interval(found.low, found.high, signed=signed),
        sign,
        few,
    )


def _difference(config: BenchmarkConfig, found: Difference | None) -> Entry:
    if found is None:
        return Entry()
    sign = "**" if found.sure else "*" if found.estimate.clear else ""
    shown = _estimate(config, found.estimate, signed=True)
    return Entry(shown.text, shown.interval, sign, f"{found.ahead}/{found.estimate.seeds}")


def _shifts(told: Summary, slug: str, column: Column) -> Iterator[Entry]:
    yield _estimate(told.book.config, told.means.get((slug, column)))
    for site in told.book.config.sites[1:]:
        there = replace(column, site=site)
        yield _estimate(told.book.config, told.means.get((slug, there)))
        apart = shift(told.book, slug, column, site)
        yield _estimate(told.book.config, apart, signed=True, sign="*" if apart and apart.clear else "")


def _bold(told: Summary, lines: Sequence[Line], part: Sequence[Column]) -> list[Line]:
    """The same with the highest mean of the ranked methods marked, where there are two or more."""
    best = []
    for column in part:
        ranked = {
            slug: told.means.get((slug, column)) for slug, method in told.book.config.methods.items() if method.ranked
        }
        values = {slug: found.value for slug, found in ranked.items() if found}
        best.append({slug for slug, value in values.items() if value == max(values.values()) and len(values) > 1})
    return [
        Line(
            line.name,
            [
                Entry(e.text, e.interval, e.sign, e.note, slug in highest)
                for e, highest in zip(line.entries, best, strict=True)
            ],
            line.reference,
            line.ranked,
        )
        for slug, line in zip(told.book.config.methods, lines, strict=True)
    ]


def _trivial(book: Book, part: Sequence[Column]) -> list[str]:
    """What answers score that any method has to beat: means over the seeds of the reference."""
    reference, said = book.config.reference, []
    for column in part:
        scores = []
        for name, (own, other) in descriptions.TRIVIAL.get(column.task, {}).items():
            values = book.values(reference, replace(column, metric=column.metric.replace(own, other))).values()
            if own in column.metric and values:
                mean = sum(value.value for value in values) / len(values)
                scores.append(
                    f"{name.format(reference=book.config.methods[reference].title)} {descriptions.number(mean)}"
                )
        if scores:
            said.append(f"To beat, {descriptions.heading(column.metric)}: {'; '.join(scores)}.")
    return said


def _notes(book: Book, part: Sequence[Column]) -> list[str]:
    """What the tasks say of the numbers, each once."""
    said: dict[str, None] = {}
    counts: dict[int, None] = {}
    for column in part:
        for slug in book.config.methods:
            for value in book.values(slug, column).values():
                counts[value.n] = None
                if value.note:
                    said[
                        f"{descriptions.share(column.fraction) or descriptions.heading(column.metric)}: {value.note}"
                    ] = None
    more = [f"and {len(said) - _NOTES} notes more, in the results"] if len(said) > _NOTES else []
    scored = [f"Scored: {', '.join(map(str, counts))} rows of test patients."] if counts else []
    return [*scored, *(["; ".join([*list(said)[:_NOTES], *more]) + "."] if said else [])]


def _ranked_lines(book: Book, found: Ranks, slugs: Sequence[str], tasks: Sequence[str]) -> list[Line]:
    best = min(found.overall.values(), default=0.0)
    lines = []
    for slug in [*slugs, *(slug for slug in book.config.methods if slug not in slugs)]:
        if slug in found.overall:
            first = f"{100 * found.best[slug]:.0f} %" if slug in found.best else "—"
            overall = Entry(f"{found.overall[slug]:.2f}", best=found.overall[slug] == best)
            each = [Entry(f"{found.by_task[task][slug]:.2f}") for task in tasks]
            lines.append(_line(book.config, slug, [overall, Entry(first), *each]))
        else:
            lines.append(_line(book.config, slug, [Entry()] * (len(tasks) + 2)))
    return lines


def _listed(left: Sequence[Column]) -> str:
    said = (
        ", ".join(filter(None, [_short(c.task), descriptions.heading(c.metric), descriptions.share(c.fraction)]))
        for c in left
    )
    return "; ".join(said)


def _title(task: str) -> str:
    return descriptions.TASKS[task].title if task in descriptions.TASKS else task.capitalize()


def _short(task: str) -> str:
    return descriptions.TASKS[task].short if task in descriptions.TASKS else task


def _whole(value: float | None) -> str:
    return "—" if value is None else f"{value:,.0f}"


def _millions(value: int | None) -> str:
    return "—" if value is None else f"{value / 1e6:.2f}"
