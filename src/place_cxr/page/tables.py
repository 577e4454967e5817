"""Tables of the metrics of several methods, and the numbers at the top of the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from place_cxr.core.results import Metric, Result
from place_cxr.core.task_text import FRACTION_SLOT, Headline, MetricBlock, TaskText
from place_cxr.page import descriptions, task_words

# An axis ends at the first of these that holds all values of its table.
_AXIS_ENDS = (0.05, 0.1, 0.2, 0.5, 1.0)
_MAX_CONTROLS = 2  # beside a number at the top of the page
# Number of the style sheet for a prediction that needs no network.
_TRIVIAL_STYLE = 4


@dataclass(frozen=True, slots=True)
class MethodColumn:
    """One method of pre-training. ``style`` numbers marker and color; 0 is the run itself."""

    key: str
    name: str
    says: str
    style: int


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of a table: a number for each method, None where a method has no such metric."""

    name: str
    cells: Sequence[Metric | None]
    mean: bool = False  # over the other rows
    guess: float | None = None  # what guessing scores


@dataclass(frozen=True, slots=True)
class MetricTable:
    """Rows under one title, drawn on an axis from 0 to ``top``; not drawn where ``top`` is 0."""

    title: str
    says: str
    rows: Sequence[MetricRow]
    top: float = 0.0

    @property
    def guessed(self) -> bool:
        """Whether guessing is drawn."""
        return bool(self.top) and any(row.guess is not None for row in self.rows)


@dataclass(frozen=True, slots=True)
class TaskView:
    """All numbers of one task on one source."""

    title: str
    says: str
    main: Result
    methods: Sequence[MethodColumn]
    tables: Sequence[MetricTable]  # the selected metrics
    everything: Sequence[MetricTable]  # all metrics
    apart: Sequence[str]  # methods left out, and why
    # (names of methods, what differs): scored by other rules than the run itself.
    rules: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ComparedNumber:
    """A number that one at the top of the page is compared with."""

    name: str
    number: Metric
    style: int


@dataclass(frozen=True, slots=True)
class HeadlineCard:
    """A number at the top of the page, two controls, and a prediction that needs no network."""

    title: str
    says: str
    number: Metric | None
    rivals: Sequence[ComparedNumber]
    verdicts: Sequence[str]
    guess: float | None
    top: float  # end of the axis, 0 for none


def method_columns(results: Sequence[Result]) -> list[MethodColumn]:
    """The method of the first result, then known controls in their order, then others by name."""
    known_controls = [name.casefold() for name in descriptions.METHOD_DESCRIPTIONS]

    def sort_key(key: str) -> tuple[int, str]:
        name = key.casefold()
        return known_controls.index(name) if name in known_controls else len(known_controls), key

    keys = list(dict.fromkeys(result.method for result in results))
    first, others = keys[:1], sorted(keys[1:], key=sort_key)
    columns = []

    for style, key in enumerate(first + others):
        name, says = descriptions.describe_method(key)
        columns.append(MethodColumn(key, name, says, style))

    return columns


def task_views(
    results: Sequence[Result],
    controls: Sequence[Result],
    methods: Sequence[MethodColumn],
    texts: Mapping[str, TaskText],
    findings: Sequence[str] = (),
) -> list[TaskView]:
    """One view for each result of the run, ordered by task; rows in the order of ``findings``."""
    ranked = sorted(results, key=lambda r: (task_words.task_order(r.task, texts), r.source))
    return [_task_view(main, controls, methods, texts, findings) for main in ranked]


def headline_cards(
    results: Sequence[Result],
    controls: Sequence[Result],
    methods: Sequence[MethodColumn],
    texts: Mapping[str, TaskText],
) -> list[HeadlineCard]:
    """The numbers at the top, from the source that has the most tasks."""
    # Sorted, so that of two sources with as many tasks the first by name is taken.
    sources = [result.source for result in results]
    source = max(sorted(set(sources)), key=sources.count, default="")
    shown_cards = []

    for task, text in texts.items():
        headline = text.headline
        main = next((r for r in results if (r.task, r.source) == (task, source)), None)
        if headline is None or main is None:
            continue
        metric = headline.metric.replace(FRACTION_SLOT, _largest_fraction(main))
        number = main.metrics.get(metric)
        rivals = _compared_numbers(headline, metric, main, controls, methods)
        verdicts = [compare_intervals(number, rival.number, rival.name) for rival in rivals]

        label = metric.split("@")[-1]  # the k of R@k
        shown_cards.append(
            HeadlineCard(
                headline.title,
                headline.says,
                number,
                rivals,
                [text for text in verdicts if text],
                _guess_score(headline.guess, label, number),
                _axis_end([MetricRow("", [number, *(rival.number for rival in rivals)])]),
            )
        )

    return shown_cards


def _compared_numbers(
    headline: Headline,
    metric: str,
    main: Result,
    controls: Sequence[Result],
    methods: Sequence[MethodColumn],
) -> list[ComparedNumber]:
    by_method = {control.method: control for control in controls if _is_comparable(control, main)}
    compared: list[ComparedNumber] = []
    for method in methods:
        if method.key not in by_method or len(compared) == _MAX_CONTROLS:
            continue
        # A control may be scored by another variant, see VARIANT_SUBSTITUTES.
        name = descriptions.substitute_metric(method.key, metric)
        number = by_method[method.key].metrics.get(name)
        if number is not None:
            compared.append(ComparedNumber(method.name, number, method.style))

    trivial_name = headline.trivial.replace(FRACTION_SLOT, _largest_fraction(main))
    trivial = main.metrics.get(trivial_name)
    if trivial is not None:
        compared.append(ComparedNumber(headline.trivial_name, trivial, _TRIVIAL_STYLE))

    return compared


def _largest_fraction(main: Result) -> str:
    """The largest fraction of the training patients in a result, such as ``100%``; "" for none."""
    variants = {name.partition("/")[0] for name in main.metrics}
    fractions = [variant for variant in variants if re.fullmatch(r"[0-9.]+%", variant)]
    return max(fractions, key=lambda fraction: float(fraction[:-1]), default="")


def compare_intervals(number: Metric | None, other: Metric, name: str) -> str:
    """Compare two intervals in words; empty where one of them is missing."""
    # Within a sentence: "Random weights" gets a small letter, "ITA alone" keeps its capitals.
    name = name if name[1:2].isupper() else name[:1].lower() + name[1:]
    if (
        number is None
        or number.low is None
        or number.high is None
        or other.low is None
        or other.high is None
    ):
        return ""

    if number.low > other.high:
        return f"Above {name}."
    if number.high < other.low:
        return f"Below {name}."

    return f"No clear difference from {name}."


def _is_comparable(control: Result, main: Result) -> bool:
    """Whether both were scored on the same task and the same test studies."""
    same_task = (control.task, control.source) == (main.task, main.source)
    return same_task and control.split_digest == main.split_digest


def _task_view(
    main: Result,
    controls: Sequence[Result],
    methods: Sequence[MethodColumn],
    texts: Mapping[str, TaskText],
    findings: Sequence[str],
) -> TaskView:
    same_task = [c for c in controls if (c.task, c.source) == (main.task, main.source)]
    comparable = [control for control in same_task if _is_comparable(control, main)]
    by_method = {control.method: control for control in comparable} | {main.method: main}
    columns = [method for method in methods if method.key in by_method]
    results = [by_method[method.key] for method in columns]
    title, says, blocks = task_words.explain_task(main.task, texts)
    tables = [_block_table(block, results, findings, _largest_fraction(main)) for block in blocks]

    signatures = [
        (method.name, result.signature) for method, result in zip(columns, results, strict=True)
    ]

    return TaskView(
        title=title,
        says=says,
        main=main,
        methods=columns,
        tables=[table for table in tables if table.rows],
        everything=_all_tables(results, findings),
        apart=[
            f"{control.method}: scored on other studies, not comparable"
            for control in same_task
            if not _is_comparable(control, main)
        ],
        rules=_differing_rules(main.signature, signatures),
    )


def _differing_rules(main: str, others: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(names of methods, what differs) where the rules are not those of the run itself.

    Rules are the parts of a signature between semicolons.
    """
    names_by_difference: dict[str, list[str]] = {}
    main_rules = main.split("; ")
    for name, rules in others:
        other_rules = rules.split("; ")
        added = "; ".join(part for part in other_rules if part not in main_rules)
        dropped = "; ".join(part for part in main_rules if part not in other_rules)

        if added or dropped:
            if added and dropped:
                difference = f"{added}, in place of: {dropped}"
            else:
                difference = added or f"without: {dropped}"

            names_by_difference.setdefault(difference, []).append(name)

    return [(", ".join(names), difference) for difference, names in names_by_difference.items()]


def _block_table(
    block: MetricBlock,
    results: Sequence[Result],
    findings: Sequence[str],
    fraction: str,
) -> MetricTable:
    """The metrics whose names match the pattern of a block, one row each.

    ``fraction`` is the largest fraction of the training patients, such as ``100%``.
    """
    pattern = block.pattern.replace(FRACTION_SLOT, fraction)
    # (text in place of the star, name of the metric)
    matches = [(_match_star(pattern, name), name) for name in _metric_names(results)]
    rows_found = [(label, name) for label, name in matches if label is not None]

    if block.only:
        order = list(block.rows)
        rows_found = [pair for pair in rows_found if pair[0] in order]
        rows_found.sort(key=lambda pair: order.index(pair[0]))
    else:
        rows_found.sort(key=lambda pair: _finding_order(pair[0], findings))

    variant, _, star = pattern.split("/")
    rows, has_substitutes = [], False
    for label, name in rows_found:
        cells = []
        for result in results:
            # Where the rows are the variants, each row is shown as it is.
            substitute = descriptions.substitute_metric(result.method, name)
            read_name = name if "*" in variant else substitute
            has_substitutes = has_substitutes or read_name != name
            cells.append(result.metrics.get(read_name))

        row_name = block.rows.get(label) or descriptions.ROW_NAMES.get(label)
        guess = _guess_score(block.guess, label, results[0].metrics.get(name))
        rows.append(MetricRow(row_name or star.replace("*", label), cells, label == "macro", guess))

    learning = ""
    if FRACTION_SLOT in block.pattern and fraction:
        learning = f", learning from {descriptions.ROW_NAMES.get(fraction, fraction).lower()}"
    says = f"{block.says} {descriptions.SUBSTITUTE_NOTE}" if has_substitutes else block.says

    return MetricTable(block.title + learning, says, rows, _axis_end(rows))


def _guess_score(guess: float | str | None, label: str, number: Metric | None) -> float | None:
    """The score of guessing: a fixed number, or for R@k the fraction k of all candidates."""
    if guess != "k of n":
        return guess if isinstance(guess, float) else None
    return int(label) / number.n if number is not None and number.n and label.isdecimal() else None


def _finding_order(label: str, findings: Sequence[str]) -> int:
    """The mean first, then the findings in their order, then all others."""
    return -1 if label == "macro" else findings.index(label) if label in findings else len(findings)


def _metric_names(results: Sequence[Result]) -> list[str]:
    """The names of all metrics in the order of their first appearance."""
    return list(dict.fromkeys(chain.from_iterable(result.metrics for result in results)))


def _all_tables(results: Sequence[Result], findings: Sequence[str]) -> list[MetricTable]:
    """Every metric, one table for each variant and metric."""
    groups: dict[tuple[str, str], list[MetricRow]] = {}
    for name in _metric_names(results):
        variant, metric, what = _split_name(name)
        cells = [result.metrics.get(name) for result in results]
        groups.setdefault((variant, metric), []).append(MetricRow(what, cells, what == "macro"))

    return [
        MetricTable(
            " / ".join(filter(None, key)),
            "",
            sorted(rows, key=lambda row: _finding_order(row.name, findings)),
        )
        for key, rows in groups.items()
    ]


def _split_name(name: str) -> tuple[str, str, str]:
    parts = name.split("/", 2)
    return ("", "", name) if len(parts) < 3 else (parts[0], parts[1], parts[2])


def _match_star(pattern: str, name: str) -> str | None:
    """The part of ``name`` in place of the star of ``pattern``; None where they do not match."""
    label = None
    for pattern_part, part in zip(pattern.split("/"), _split_name(name), strict=True):
        if "*" not in pattern_part:
            if pattern_part != part:
                return None
            continue

        before, _, after = pattern_part.partition("*")
        if not (
            part.startswith(before) and part.endswith(after) and len(part) > len(before + after)
        ):
            return None

        label = part[len(before) : len(part) - len(after)]

    return label


def _axis_end(rows: Sequence[MetricRow]) -> float:
    """End of an axis from 0: at most 1, less for small values; 0 where a value is not in 0..1."""
    values = []
    for cell in chain.from_iterable(row.cells for row in rows):
        if cell is not None:
            values += [x for x in (cell.value, cell.low, cell.high) if x is not None]

    if not values or min(values) < 0 or max(values) > 1:
        return 0.0
    return next(top for top in _AXIS_ENDS if top >= max(values))
