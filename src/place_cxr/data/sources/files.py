"""Helpers of the readers of published data sets: find files, read columns, parse cells."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN
from place_cxr.core.registry import did_you_mean
from place_cxr.data.sources.tables import read_table_rows

# An age beyond this is a mistake of the table and counts as unknown.
_MAX_AGE = 120  # years; NIH ChestX-ray14 has ages over 400
# Texts of a label cell; CheXpert and MIMIC-CXR write decimal numbers.
_LABEL_VALUES = {
    "": NOT_MENTIONED,
    "1": PRESENT, "1.0": PRESENT,
    "0": ABSENT, "0.0": ABSENT,
    "-1": UNCERTAIN, "-1.0": UNCERTAIN,
}  # fmt: skip


def find_file(root: Path, *names: str) -> Path:
    """The first file below ``root`` that matches a pattern, earlier patterns first. PL-D205."""
    path = find_optional_file(root, *names)
    if path is None:
        problem = f"no file {' or '.join(names)}"
        raise PlaceError(
            problem,
            code="PL-D205",
            file=root,
            fix="name the folder that the data set was unpacked into",
        )

    return path


def find_optional_file(root: Path, *names: str) -> Path | None:
    """As ``find_file``; None where no file matches."""
    if not root.is_dir():
        raise PlaceError("no such folder", code="PL-D205", file=root, fix="check the path")

    for name in names:
        if paths := sorted(root.glob(name)):
            return paths[0]

    return None


def read_columns(
    file: Path, *needed: str, optional: Iterable[str] = (), encoding: str = "utf-8-sig"
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, column -> text) of each row: the needed columns, and optional ones that exist.

    Column names are compared without blanks around them. Raises PL-D201 for a missing column or no
    rows, else as ``read_table_rows``.
    """

    def choose(header: Sequence[str]) -> Mapping[str, str]:
        theirs = {name.strip(): name for name in header}
        for name in needed:
            if name not in theirs:
                problem = f"no column '{name}'{did_you_mean(name, theirs)}"
                raise PlaceError(
                    problem, code="PL-D201", file=file, fix="take the published table as it is"
                )

        return {name: theirs[name] for name in (*needed, *optional) if name in theirs}

    # The first row by itself, so that a table without rows is refused.
    table_rows = read_table_rows(file, encoding, choose)
    first = next(table_rows, None)
    if first is None:
        raise PlaceError(
            "a header and no rows", code="PL-D201", file=file, fix="copy the table again"
        )

    yield first
    yield from table_rows


class LabelParser:
    """Turns label cells into mappings. Equal rows share one mapping, which saves most of the
    memory.
    """

    def __init__(self, names: Sequence[str], file: Path) -> None:
        self.names = names
        self._file = file
        self._mappings: dict[tuple[str, ...], dict[str, float]] = {}

    def read(self, line: int, row: Mapping[str, str]) -> dict[str, float]:
        """Finding -> PRESENT, ABSENT, UNCERTAIN or NOT_MENTIONED, for the columns that the row has.
        PL-D210.
        """
        key = tuple(row.get(name, "") for name in self.names)
        if key not in self._mappings:
            unknown = [text for text in key if text not in _LABEL_VALUES]
            if unknown:
                refuse_value(self._file, line, "a label is not 1, 0, -1 or empty")

            self._mappings[key] = {
                name: _LABEL_VALUES[text]
                for name, text in zip(self.names, key, strict=True)
                if name in row
            }

        return self._mappings[key]


def parse_number(file: Path, line: int, text: str) -> float:
    """A finite number, or PL-D210."""
    try:
        value = float(text)
    except ValueError:
        refuse_value(file, line, "a cell that should be a number is not")

    if not abs(value) < float("inf"):
        refuse_value(file, line, "a number is not finite")

    return value


def parse_age(text: str) -> float | None:
    """An age, as "63", "63.0" or "063Y"; None where there is none, or one nobody reaches."""
    text = text.strip().upper().removesuffix("Y")
    try:
        age = float(text)
    except ValueError:
        return None

    return age if 0 <= age <= _MAX_AGE else None


def parse_sex(text: str) -> str:
    """M or F of whatever starts so, else empty."""
    return text.strip()[:1].upper() if text.strip()[:1].upper() in ("M", "F") else ""


def check_relative_path(file: Path, line: int, text: str) -> str:
    """A path from a table, which may not leave the data set's folder: PL-D206."""
    if not text or ".." in text or text[0] == "/" or "\\" in text or "\0" in text:
        problem = f"line {line}: a path that is empty or leaves the data set's folder"
        raise PlaceError(
            problem, code="PL-D206", file=file, fix="take the published table as it is"
        )

    return text


def index_files(*folders: Path) -> dict[str, str]:
    """File name -> path of all files below the folders that exist; no file is opened. The first of
    a name counts.
    """
    paths: dict[str, str] = {}
    for folder in folders:
        for directory, _, names in os.walk(folder):
            for name in names:
                paths.setdefault(name, os.path.join(directory, name))

    return paths


def join_sections(findings: str, impression: str) -> str:
    """A report from its two sections, under the headers that reports carry; without any, empty."""
    parts = (("FINDINGS", findings.strip()), ("IMPRESSION", impression.strip()))
    return "\n".join(f"{name}: {text}" for name, text in parts if text)


def refuse_value(file: Path, line: int, problem: str) -> NoReturn:
    """PL-D210: a value that the published table does not have."""
    raise PlaceError(
        f"line {line}: {problem}",
        code="PL-D210",
        file=file,
        fix="take the published table as it is",
    )
