"""Tables in Markdown, and their place between two markers of a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from place_cxr.core.errors import PlaceError


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def replace_between(text: str, begin: str, end: str, body: str) -> str:
    """``text`` with ``body`` between the markers ``begin`` and ``end``.

    Raises PlaceError PL-R020 if a marker is missing.
    """
    before, first, rest = text.partition(begin)
    _, second, after = rest.partition(end)

    if not first or not second:
        raise PlaceError(
            "no place for the table", code="PL-R020", fix=f"put {begin} and {end} there"
        )

    return f"{before}{begin}{body}{end}{after}"
