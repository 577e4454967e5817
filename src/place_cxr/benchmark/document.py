"""The results document before it is Markdown or HTML: sections of text, tables and charts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from place_cxr.benchmark.curves import CurveChart


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One cell of a table."""

    text: str = "—"
    interval: str = ""
    sign: str = ""
    note: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class TableLine:
    """One row of a table."""

    name: str
    entries: Sequence[TableEntry]
    reference: bool = False
    ranked: bool = True


@dataclass(frozen=True, slots=True)
class DocumentTable:
    """Rows under one title, and notes below them."""

    title: str
    head: Sequence[str]
    lines: Sequence[TableLine]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DocumentSection:
    """A part of the document. ``exact`` holds (name, text to print unchanged)."""

    key: str
    title: str
    says: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    tables: Sequence[DocumentTable] = ()
    charts: Sequence[CurveChart] = ()
    items: Sequence[str] = ()
    exact: Sequence[tuple[str, str]] = ()


def to_markdown(sections: Sequence[DocumentSection]) -> str:
    """All sections. Charts are left out; the tables have their numbers."""
    blocks: list[str] = []
    for section in sections:
        blocks.append(f"## {section.title}")
        blocks += map(_wrapped, section.says)
        if section.facts:
            facts = [f"- **{name}**: {_plain(value)}" for name, value in section.facts]
            blocks.append("\n".join(map(_wrapped, facts)))

        for table in section.tables:
            blocks += [f"**{table.title}**"] if table.title else []
            blocks.append(_markdown_table(table))
            blocks += map(_wrapped, table.notes)

        if section.charts:
            blocks.append("The charts are in `results.html`.")
        if section.items:
            blocks.append("\n".join(_wrapped(f"- {_plain(item)}") for item in section.items))

        for name, text in section.exact:
            blocks.append(f"{name}:\n\n```text\n{text}\n```")

    return "\n\n".join(blocks)


def _wrapped(text: str) -> str:
    """A paragraph, or an item of a list, in lines of at most 100 characters."""
    indent = "  " if text.startswith("- ") else ""
    lines = textwrap.wrap(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines)


def _markdown_table(table: DocumentTable) -> str:
    # Names to the left, numbers to the right.
    head = ["", *map(_plain, table.head)]
    rows = [[_name(line), *map(_markdown_entry, line.entries)] for line in table.lines]
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _name(line: TableLine) -> str:
    name = _plain(line.name)
    return f"**{name}**" if line.reference else name if line.ranked else f"*{name}*"


def _markdown_entry(entry: TableEntry) -> str:
    text = f"**{entry.text}**" if entry.best else entry.text
    note = f"<sup>{entry.note}</sup>" if entry.note else ""
    return " ".join(filter(None, [text, entry.interval, _plain(entry.sign), note]))


def _plain(text: str) -> str:
    """Text with the marks of Markdown escaped."""
    for mark in "\\|<*_":
        text = text.replace(mark, f"\\{mark}")
    return text
