"""Numbers of several methods side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from place_cxr.core.results import Metric, Result
from place_cxr.page import descriptions, task_words

_AXIS_ENDS = (0.05, 0.1, 0.2, 0.5, 1.0)
_MAX_CONTROLS = 2  # beside a number at the top
_TRIVIAL_STYLE = 4  # style of an answer without a network


@dataclass(frozen=True, slots=True)
class MethodColumn:
    """One column: what pre-trained the network. ``style`` is its marker and colour, 0 is the run
    itself.
    """

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
    """Rows under one title. They are drawn on an axis from 0 to ``top``, unless that is 0."""

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
    """All of one task on one source."""

    title: str
    says: str
    main: Result
    methods: Sequence[MethodColumn]
    tables: Sequence[MetricTable]  # the ones worth a look
    everything: Sequence[MetricTable]  # every metric there is
    apart: Sequence[str]  # methods left out, and why
    rules: Sequence[
        tuple[str, str]
    ]  # methods scored by other rules than the run itself, and what differs


@dataclass(frozen=True, slots=True)
class ComparedNumber:
    """What a number at the top of the page is held against."""

    name: str
    number: Metric
    style: int


@dataclass(frozen=True, slots=True)
class HeadlineCard:
    """A number at the top of the page, beside two controls and an answer without a network."""

    title: str
    says: str
    number: Metric | None
    rivals: Sequence[ComparedNumber]
    verdicts: Sequence[str]
    guess: float | None
    top: float  # end of the axis, 0 for none


def method_columns(results: Sequence[Result]) -> list[MethodColumn]:
    """The methods in the order of first appearance; known controls first among the others, in their
    own order.
    """
    known_controls = [name.casefold() for name in descriptions.METHOD_DESCRIPTIONS]

    def place(key: str) -> tuple[int, str]:
        return known_controls.index(key.casefold()) if key.casefold() in known_controls else len(
            known_controls
        ), key

    keys = list(dict.fromkeys(result.method for result in results))
    first, others = keys[:1], sorted(keys[1:], key=place)
    columns = []
    for style, key in enumerate(first + others):
        name, says = descriptions.describe_method(key)
        columns.append(MethodColumn(key, name, says, style))
    return columns


def task_views(
    results: Sequence[Result],
    controls: Sequence[Result],
    methods: Sequence[MethodColumn],
    findings: Sequence[str] = (),
) -> list[TaskView]:
    """One view for each result of the run: tasks in the order of the page's words, rows in that of
    ``findings``.
    """
    ranked = sorted(results, key=lambda r: (task_words.task_order(r.task), r.source))
    return [_task_view(main, controls, methods, findings) for main in ranked]


def headline_cards(
    results: Sequence[Result], controls: Sequence[Result], methods: Sequence[MethodColumn]
) -> list[HeadlineCard]:
    """The numbers at the top, from the first source that has most of the tasks."""
    sources = [result.source for result in results]
    source = max(sorted(set(sources)), key=sources.count, default="")
    shown_cards = []
    for headline in descriptions.HEADLINES:
        main = next((r for r in results if (r.task, r.source) == (headline.task, source)), None)
        if main is None:
            continue
        metric = headline.metric.replace(task_words.FRACTION_SLOT, _largest_fraction(main))
        number = main.metrics.get(metric)
        rivals = _compared_numbers(headline, metric, main, controls, methods)
        verdicts = [compare_intervals(number, rival.number, rival.name) for rival in rivals]
        label = metric.split("@")[-1]
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
    headline: descriptions.Headline,
    metric: str,
    main: Result,
    controls: Sequence[Result],
    methods: Sequence[MethodColumn],
) -> list[ComparedNumber]:
    by_method = {control.method: control for control in controls if _is_comparable(control, main)}
    compared = [
        ComparedNumber(method.name, number, method.style)
        for method in methods
        if method.key in by_method
        and (
            number := by_method[method.key].metrics.get(
                descriptions.substitute_metric(method.key, metric)
            )
        )
        is not None
    ][:_MAX_CONTROLS]
    trivial = main.metrics.get(
        headline.trivial.replace(task_words.FRACTION_SLOT, _largest_fraction(main))
    )
    return (
        [*compared, ComparedNumber(headline.trivial_name, trivial, _TRIVIAL_STYLE)]
        if trivial is not None
        else compared
    )


def _largest_fraction(main: Result) -> str:
    """The largest share of the training patients that a result has numbers for, such as ``100%``;
    "" for none.
    """
    fractions = {
        variant
        for name in main.metrics
        if re.fullmatch(r"[0-9.]+%", variant := name.partition("/")[0])
    }
    return max(fractions, key=lambda share: float(share[:-1]), default="")


def compare_intervals(number: Metric | None, other: Metric, name: str) -> str:
    """What two intervals allow to say, in words; nothing where one of them is missing."""
    name = name if name[1:2].isupper() else name[:1].lower() + name[1:]  # ITA stays ITA
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
    return (control.task, control.source, control.split_digest) == (
        main.task,
        main.source,
        main.split_digest,
    )


def _task_view(
    main: Result,
    controls: Sequence[Result],
    methods: Sequence[MethodColumn],
    findings: Sequence[str],
) -> TaskView:
    same_task = [c for c in controls if (c.task, c.source) == (main.task, main.source)]
    by_method = {c.method: c for c in same_task if _is_comparable(c, main)} | {main.method: main}
    columns = [method for method in methods if method.key in by_method]
    results = [by_method[method.key] for method in columns]
    title, says, blocks = task_words.explain_task(main.task)
    tables = [_block_table(block, results, findings, _largest_fraction(main)) for block in blocks]
    return TaskView(
        title,
        says,
        main,
        columns,
        [table for table in tables if table.rows],
        _all_tables(results, findings),
        [
            f"{c.method}: scored on other studies, not comparable"
            for c in same_task
            if not _is_comparable(c, main)
        ],
        _differing_rules(
            main.signature, [(m.name, r.signature) for m, r in zip(columns, results, strict=True)]
        ),
    )


def _differing_rules(main: str, others: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(names, what differs) of those whose rules, parts between semicolons, are not those of the
    run itself.
    """
    names_by_difference: dict[str, list[str]] = {}
    main_rules = main.split("; ")
    for name, rules in others:
        other_rules = rules.split("; ")
        added = "; ".join(part for part in other_rules if part not in main_rules)
        dropped = "; ".join(part for part in main_rules if part not in other_rules)
        if added or dropped:
            difference = (
                f"{added}, in place of: {dropped}"
                if added and dropped
                else added or f"without: {dropped}"
            )
            names_by_difference.setdefault(difference, []).append(name)
    return [(", ".join(names), difference) for difference, names in names_by_difference.items()]


def _block_table(
    block: task_words.MetricBlock,
    results: Sequence[Result],
    findings: Sequence[str],
    fraction: str,
) -> MetricTable:
    pattern = block.pattern.replace(task_words.FRACTION_SLOT, fraction)
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    matches = [(label, name) for name in names if (label := _match_star(pattern, name)) is not None]
    if block.only:
        order = list(block.rows)
        matches = sorted(
            (pair for pair in matches if pair[0] in order), key=lambda pair: order.index(pair[0])
        )
    else:
        matches.sort(key=lambda pair: _finding_order(pair[0], findings))
    variant, _, star = pattern.split("/")
    rows, has_substitutes = [], False
    for label, name in matches:
        read_names = [
            name if "*" in variant else descriptions.substitute_metric(result.method, name)
            for result in results
        ]
        has_substitutes = has_substitutes or any(read_name != name for read_name in read_names)
        rows.append(
            MetricRow(
                block.rows.get(label)
                or descriptions.ROW_NAMES.get(label)
                or star.replace("*", label),
                [
                    result.metrics.get(read_name)
                    for result, read_name in zip(results, read_names, strict=True)
                ],
                label == "macro",
                _guess_score(block.guess, label, results[0].metrics.get(name)),
            )
        )
    learning = (
        f", learning from {descriptions.ROW_NAMES.get(fraction, fraction).lower()}"
        if task_words.FRACTION_SLOT in block.pattern and fraction
        else ""
    )
    says = f"{block.says} {descriptions.SUBSTITUTE_NOTE}" if has_substitutes else block.says
    return MetricTable(block.title + learning, says, rows, _axis_end(rows))


def _guess_score(guess: float | str | None, label: str, number: Metric | None) -> float | None:
    """A fixed number, or for R@k the share k of all candidates."""
    if guess != "k of n":
        return guess if isinstance(guess, float) else None
    return int(label) / number.n if number is not None and number.n and label.isdecimal() else None


def _finding_order(label: str, findings: Sequence[str]) -> int:
    """The mean first, then the findings in their order, then what else there is."""
    return -1 if label == "macro" else findings.index(label) if label in findings else len(findings)


def _all_tables(results: Sequence[Result], findings: Sequence[str]) -> list[MetricTable]:
    groups: dict[tuple[str, str], list[MetricRow]] = {}
    for name in dict.fromkeys(name for result in results for name in result.metrics):
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
    """What stands for the star, if ``name`` is of that pattern."""
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
    """End of an axis from 0 that holds all values: 1, or less where all are small; 0 if they lie
    elsewhere.
    """
    numbers = [cell for row in rows for cell in row.cells if cell is not None]
    values = [x for cell in numbers for x in (cell.value, cell.low, cell.high) if x is not None]
    if not values or min(values) < 0 or max(values) > 1:
        return 0.0
    return next(top for top in _AXIS_ENDS if top >= max(values))
