"""The numbers of a benchmark as tables and charts, section by section."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, product
from pathlib import Path

from place_cxr.benchmark import descriptions
from place_cxr.benchmark.curves import curve_chart
from place_cxr.benchmark.document import DocumentSection, DocumentTable, TableEntry, TableLine
from place_cxr.benchmark.estimate import Estimate
from place_cxr.benchmark.plan import BenchmarkConfig
from place_cxr.benchmark.ranks import Ranks, rank_methods
from place_cxr.benchmark.result_table import Column, ResultTable, home_site, site_columns
from place_cxr.benchmark.summary import Difference, Summary, mean_cost, site_shift
from place_cxr.tasks import task_texts

# As many columns with intervals as fit the screen of a laptop.
_MAX_COLUMNS = 4
_MAX_NOTES = 6
# (title, key, columns): the columns of one task and source.
ColumnGroup = tuple[str, str, list[Column]]


def overview_section(results: ResultTable) -> DocumentSection:
    """Mean ranks, the best method first."""
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
    """All numbers of the home site, one section for each task and source."""
    config = summary.results.config
    sections = []
    for title, key, group in group_columns(config):
        tables = []
        for name, part, heads in _tables(group):
            lines = []
            for slug in config.methods:
                entries = [_score_entry(summary, slug, column) for column in part]
                lines.append(_table_line(config, slug, entries))

            notes = [*_trivial_notes(summary.results, part), *_task_notes(summary.results, part)]
            tables.append(DocumentTable(name, heads, _mark_best(summary, lines, part), notes))

        text = task_texts().get(group[0].task)
        sections.append(DocumentSection(key, title, [text.question] if text else [], tables=tables))

    return sections


def difference_section(summary: Summary) -> DocumentSection:
    """The reference minus every other method."""
    config = summary.results.config
    reference = config.methods[config.reference].title
    others = [slug for slug in config.methods if slug != config.reference]
    tables = []

    for title, _, group in group_columns(config):
        for name, part, heads in _tables(group):
            lines = []
            for slug in others:
                differences = [summary.differences[column].get(slug) for column in part]
                entries = [_difference_entry(config, difference) for difference in differences]
                lines.append(_table_line(config, slug, entries))

            tables.append(DocumentTable(f"{title}, {name}" if name else title, heads, lines))

    return DocumentSection(
        "differences",
        f"Differences to {reference}",
        [descriptions.DIFFERENCES.format(reference=reference)],
        tables=tables,
    )


def shift_sections(summary: Summary) -> list[DocumentSection]:
    """Scores at the home site and at the others; empty where the patients have no sites."""
    config = summary.results.config
    sites = config.sites
    if len(sites) < 2:
        return []

    heads = [f"site {sites[0]}"]
    for site in sites[1:]:
        heads += [f"site {site}", f"{sites[0]} − {site}"]

    tables = []
    for title, _, group in group_columns(config):
        # The first metric, with the largest fraction of the training patients.
        column = _leading_columns(group)[-1]
        lines = [
            _table_line(config, slug, list(_shift_entries(summary, slug, column)))
            for slug in config.methods
        ]
        heading = descriptions.metric_heading(column.metric)
        fraction = descriptions.format_fraction(column.fraction)

        table_title = ", ".join(filter(None, [title, heading, fraction]))
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
    """Scores over the fraction of labels; empty where each task has one fraction."""
    config = summary.results.config
    # The reference has the first style of the style sheet.
    order = sorted(config.methods, key=lambda slug: slug != config.reference)
    charts = []

    for title, _, group in group_columns(config):
        leading = _leading_columns(group)
        values = {}
        for style, slug in enumerate(order):
            points = {}
            for column in leading:
                estimate = summary.means.get((slug, column))
                if column.fraction and estimate is not None:
                    points[column.fraction] = estimate.value

            values[config.methods[slug].title] = (style, points)

        curves = curve_chart(title, descriptions.metric_heading(leading[0].metric), values)
        charts += [curves] if curves else []

    if not charts:
        return []
    says = [descriptions.CURVES]

    return [DocumentSection("curves", "Sample-size curves", says, charts=charts)]


def cost_section(results: ResultTable, out: Path) -> DocumentSection:
    """Time, memory and parameters of each method."""
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

    # The source is named only where a task has several.
    tasks = [task for task, _ in by_task_and_source]
    groups: list[ColumnGroup] = []
    for (task, source), group in by_task_and_source.items():
        if tasks.count(task) > 1:
            groups.append((f"{_task_title(task)} on {source}", f"{task}-{source}", group))
        else:
            groups.append((_task_title(task), task, group))

    return groups


def _tables(group: Sequence[Column]) -> Iterator[tuple[str, list[Column], list[str]]]:
    """(title, columns, heads) of tables that are not too wide.

    With several fractions there is one table for each metric, else one for all metrics.
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
    """Tables of about equal width, each of at most _MAX_COLUMNS columns."""
    width = math.ceil(len(part) / math.ceil(len(part) / _MAX_COLUMNS))
    for start in range(0, len(part), width):
        chunk = part[start : start + width]
        yield title, chunk, [head(column) for column in chunk]


def _leading_columns(group: Sequence[Column]) -> list[Column]:
    """The columns of the first metric, the largest fraction last."""
    return sorted(
        (c for c in group if c.metric == group[0].metric), key=lambda column: column.fraction
    )


def _table_line(config: BenchmarkConfig, slug: str, entries: Sequence[TableEntry]) -> TableLine:
    method = config.methods[slug]
    return TableLine(method.title, entries, slug == config.reference, method.ranked)


def _score_entry(summary: Summary, slug: str, column: Column) -> TableEntry:
    """The mean of a method, and a sign where it is clearly below or above the reference."""
    estimate = summary.means.get((slug, column))
    difference = summary.differences[column].get(slug)
    sign = ""
    if difference is not None and difference.estimate.clear:
        sign = "▼" if difference.estimate.value > 0 else "▲"

    return _estimate_entry(summary.results.config, estimate, sign=sign)


def _estimate_entry(
    config: BenchmarkConfig, estimate: Estimate | None, *, signed: bool = False, sign: str = ""
) -> TableEntry:
    if estimate is None:
        return TableEntry()
    seeds_note = ""
    if estimate.seeds != len(config.seeds):
        seeds_note = f"{estimate.seeds} of {len(config.seeds)} seeds"

    return TableEntry(
        descriptions.format_number(estimate.value, signed=signed),
        descriptions.format_interval(estimate.low, estimate.high, signed=signed),
        sign,
        seeds_note,
    )


def _difference_entry(config: BenchmarkConfig, difference: Difference | None) -> TableEntry:
    if difference is None:
        return TableEntry()
    # Two stars: also after the correction for the number of methods.
    sign = "**" if difference.significant else "*" if difference.estimate.clear else ""
    entry = _estimate_entry(config, difference.estimate, signed=True)

    return TableEntry(
        entry.text, entry.interval, sign, f"{difference.ahead}/{difference.estimate.seeds}"
    )


def _shift_entries(summary: Summary, slug: str, column: Column) -> Iterator[TableEntry]:
    """The score at the home site; for every other site the score and the difference."""
    config = summary.results.config
    yield _estimate_entry(config, summary.means.get((slug, column)))
    for site in config.sites[1:]:
        away_column = replace(column, site=site)
        yield _estimate_entry(config, summary.means.get((slug, away_column)))

        difference = site_shift(summary.results, slug, column, site)
        sign = "*" if difference and difference.clear else ""
        yield _estimate_entry(config, difference, signed=True, sign=sign)


def _mark_best(
    summary: Summary, lines: Sequence[TableLine], part: Sequence[Column]
) -> list[TableLine]:
    """The lines with the best ranked method of each column marked, where two or more are ranked."""
    methods = summary.results.config.methods
    ranked = [slug for slug, method in methods.items() if method.ranked]
    best: list[set[str]] = []

    for column in part:
        means = {slug: summary.means.get((slug, column)) for slug in ranked}
        values = {slug: mean.value for slug, mean in means.items() if mean is not None}
        highest = max(values.values(), default=0.0)
        winners = {slug for slug, value in values.items() if value == highest}
        best.append(winners if len(values) > 1 else set())

    marked = []
    for slug, line in zip(methods, lines, strict=True):
        columns = zip(line.entries, best, strict=True)
        entries = [replace(entry, best=slug in winners) for entry, winners in columns]
        marked.append(replace(line, entries=entries))

    return marked


def _trivial_notes(results: ResultTable, part: Sequence[Column]) -> list[str]:
    """Scores of trivial predictions that a method has to beat: means over the reference's seeds."""
    reference, notes = results.config.reference, []
    title = results.config.methods[reference].title
    for column in part:
        scores = []
        text = task_texts().get(column.task)
        trivial = text.trivial_answers if text else {}

        for name, (variant, trivial_variant) in trivial.items():
            metric = column.metric.replace(variant, trivial_variant)
            values = results.values(reference, replace(column, metric=metric)).values()
            if variant in column.metric and values:
                mean = sum(value.value for value in values) / len(values)
                number = descriptions.format_number(mean)
                scores.append(f"{name.format(reference=title)} {number}")

        if scores:
            heading = descriptions.metric_heading(column.metric)
            notes.append(f"To beat, {heading}: {'; '.join(scores)}.")

    return notes


def _task_notes(results: ResultTable, part: Sequence[Column]) -> list[str]:
    """The number of scored rows, and the remarks of the tasks, each once."""
    # Keys of a dict: in order of appearance, without repeats.
    notes: dict[str, None] = {}
    counts: dict[int, None] = {}
    for column, slug in product(part, results.config.methods):
        fraction = descriptions.format_fraction(column.fraction)
        label = fraction or descriptions.metric_heading(column.metric)
        for value in results.values(slug, column).values():
            counts[value.n] = None
            if value.note:
                notes[f"{label}: {value.note}"] = None

    lines = []
    if counts:
        lines.append(f"Scored: {', '.join(map(str, counts))} rows of test patients.")
    if notes:
        texts = list(notes)[:_MAX_NOTES]
        if len(notes) > _MAX_NOTES:
            texts.append(f"and {len(notes) - _MAX_NOTES} notes more, in the results")
        lines.append("; ".join(texts) + ".")

    return lines


def _rank_lines(
    results: ResultTable, ranks: Ranks, slugs: Sequence[str], tasks: Sequence[str]
) -> list[TableLine]:
    """Ranked methods in the order of ``slugs``, then the others with empty entries."""
    best = min(ranks.overall.values(), default=0.0)
    unranked = [slug for slug in results.config.methods if slug not in slugs]
    lines = []

    for slug in [*slugs, *unranked]:
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
    texts = []
    for column in left_out:
        parts = [
            _short_title(column.task),
            descriptions.metric_heading(column.metric),
            descriptions.format_fraction(column.fraction),
        ]
        texts.append(", ".join(filter(None, parts)))

    return "; ".join(texts)


def _task_title(task: str) -> str:
    text = task_texts().get(task)
    return text.name if text else task.capitalize()


def _short_title(task: str) -> str:
    text = task_texts().get(task)
    return text.short if text else task


def _format_whole(value: float | None) -> str:
    return "—" if value is None else f"{value:,.0f}"


def _format_millions(value: int | None) -> str:
    return "—" if value is None else f"{value / 1e6:.2f}"
