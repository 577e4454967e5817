"""A column that names one class of several, turned into labels.

A study is PRESENT in its own class and ABSENT in all other classes of the column. Where the cell is
empty, all are NOT_MENTIONED.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from place_cxr.core.records import ABSENT, NOT_MENTIONED, PRESENT, Study

MAX_CLASSES = 100  # classes; a column with more holds something else, such as patients
_LIST_SEPARATORS = ("|", ";")


def find_class_problem(name: str) -> tuple[str, str] | None:
    """(problem, fix) of a cell that does not name a class; None where it does."""
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
    """Studies, whose labels hold their own class as PRESENT, with all ``classes`` by name."""
    if not classes:
        return list(studies)

    names = sorted(classes)
    return [replace(study, labels=_labels(study, names)) for study in studies]


def _labels(study: Study, names: Sequence[str]) -> dict[str, float]:
    # So far the labels hold at most the own class, of those in the column.
    own_class = next((name for name in names if name in study.labels), "")
    labels = {name: value for name, value in study.labels.items() if name != own_class}
    for name in names:
        other = ABSENT if own_class else NOT_MENTIONED
        labels[name] = PRESENT if name == own_class else other

    return labels
