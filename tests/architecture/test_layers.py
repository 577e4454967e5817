"""The dependency rule: a file imports its own folder and strictly lower levels, never a sibling,
never upward.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "place_cxr"
FILES = sorted(PACKAGE.rglob("*.py"))

# The one place that gives each folder and each loose file its level; docs/architecture.md repeats
# it, and test_docs.py compares the two.
LEVELS = {
    "core": 0,
    "images": 1, "text": 1, "phantom": 1,
    "data": 2, "models": 2, "losses": 2, "metrics": 2, "training": 2,
    "predict": 3, "pretrain": 3,
    "tasks": 4, "page": 4,
    "benchmark": 5, "recipes": 5,
    "cli": 6,
    "__main__": 7,
}  # fmt: skip
LOOSE = {"__init__.py", "__main__.py", "pretrain.py", "predict.py"}
# Files and folders that start without torch: the import takes seconds, and reading data needs none.
NO_TORCH = (
    "core/records.py", "core/errors.py", "core/registry.py", "core/settings.py",
    "core/files.py", "core/store.py", "core/workers.py", "core/version.py",
    "images/read.py", "images/containers.py", "images/letterbox.py", "images/masks.py",
    "images/dicom/", "text/", "phantom/",
    "data/sources/", "data/packs/", "data/splits/", "data/checks/",
    "page/", "__main__.py",
    "cli/main.py", "cli/data.py", "cli/task.py", "cli/benchmark.py", "cli/cache.py",
    "cli/console.py", "cli/options.py",
)  # fmt: skip


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, at the top or in a function.

    ``from a import b`` yields ``a`` and ``a.b``.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(module: str) -> str:
    """``place_cxr.images.read`` -> ``images``; empty for other packages and the bare package."""
    names = module.split(".")
    return names[1] if names[0] == "place_cxr" and len(names) > 1 else ""


def faults(name: str, source: str) -> list[str]:
    """The imports of a file at ``name``, relative to the package, that break the rule."""
    own = Path(name).parts[0].removesuffix(".py")
    broken = []

    for module in imports(ast.parse(source)):
        other = part(module)
        if other in LEVELS and own not in (other, "__init__") and LEVELS[other] >= LEVELS[own]:
            broken.append(
                f"{name} imports {module}: {own} (L{LEVELS[own]}) may not know {other} "
                f"(L{LEVELS[other]})"
            )
        if name.startswith(NO_TORCH) and module.split(".")[0] == "torch":
            broken.append(f"{name} imports torch")

    return broken


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependency_rule(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    own = Path(name).parts[0].removesuffix(".py")
    assert own == "__init__" or own in LEVELS, f"{name}: give its folder a level in this file"
    assert faults(name, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("data/loader.py", "from place_cxr.models.place import PlaceModel"),
        ("text/reports.py", "from place_cxr.images.read import read_image"),
        ("core/files.py", "from place_cxr.training.log import duration"),
        ("losses/pathology.py", "def f():\n    import place_cxr.training.loop"),
        ("models/place.py", "from place_cxr import losses"),
        ("tasks/zero_shot.py", "from place_cxr.cli.main import app"),
        ("page/write.py", "from place_cxr.tasks.engine import run_task"),
        ("images/read.py", "import torch"),
    ],
)
def test_the_rule_has_teeth(name: str, line: str) -> None:
    assert faults(name, line)


def test_tasks_may_use_a_loss() -> None:
    """Zero-shot scores reuse the similarity of the alignment loss; a task may import a loss."""
    assert (
        faults(
            "tasks/zero_shot.py", "from place_cxr.losses.pathology import observation_similarity"
        )
        == []
    )


def test_nothing_else_is_loose() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == LOOSE


def test_no_cycle_inside_a_folder() -> None:
    """Modules of the package form no import cycle, counting imports at the top of a file only."""
    names = {
        path: "place_cxr." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in FILES
    }
    modules = {name.removesuffix(".__init__") for name in names.values()}
    graph = {}
    for path, name in names.items():
        body = ast.parse(path.read_text("utf-8")).body
        top = ast.Module(
            [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)], []
        )
        named = set(imports(top)) & modules
        # `from folder import module` needs the module, not what the folder's own __init__ goes on
        # to import.
        packages = {
            module for module in named if any(other.startswith(module + ".") for other in named)
        }
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
