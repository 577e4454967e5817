"""Numbers of several methods side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from place_cxr.page import descriptions, task_words
from place_cxr.page.read import Number, Result

_TOPS = (0.05, 0.1, 0.2, 0.5, 1.0)
_CONTROLS = 2  # beside a number at the top
_TRIVIAL = 4  # style of an answer without a network


@dataclass(frozen=True, slots=True)
class Method:
    """One column: what pre-trained the network. ``style`` is its marker and colour, 0 is the run itself."""

    key: str
    name: str
    says: str
    style: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a number for each method, None where a method has no such metric."""

    name: str
    cells: Sequence[Number | None]
    mean: bool = False  # over the other rows
    guess: float | None = None  # what guessing scores


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under one title. They are drawn on an axis from 0 to ``top``, unless that is 0."""

    title: str
    says: str
    rows: Sequence[Row]
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
    methods: Sequence[Method]
    tables: Sequence[Table]  # the ones worth a look
    everything: Sequence[Table]  # every metric there is
    apart: Sequence[str]  # methods left out, and why
    rules: Sequence[tuple[str, str]]  # methods scored by other rules than the run itself, and what differs


@dataclass(frozen=True, slots=True)
class Rival:
    """What a number at the top of the page is held against."""

    name: str
    number: Number
    style: int


@dataclass(frozen=True, slots=True)
class Card:
    """A number at the top of the page, beside two controls and an answer without a network."""

    title: str
    says: str
    number: Number | None
    rivals: Sequence[Rival]
    verdicts: Sequence[str]
    guess: float | None
    top: float  # end of the axis, 0 for none


def methods_of(results: Sequence[Result]) -> list[Method]:
    """The methods in the order of first appearance; known controls first among the others, in their own order."""
    known = [name.casefold() for name in descriptions.METHODS]

    def place(key: str) -> tuple[int, str]:
        return known.index(key.casefold()) if key.casefold() in known else len(known), key

    keys = list(dict.fromkeys(result.method for result in results))
    first, others = keys[:1], sorted(keys[1:], key=place)
    found = []
    for style, key in enumerate(first + others):
        name, says = descriptions.method(key)
        found.append(Method(key, name, says, style))
    return found


def task_views(
    results: Sequence[Result], controls: Sequence[Result], methods: Sequence[Method], findings: Sequence[str] = ()
) -> list[TaskView]:
    """One view for each result of the run: tasks in the order of the page's words, rows in that of ``findings``."""
    ranked = sorted(results, key=lambda r: (task_words.place(r.task), r.source))
    return [_view(main, controls, methods, findings) for main in ranked]


def cards(results: Sequence[Result], controls: Sequence[Result], methods: Sequence[Method]) -> list[Card]:
    """The numbers at the top, from the first source that has most of the tasks."""
    sources = [result.source for result in results]
    source = max(sorted(set(sources)), key=sources.count, default="")
    found = []
    for headline in descriptions.HEADLINES:
        main = next((r for r in results if (r.task, r.source) == (headline.task, source)), None)
        if main is None:
            continue
        metric = headline.metric.replace(task_words.SHARE, _share(main))
        number = main.metrics.get(metric)
        rivals = _rivals(headline, metric, main, controls, methods)
        verdicts = [verdict(number, rival.number, rival.name) for rival in rivals]
        what = metric.split("@")[-1]
        found.append(
            Card(
                headline.title,
                headline.says,
                number,
                rivals,
                [said for said in verdicts if said],
                _guess(headline.guess, what, number),
                _top([Row("", [number, *(rival.number for rival in rivals)])]),
            )
        )
    return found


def _rivals(
    headline: descriptions.Headline, metric: str, main: Result, controls: Sequence[Result], methods: Sequence[Method]
) -> list[Rival]:
    by_method = {control.method: control for control in controls if _comparable(control, main)}
    found = [
        Rival(method.name, number, method.style)
        for method in methods
        if method.key in by_method
        and (number := by_method[method.key].metrics.get(descriptions.read_as(method.key, metric))) is not None
    ][:_CONTROLS]
    trivial = main.metrics.get(headline.trivial.replace(task_words.SHARE, _share(main)))
    return [*found, Rival(headline.trivial_name, trivial, _TRIVIAL)] if trivial is not None else found


def _share(main: Result) -> str:
    """The largest share of the training patients that a result has numbers for, such as ``100%``; "" for none."""
    shares = {part for name in main.metrics if re.fullmatch(r"[0-9.]+%", part := name.partition("/")[0])}
    return max(shares, key=lambda share: float(share[:-1]), default="")


def verdict(number: Number | None, other: Number, name: str) -> str:
    """What two intervals allow to say, in words; nothing where one of them is missing."""
    name = name if name[1:2].isupper() else name[:1].lower() + name[1:]  # ITA stays ITA
    if number is None or number.low is None or number.high is None or other.low is None or other.high is None:
        return ""
    if number.low > other.high:
        return f"Above {name}."
    if number.high < other.low:
        return f"Below {name}."
    return f"No clear difference from {name}."


def _comparable(control: Result, main: Result) -> bool:
    return (control.task, control.source, control.split_digest) == (main.task, main.source, main.split_digest)


def _view(main: Result, controls: Sequence[Result], methods: Sequence[Method], findings: Sequence[str]) -> TaskView:
    same_task = [c for c in controls if (c.task, c.source) == (main.task, main.source)]
    by_method = {c.method: c for c in same_task if _comparable(c, main)} | {main.method: main}
    columns = [method for method in methods if method.key in by_method]
    results = [by_method[method.key] for method in columns]
    title, says, blocks = task_words.task(main.task)
    tables = [_block(block, results, findings, _share(main)) for block in blocks]
    return TaskView(
        title,
        says,
        main,
        columns,
        [table for table in tables if table.rows],
        _everything(results, findings),
        [f"{c.method}: scored on other studies, not comparable" for c in same_task if not _comparable(c, main)],
        _other_rules(main.signature, [(m.name, r.signature) for m, r in zip(columns, results, strict=True)]),
    )


def _other_rules(main: str, others: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(names, what differs) of those whose rules, parts between semicolons, are not those of the run itself."""
    found: dict[str, list[str]] = {}
    ours = main.split("; ")
    for name, rules in others:
        theirs = rules.split("; ")
        added = "; ".join(part for part in theirs if part not in ours)
        left = "; ".join(part for part in ours if part not in theirs)
        if added or left:
            said = f"{added}, in place of: {left}" if added and left else added or f"without: {left}"
            found.setdefault(said, []).append(name)
    return [(", ".join(names), said) for said, names in found.items()]


def _block(block: task_words.Block, results: Sequence[Result], findings: Sequence[str], share: str) -> Table:
    pattern = block.pattern.replace(task_words.SHARE, share)
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    found = [(label, name) for name in names if (label := _match(pattern, name)) is not None]
    if block.only:
        order = list(block.rows)
        found = sorted((pair for pair in found if pair[0] in order), key=lambda pair: order.index(pair[0]))
    else:
        found.sort(key=lambda pair: _place(pair[0], findings))
    variant, _, star = pattern.split("/")
    rows, otherwise = [], False
    for label, name in found:
        read = [name if "*" in variant else descriptions.read_as(result.method, name) for result in results]
        otherwise = otherwise or any(one != name for one in read)
        rows.append(
            Row(
                block.rows.get(label) or descriptions.ROWS.get(label) or star.replace("*", label),
                [result.metrics.get(one) for result, one in zip(results, read, strict=True)],
                label == "macro",
                _guess(block.guess, label, results[0].metrics.get(name)),
            )
        )
    learning = (
        f", learning from {descriptions.ROWS.get(share, share).lower()}"
        if task_words.SHARE in block.pattern and share
        else ""
    )
    says = f"{block.says} {descriptions.READ_SO}" if otherwise else block.says
    return Table(block.title + learning, says, rows, _top(rows))


def _guess(guess: float | str | None, label: str, number: Number | None) -> float | None:
    """A fixed number, or for R@k the share k of all candidates."""
    if guess != "k of n":
        return guess if isinstance(guess, float) else None
    return int(label) / number.n if number is not None and number.n and label.isdecimal() else None


def _place(label: str, findings: Sequence[str]) -> int:
    """The mean first, then the findings in their order, then what else there is."""
    return -1 if label == "macro" else findings.index(label) if label in findings else len(findings)


def _everything(results: Sequence[Result], findings: Sequence[str]) -> list[Table]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for name in dict.fromkeys(name for result in results for name in result.metrics):
        variant, metric, what = _parts(name)
        cells = [result.metrics.get(name) for result in results]
        groups.setdefault((variant, metric), []).append(Row(what, cells, what == "macro"))
    return [
        Table(" / ".join(filter(None, key)), "", sorted(rows, key=lambda row: _place(row.name, findings)))
        for key, rows in groups.items()
    ]


def _parts(name: str) -> tuple[str, str, str]:
    parts = name.split("/", 2)
    return ("", "", name) if len(parts) < 3 else (parts[0], parts[1], parts[2])


def _match(pattern: str, name: str) -> str | None:
    """What stands for the star, if ``name`` is of that pattern."""
    label = None
    for want, part in zip(pattern.split("/"), _parts(name), strict=True):
        if "*" not in want:
            if want != part:
                return None
            continue
        before, _, after = want.partition("*")
        if not (part.startswith(before) and part.endswith(after) and len(part) > len(before + after)):
            return None
        label = part[len(before) : len(part) - len(after)]
    return label


def _top(rows: Sequence[Row]) -> float:
    """End of an axis from 0 that holds all values: 1, or less where all are small; 0 if they lie elsewhere."""
    numbers = [cell for row in rows for cell in row.cells if cell is not None]
    values = [x for cell in numbers for x in (cell.value, cell.low, cell.high) if x is not None]
    if not values or min(values) < 0 or max(values) > 1:
        return 0.0
    return next(top for top in _TOPS if top >= max(values))
