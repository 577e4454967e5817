"""A public name means one thing: no module-level name is defined in two files of the package."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "place_cxr"

# `read` of a data source, `load` of a run or a checkpoint, and `main` of a program are always
# named together with their module.
SHARED_NAMES = {"read", "load", "main"}


def assigned_names(target: ast.expr) -> Iterator[str]:
    """The names that an assignment binds; ``a, b = ...`` binds two."""
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def public_names(source: str) -> set[str]:
    """Functions, classes, constants and aliases that a module defines without a leading ``_``."""
    names: set[str] = set()

    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                names.update(assigned_names(target))
        elif isinstance(node, ast.AnnAssign):
            names.update(assigned_names(node.target))

    return {name for name in names if not name.startswith("_")}


def names_in_two_files(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Each public name that two or more files define, with these files; ``sources`` by path."""
    files_by_name: dict[str, list[str]] = defaultdict(list)

    for path, source in sources.items():
        for name in public_names(source) - SHARED_NAMES:
            files_by_name[name].append(path)

    return {name: files for name, files in sorted(files_by_name.items()) if len(files) > 1}


def test_no_public_name_is_defined_in_two_files() -> None:
    sources = {
        path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    assert len(sources) > 100
    assert names_in_two_files(sources) == {}


def test_the_check_has_teeth() -> None:
    definitions = [
        "def same(): ...",
        "class same: ...",
        "same = 1",
        "same: int = 1",
        "a, same = 1, 2",
    ]
    for definition in definitions:
        sources = {"a.py": "def same(): ...", "b.py": definition}
        assert names_in_two_files(sources) == {"same": ["a.py", "b.py"]}, definition


def test_private_and_shared_names_may_repeat() -> None:
    repeated = "def read(): ...\ndef main(): ...\ndef load(): ...\n_log = 1\nfrom x import same"
    assert names_in_two_files({"a.py": repeated, "b.py": repeated}) == {}
