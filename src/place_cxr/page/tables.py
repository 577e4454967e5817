"""Numbers of several methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from place_cxr.page import words
from place_cxr.page.read import Number, Result

_TOPS = (0.05, 0.1, 0.2, 0.5, 1.0)


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


@dataclass(frozen=True, slots=True)
class Rival:
    """What a number at the top of the page is held against."""

    name: str
    number: Number


@dataclass(frozen=True, slots=True)
class Card:
    """A number at the top of the page, beside random weights (or another control) and an answer without a network."""

    title: str
    says: str
    number: Number | None
    rivals: Sequence[Rival]
    verdicts: Sequence[str]
    guess: float | None
    top: float  # end of the axis, 0 for none


def methods_of(results: Sequence[Result]) -> list[Method]:
    """The methods in the order of first appearance; known controls first among the others, in their own order."""
    known = [name.casefold() for name in words.METHODS]

    def place(key: str) -> tuple[int, str]:
        return known.index(key.casefold()) if key.casefold() in known else len(known), key

    keys = list(dict.fromkeys(result.method for result in results))
    first, others = keys[:1], sorted(keys[1:], key=place)
    found = []
    for style, key in enumerate(first + others):
        name, says = words.method(key)
        found.append(Method(key, name, says, style))
    return found


def task_views(
    results: Sequence[Result], controls: Sequence[Result], methods: Sequence[Method], findings: Sequence[str] = ()
) -> list[TaskView]:
    """One view for each result of the run: tasks in the order of the page's words, rows in that of ``findings``."""
    order = list(words.TASKS)
    ranked = sorted(results, key=lambda r: (order.index(r.task) if r.task in order else len(order), r.task, r.source))
    return [_view(main, controls, methods, findings) for main in ranked]


def cards(results: Sequence[Result], controls: Sequence[Result]) -> list[Card]:
    """The numbers at the top, from the first source that has most of the tasks."""
    sources = [result.source for result in results]
    source = max(sorted(set(sources)), key=sources.count, default="")
    found = []
    for headline in words.HEADLINES:
        main = next((r for r in results if (r.task, r.source) == (headline.task, source)), None)
        if main is None:
            continue
        number = main.metrics.get(headline.metric)
        rivals = _rivals(headline, main, controls)
        verdicts = [verdict(number, rival.number, rival.name) for rival in rivals]
        what = headline.metric.split("@")[-1]
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


def _rivals(headline: words.Headline, main: Result, controls: Sequence[Result]) -> list[Rival]:
    others = sorted(
        (r for r in controls if _comparable(r, main) and headline.metric in r.metrics),
        key=lambda r: (r.method != "random weights", r.method),
    )
    found = [Rival(words.method(r.method)[0], r.metrics[headline.metric]) for r in others[:1]]
    if headline.trivial in main.metrics:
        found.append(Rival(headline.trivial_name, main.metrics[headline.trivial]))
    return found


def verdict(number: Number | None, other: Number, name: str) -> str:
    """What two intervals allow to say, in words; nothing where one of them is missing."""
    name = name[:1].lower() + name[1:]
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
    known = words.TASKS.get(main.task)
    tables = [_block(block, results, findings) for block in known.blocks] if known else []
    return TaskView(
        known.title if known else main.task,
        known.says if known else "",
        main,
        columns,
        [table for table in tables if table.rows],
        _everything(results, findings),
        [f"{c.method}: scored on other studies, not comparable" for c in same_task if not _comparable(c, main)],
    )


def _block(block: words.Block, results: Sequence[Result], findings: Sequence[str]) -> Table:
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    found = [(label, name) for name in names if (label := _match(block.pattern, name)) is not None]
    found.sort(key=lambda pair: _place(pair[0], findings))
    star = block.pattern.split("/")[2]
    rows = [
        Row(
            block.rows.get(label) or words.ROWS.get(label) or star.replace("*", label),
            [result.metrics.get(name) for result in results],
            label == "macro",
            _guess(block.guess, label, results[0].metrics.get(name)),
        )
        for label, name in found
    ]
    return Table(block.title, block.says, rows, _top(rows))


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
