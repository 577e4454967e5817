"""A column that names one class of several, as the labels that everything else reads.

A study is PRESENT in its own class and ABSENT in all others of the column. Where the cell is empty,
nothing is known.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from place_cxr.core.records import ABSENT, NOT_MENTIONED, PRESENT, Study

MAX_CLASSES = 100  # classes; a column with more holds something else, such as patients
_LIST_SEPARATORS = ("|", ";")


def find_class_problem(name: str) -> tuple[str, str] | None:
    """What is wrong with a cell that should name a class, and the fix; None where nothing is."""
    try:
        float(name)
    except ValueError:
        if any(mark in name for mark in _LIST_SEPARATORS):
            return (
                "a class is a list of names",
                "write a column labels.NAME for each name, with 1, 0, -1 or nothing",
            )

        return None

    return (
        "a class is a number",
        "write names, or map a column of 1 and 0 to a finding: labels.NAME=COLUMN",
    )


def fill_absent_classes(studies: Sequence[Study], classes: Collection[str]) -> list[Study]:
    """Studies that hold their own class as PRESENT, with the other ``classes``; in alphabetical
    order.
    """
    names = sorted(classes)

    return (
        [replace(study, labels=_labels(study, names)) for study in studies]
        if names
        else list(studies)
    )


def _labels(study: Study, names: Sequence[str]) -> dict[str, float]:
    own_class = next((name for name in names if name in study.labels), "")
    others = {name: value for name, value in study.labels.items() if name != own_class}
    return others | {
        name: (PRESENT if name == own_class else ABSENT) if own_class else NOT_MENTIONED
        for name in names
    }
