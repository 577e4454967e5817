"""Registries are plain dicts; a wrong name is refused at once, with the right ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from place_cxr.core.errors import PlaceError

_T = TypeVar("_T")


def pick(table: Mapping[str, _T], name: str, kind: str) -> _T:
    """The entry ``name`` of ``table``, or PL-C002 with the names that would have been right."""
    if name not in table:
        raise PlaceError(
            f"unknown {kind} '{name}'{did_you_mean(name, table)}",
            code="PL-C002",
            fix=_list_choices(table),
        )

    return table[name]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``". Did you mean 'x'?"`` where a name is similar, else an empty string."""
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f". Did you mean '{matches[0]}'?" if matches else ""


def _list_choices(names: Iterable[str]) -> str:
    return "choose one of " + ", ".join(sorted(names))
