"""How code reads: short lines, and no comprehension that hides a second loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_COLUMNS = 100
FOLDERS = ("src", "tests", "perf", "experiments")
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def long_lines(source: str) -> list[int]:
    """Numbers of the lines over 100 characters; a line with a URL may be longer."""
    return [
        number
        for number, line in enumerate(source.splitlines(), start=1)
        if len(line) > MAX_COLUMNS and "://" not in line
    ]


def dense_comprehensions(source: str) -> Iterator[int]:
    """First lines of comprehensions with two ``for``s, or with a comprehension inside."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, _COMPREHENSIONS):
            continue

        inner = [child for child in ast.walk(node) if isinstance(child, _COMPREHENSIONS)]
        if len(node.generators) > 1 or len(inner) > 1:  # ``inner`` holds the node itself
            yield node.lineno


def python_files(*folders: str) -> Iterator[Path]:
    """All Python files below these folders of the repository."""
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_no_line_is_over_100_characters() -> None:
    places = []
    for path in python_files(*FOLDERS):
        for number in long_lines(path.read_text("utf-8")):
            places.append(f"{path.relative_to(ROOT)}:{number}")

    assert places == [], "break the line, or name a part of it"


def test_no_comprehension_holds_two_loops() -> None:
    places = []
    for path in python_files("src"):
        for number in dense_comprehensions(path.read_text("utf-8")):
            places.append(f"{path.relative_to(ROOT)}:{number}")

    assert places == [], "write a plain loop, or name the inner step"


def test_the_checks_have_teeth() -> None:
    assert long_lines("x\n" + "y" * 101) == [2]
    for dense in (
        "[a for b in c for a in b]",
        "[[a for a in b] for b in c]",
        "{b: sum(a for a in b) for b in c}",
        "any(x for x in [y for y in z])",
    ):
        assert list(dense_comprehensions(f"x = 1\nfound = {dense}")) == [2], dense


def test_plain_code_passes() -> None:
    assert long_lines("x" * 100 + "\n# https://" + "y" * 120) == []
    assert list(dense_comprehensions("a = [b for b in c if b]\nd = {e: f for e, f in g}")) == []
