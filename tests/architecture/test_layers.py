"""The dependency rule: a file imports its own folder and strictly lower levels, never a sibling, never upward."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "place_cxr"
FILES = sorted(PACKAGE.rglob("*.py"))

LEVELS = {
    "errors": 0, "parallel": 0, "records": 0, "registry": 0, "settings": 0, "tensors": 0,
    "data": 1, "losses": 1, "metrics": 1, "models": 1, "training": 1,
    "console": 2, "corpus": 2, "predict": 2,
    "gallery": 3, "page": 3, "pretrain": 3, "tasks": 3,
    "ask": 4, "benchmark": 4, "demo": 4, "recipes": 4,
    "__main__": 5, "cli": 5, "cli_benchmark": 5, "cli_cache": 5,
    "cli_data": 5, "cli_task": 5, "doctor": 5, "options": 5,
}  # fmt: skip
# (who, whom): the exceptions at one level.
SAME_LEVEL = {
    ("__main__", "cli"), ("cli", "cli_cache"), ("cli", "cli_data"), ("cli", "doctor"), ("cli", "options"),
    ("cli_cache", "options"), ("cli_data", "options"), ("cli", "cli_task"), ("cli_task", "options"),
    ("cli", "cli_benchmark"), ("cli_benchmark", "options"),
}  # fmt: skip
NO_TORCH = (
    "records.py", "errors.py", "registry.py", "settings.py",
    "data/sources/", "data/phantom/", "data/images.py", "data/labeller/", "data/letterbox.py", "data/reports.py",
    "data/splits.py", "data/codec", "data/dicom", "data/displayed.py",
    "data/cards.py", "data/check", "data/copies.py", "data/faults.py", "data/looking.py", "data/pack",
    "data/purge.py",
    "data/stratified.py", "data/store.py", "data/tars.py", "data/workers.py",
    "page/", "cli.py", "cli_benchmark.py",
    "cli_cache.py", "cli_data.py", "cli_task.py", "console.py", "options.py", "__main__.py",
)  # fmt: skip


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a file names in an import, wherever it stands; `from a import b` yields a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(module: str) -> str:
    """``place_cxr.data.images`` -> ``data``; empty for other packages and for the bare package."""
    names = module.split(".")
    return names[1] if names[0] == "place_cxr" and len(names) > 1 else ""


def faults(name: str, source: str) -> list[str]:
    """What a file at ``name``, relative to the package, breaks; empty if nothing."""
    own = Path(name).parts[0].removesuffix(".py")
    found = []
    for module in imports(ast.parse(source)):
        other = part(module)
        if other in LEVELS and own != other and own != "__init__":
            allowed = LEVELS[other] < LEVELS[own] or LEVELS[own] == LEVELS[other] == 0 or (own, other) in SAME_LEVEL
            if not allowed:
                found.append(f"{name} imports {module}: {own} (L{LEVELS[own]}) may not know {other} (L{LEVELS[other]})")
        if name.startswith(NO_TORCH) and module.split(".")[0] == "torch":
            found.append(f"{name} imports torch")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependency_rule(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    own = Path(name).parts[0].removesuffix(".py")
    assert own == "__init__" or own in LEVELS, f"{name}: give it a level in this file"
    assert faults(name, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("data/batches.py", "from place_cxr.models.place import PlaceModel"),
        ("losses/pathology.py", "def f():\n    import place_cxr.training.loop"),
        ("models/place.py", "from place_cxr import losses"),
        ("tasks/zero_shot.py", "from place_cxr.cli import app"),
        ("page/write.py", "from place_cxr.tasks.engine import run_task"),
        ("data/images.py", "import torch"),
    ],
)
def test_the_rule_has_teeth(name: str, line: str) -> None:
    assert faults(name, line)


def test_tasks_may_use_a_loss() -> None:
    """Zero-shot scoring is the alignment's own similarity: a verb uses a pillar, as it may."""
    assert faults("tasks/zero_shot.py", "from place_cxr.losses.pathology import observation_similarity") == []


def test_no_cycle_inside_a_folder() -> None:
    """Modules of the package form no import cycle, counting imports at the top of a file only."""
    names = {path: "place_cxr." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in FILES}
    modules = {name.removesuffix(".__init__") for name in names.values()}
    graph = {}
    for path, name in names.items():
        body = ast.parse(path.read_text("utf-8")).body
        top = ast.Module([node for node in body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        named = set(imports(top)) & modules
        # `from folder import module` needs the module, not what the folder's own __init__ goes on to import.
        packages = {module for module in named if any(other.startswith(module + ".") for other in named)}
        graph[name.removesuffix(".__init__")] = named - packages - {name.removesuffix(".__init__")}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())
