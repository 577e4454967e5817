"""The numbers of a benchmark as tables and charts, section by section."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from place_cxr.benchmark import descriptions
from place_cxr.benchmark.curves import curve_chart
from place_cxr.benchmark.document import DocumentSection, DocumentTable, TableEntry, TableLine
from place_cxr.benchmark.estimate import Estimate
from place_cxr.benchmark.plan import BenchmarkConfig
from place_cxr.benchmark.ranks import Ranks, rank_methods
from place_cxr.benchmark.result_table import Column, ResultTable, home_site, site_columns
from place_cxr.benchmark.summary import Difference, Summary, mean_cost, site_shift

_MAX_COLUMNS = 4  # columns with intervals that fit a laptop
_MAX_NOTES = 6
ColumnGroup = tuple[str, str, list[Column]]  # title, key, columns


def overview_section(results: ResultTable) -> DocumentSection:
    """Mean ranks, best first."""
    ranks = rank_methods(results)
    slugs = sorted(ranks.overall, key=lambda slug: ranks.overall[slug])
    tasks = list(ranks.by_task)
    count = f"{len(ranks.counted)} of {len(ranks.counted) + len(ranks.left_out)} columns count."
    left_out_note = (
        f" Not all ranked methods have: {_list_columns(ranks.left_out)}." if ranks.left_out else ""
    )
    heads = ["mean rank", "first in", *map(_short_title, tasks)]
    table = DocumentTable(
        "", heads, _rank_lines(results, ranks, slugs, tasks), [count + left_out_note]
    )
    return DocumentSection("overview", "Overview", [descriptions.RANKS], tables=[table])


def task_sections(summary: Summary) -> list[DocumentSection]:
    """All numbers of the home site, a section a task and source."""
    reference = summary.results.config.reference
    sections = []
    for title, key, group in group_columns(summary.results.config):
        tables = []
        for name, part, heads in _tables(group):
            differences = [summary.differences[column] for column in part]
            lines = [
                _table_line(
                    summary.results.config,
                    slug,
                    [
                        _score_entry(
                            summary, slug, column, others.get(slug) if slug != reference else None
                        )
                        for column, others in zip(part, differences, strict=True)
                    ],
                )
                for slug in summary.results.config.methods
            ]
            notes = [*_trivial_notes(summary.results, part), *_task_notes(summary.results, part)]
            tables.append(DocumentTable(name, heads, _mark_best(summary, lines, part), notes))
        task = descriptions.TASK_DESCRIPTIONS.get(group[0].task)
        sections.append(DocumentSection(key, title, [task.says] if task else [], tables=tables))
    return sections


def difference_section(summary: Summary) -> DocumentSection:
    """The reference less every other method."""
    reference = summary.results.config.methods[summary.results.config.reference].title
    tables = []
    for title, _, group in group_columns(summary.results.config):
        for name, part, heads in _tables(group):
            differences = [summary.differences[column] for column in part]
            lines = [
                _table_line(
                    summary.results.config,
                    slug,
                    [
                        _difference_entry(summary.results.config, others.get(slug))
                        for others in differences
                    ],
                )
                for slug in summary.results.config.methods
                if slug != summary.results.config.reference
            ]
            tables.append(DocumentTable(f"{title}, {name}" if name else title, heads, lines))
    return DocumentSection(
        "differences",
        f"Differences to {reference}",
        [descriptions.DIFFERENCES.format(reference=reference)],
        tables=tables,
    )


def shift_sections(summary: Summary) -> list[DocumentSection]:
    """Home and away; nothing where the patients are not apart by site."""
    sites = summary.results.config.sites
    if len(sites) < 2:
        return []
    tables = []
    for title, _, group in group_columns(summary.results.config):
        column = _leading_columns(group)[-1]
        heads = [
            f"site {sites[0]}",
            *(head for site in sites[1:] for head in (f"site {site}", f"{sites[0]} − {site}")),
        ]
        lines = [
            _table_line(summary.results.config, slug, list(_shift_entries(summary, slug, column)))
            for slug in summary.results.config.methods
        ]
        table_title = ", ".join(
            filter(
                None,
                [
                    title,
                    descriptions.metric_heading(column.metric),
                    descriptions.format_fraction(column.fraction),
                ],
            )
        )
        tables.append(DocumentTable(table_title, heads, lines))
    return [
        DocumentSection(
            "shift",
            f"Site shift: from {sites[0]} to {', '.join(sites[1:])}",
            [descriptions.SHIFT],
            tables=tables,
        )
    ]


def curve_sections(summary: Summary) -> list[DocumentSection]:
    """Values against the share of labels; nothing where each task has one share."""
    order = [
        summary.results.config.reference,
        *(
            slug
            for slug in summary.results.config.methods
            if slug != summary.results.config.reference
        ),
    ]
    charts = []
    for title, _, group in group_columns(summary.results.config):
        leading = _leading_columns(group)
        values = {}
        for style, slug in enumerate(order):
            points = {
                c.fraction: estimate.value
                for c in leading
                if c.fraction and (estimate := summary.means.get((slug, c)))
            }
            values[summary.results.config.methods[slug].title] = (style, points)
        curves = curve_chart(title, descriptions.metric_heading(leading[0].metric), values)
        charts += [curves] if curves else []
    return (
        [DocumentSection("curves", "Sample-size curves", [descriptions.CURVES], charts=charts)]
        if charts
        else []
    )


def cost_section(results: ResultTable, out: Path) -> DocumentSection:
    """What each method took."""
    lines = []
    for slug in results.config.methods:
        cost = mean_cost(results, slug, out)
        texts = [
            _format_whole(cost.seconds),
            descriptions.format_number(cost.memory_gb, 2),
            _format_millions(cost.parameters),
            _format_millions(cost.encoder),
            _format_whole(cost.heads),
        ]
        lines.append(_table_line(results.config, slug, [TableEntry(text) for text in texts]))
    heads = [
        "pre-training, s",
        "peak memory, GB",
        "trained parameters, M",
        "of these image encoder, M",
        "heads, s",
    ]
    return DocumentSection(
        "costs", "Costs", [descriptions.COSTS], tables=[DocumentTable("", heads, lines)]
    )


def group_columns(config: BenchmarkConfig) -> list[ColumnGroup]:
    """Columns of the home site by task and source."""
    by_task_and_source: dict[tuple[str, str], list[Column]] = {}
    for column in site_columns(config, home_site(config)):
        by_task_and_source.setdefault((column.task, column.source), []).append(column)
    tasks = [task for task, _ in by_task_and_source]
    return [
        (
            _task_title(task) + (f" on {source}" if tasks.count(task) > 1 else ""),
            f"{task}-{source}" if tasks.count(task) > 1 else task,
            group,
        )
        for (task, source), group in by_task_and_source.items()
    ]


def _tables(group: Sequence[Column]) -> Iterator[tuple[str, list[Column], list[str]]]:
    """Tables that are not too wide: (title, columns, heads); a table a metric where there are
    shares.
    """
    if len({column.fraction for column in group}) > 1:
        for metric, part in groupby(group, lambda column: column.metric):
            yield from _split_wide(
                descriptions.metric_heading(metric),
                list(part),
                lambda column: descriptions.format_fraction(column.fraction),
            )
    else:
        yield from _split_wide(
            descriptions.format_fraction(group[0].fraction),
            list(group),
            lambda column: descriptions.metric_heading(column.metric),
        )


def _split_wide(
    title: str, part: list[Column], head: Callable[[Column], str]
) -> Iterator[tuple[str, list[Column], list[str]]]:
    width = math.ceil(len(part) / math.ceil(len(part) / _MAX_COLUMNS))
    for start in range(0, len(part), width):
        chunk = part[start : start + width]
        yield title, chunk, [head(column) for column in chunk]


def _leading_columns(group: Sequence[Column]) -> list[Column]:
    """The first metric's columns, the largest share last."""
    return sorted(
        (c for c in group if c.metric == group[0].metric), key=lambda column: column.fraction
    )


def _table_line(config: BenchmarkConfig, slug: str, entries: Sequence[TableEntry]) -> TableLine:
    method = config.methods[slug]
    return TableLine(method.title, entries, slug == config.reference, method.ranked)


def _score_entry(
    summary: Summary, slug: str, column: Column, difference: Difference | None
) -> TableEntry:
    estimate = summary.means.get((slug, column))
    sign = (
        ""
        if difference is None or not difference.estimate.clear
        else "▼"
        if difference.estimate.value > 0
        else "▲"
    )
    return _estimate_entry(summary.results.config, estimate, sign=sign)


def _estimate_entry(
    config: BenchmarkConfig, estimate: Estimate | None, *, signed: bool = False, sign: str = ""
) -> TableEntry:
    if estimate is None:
        return TableEntry()
    seeds_note = (
        ""
        if estimate.seeds == len(config.seeds)
        else f"{estimate.seeds} of {len(config.seeds)} seeds"
    )
    return TableEntry(
        descriptions.format_number(estimate.value, signed=signed),
        descriptions.format_interval(estimate.low, estimate.high, signed=signed),
        sign,
        seeds_note,
    )


def _difference_entry(config: BenchmarkConfig, difference: Difference | None) -> TableEntry:
    if difference is None:
        return TableEntry()
    sign = "**" if difference.significant else "*" if difference.estimate.clear else ""
    entry = _estimate_entry(config, difference.estimate, signed=True)
    return TableEntry(
        entry.text, entry.interval, sign, f"{difference.ahead}/{difference.estimate.seeds}"
    )


def _shift_entries(summary: Summary, slug: str, column: Column) -> Iterator[TableEntry]:
    yield _estimate_entry(summary.results.config, summary.means.get((slug, column)))
    for site in summary.results.config.sites[1:]:
        away_column = replace(column, site=site)
        yield _estimate_entry(summary.results.config, summary.means.get((slug, away_column)))
        difference = site_shift(summary.results, slug, column, site)
        yield _estimate_entry(
            summary.results.config,
            difference,
            signed=True,
            sign="*" if difference and difference.clear else "",
        )


def _mark_best(
    summary: Summary, lines: Sequence[TableLine], part: Sequence[Column]
) -> list[TableLine]:
    """The same with the highest mean of the ranked methods marked, where there are two or more."""
    best = []
    for column in part:
        ranked = {
            slug: summary.means.get((slug, column))
            for slug, method in summary.results.config.methods.items()
            if method.ranked
        }
        values = {slug: estimate.value for slug, estimate in ranked.items() if estimate}
        best.append(
            {
                slug
                for slug, value in values.items()
                if value == max(values.values()) and len(values) > 1
            }
        )
    return [
        TableLine(
            line.name,
            [
                TableEntry(entry.text, entry.interval, entry.sign, entry.note, slug in highest)
                for entry, highest in zip(line.entries, best, strict=True)
            ],
            line.reference,
            line.ranked,
        )
        for slug, line in zip(summary.results.config.methods, lines, strict=True)
    ]


def _trivial_notes(results: ResultTable, part: Sequence[Column]) -> list[str]:
    """What answers score that any method has to beat: means over the seeds of the reference."""
    reference, notes = results.config.reference, []
    for column in part:
        scores = []
        for name, (variant, trivial_variant) in descriptions.TRIVIAL_ANSWERS.get(
            column.task, {}
        ).items():
            values = results.values(
                reference, replace(column, metric=column.metric.replace(variant, trivial_variant))
            ).values()
            if variant in column.metric and values:
                mean = sum(value.value for value in values) / len(values)
                scores.append(
                    f"{name.format(reference=results.config.methods[reference].title)} "
                    f"{descriptions.format_number(mean)}"
                )
        if scores:
            notes.append(
                f"To beat, {descriptions.metric_heading(column.metric)}: {'; '.join(scores)}."
            )
    return notes


def _task_notes(results: ResultTable, part: Sequence[Column]) -> list[str]:
    """What the tasks say of the numbers, each once."""
    notes: dict[str, None] = {}
    counts: dict[int, None] = {}
    for column in part:
        for slug in results.config.methods:
            for value in results.values(slug, column).values():
                counts[value.n] = None
                if value.note:
                    notes[
                        f"{descriptions.format_fraction(column.fraction) or descriptions.metric_heading(column.metric)}: {value.note}"
                    ] = None
    omitted = (
        [f"and {len(notes) - _MAX_NOTES} notes more, in the results"]
        if len(notes) > _MAX_NOTES
        else []
    )
    scored = [f"Scored: {', '.join(map(str, counts))} rows of test patients."] if counts else []
    return [*scored, *(["; ".join([*list(notes)[:_MAX_NOTES], *omitted]) + "."] if notes else [])]


def _rank_lines(
    results: ResultTable, ranks: Ranks, slugs: Sequence[str], tasks: Sequence[str]
) -> list[TableLine]:
    best = min(ranks.overall.values(), default=0.0)
    lines = []
    for slug in [*slugs, *(slug for slug in results.config.methods if slug not in slugs)]:
        if slug in ranks.overall:
            first = f"{100 * ranks.best[slug]:.0f} %" if slug in ranks.best else "—"
            overall = TableEntry(f"{ranks.overall[slug]:.2f}", best=ranks.overall[slug] == best)
            task_entries = [TableEntry(f"{ranks.by_task[task][slug]:.2f}") for task in tasks]
            lines.append(
                _table_line(results.config, slug, [overall, TableEntry(first), *task_entries])
            )
        else:
            lines.append(_table_line(results.config, slug, [TableEntry()] * (len(tasks) + 2)))
    return lines


def _list_columns(left_out: Sequence[Column]) -> str:
    texts = (
        ", ".join(
            filter(
                None,
                [
                    _short_title(column.task),
                    descriptions.metric_heading(column.metric),
                    descriptions.format_fraction(column.fraction),
                ],
            )
        )
        for column in left_out
    )
    return "; ".join(texts)


def _task_title(task: str) -> str:
    return (
        descriptions.TASK_DESCRIPTIONS[task].title
        if task in descriptions.TASK_DESCRIPTIONS
        else task.capitalize()
    )


def _short_title(task: str) -> str:
    return (
        descriptions.TASK_DESCRIPTIONS[task].short
        if task in descriptions.TASK_DESCRIPTIONS
        else task
    )


def _format_whole(value: float | None) -> str:
    return "—" if value is None else f"{value:,.0f}"


def _format_millions(value: int | None) -> str:
    return "—" if value is None else f"{value / 1e6:.2f}"
