"""Read and write a CSV manifest as rows of text."""

from __future__ import annotations

import csv
from pathlib import Path

Rows = list[dict[str, str]]


def read_rows(file: Path) -> Rows:
    """All rows of a CSV file."""
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def write_rows(file: Path, rows: Rows) -> Path:
    """Write a CSV file of every column that any row has, and return its path."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return file
