"""Links, files, functions, commands and options that the documents name exist."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from place_cxr.cli.main import app
from tests.architecture.test_layers import LEVELS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "place_cxr"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
_CODE = re.compile(r"`([\w./]+\.py)(?::(\w+))?`")
_COMMAND = re.compile(r"^(?:\$ )?place (.+)$|`place ([^`]+)`", re.MULTILINE)
_LEVEL_TABLE = re.compile(r"^\| folder \| level \|.*\n((?:\|.*\n?)+)", re.MULTILINE)
_LEVEL_ROW = re.compile(r"^\| `(\w+)(?:/|\.py)?` \| (\d+) \|", re.MULTILINE)
_MAKE = re.compile(r"^(?:\$ )?make (\w+)|`make (\w+)", re.MULTILINE)


def _ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def broken_links(path: Path, text: str) -> list[str]:
    """Relative links whose target does not exist."""
    return [link for link in _LINK.findall(text) if not (path.parent / link).exists()]


def broken_code(text: str) -> Iterator[str]:
    """``file.py`` or ``file.py:name`` in backticks that does not exist."""
    for file, name in _CODE.findall(text):
        path = next((base / file for base in (PACKAGE, ROOT) if (base / file).is_file()), None)
        if path is None:
            yield file
        elif name:
            body = ast.parse(path.read_text("utf-8")).body
            if name not in {
                node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)
            }:
                yield f"{file}:{name}"


def broken_commands(text: str) -> Iterator[str]:
    """Lines ``place ...`` with a command or an option that does not exist.

    Words in capitals and in braces are placeholders.
    """
    for block, inline in _COMMAND.findall(text):
        line = re.split(r"\s{2,}|\s#", block or inline)[0]
        words = line.split()
        node = typer.main.get_command(app)
        while hasattr(node, "commands") and words and words[0].islower():
            if words[0] not in node.commands:
                yield line
                return
            node = node.commands[words.pop(0)]
        known = {name for parameter in node.params for name in parameter.opts} | {"-h", "--help"}
        yield from (
            f"{line}: {word}"
            for word in words
            if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known
        )


def documented_levels(text: str) -> dict[str, int]:
    """Level by folder in the table ``| folder | level | ...`` of a document."""
    table = _LEVEL_TABLE.search(text)
    assert table, "no table | folder | level |"
    return {folder: int(level) for folder, level in _LEVEL_ROW.findall(table[1])}


@pytest.mark.parametrize("path", DOCUMENTS, ids=_ids)
def test_document_is_true(path: Path) -> None:
    text = path.read_text("utf-8")
    assert broken_links(path, text) == []
    assert list(broken_code(text)) == []
    assert list(broken_commands(text)) == []
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {a or b for a, b in _MAKE.findall(text)} <= targets


def test_architecture_names_every_folder_with_its_level() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert documented_levels(text) == LEVELS

    # test_layers.py gives a level to every folder with code; each of them is in the table, too.
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= LEVELS.keys()


def test_the_table_of_levels_is_read() -> None:
    table = (
        "x\n\n| folder | level | knows |\n|---|---|---|\n| `core` | 0 | - |\n| `cli/` | 6 | x |\n"
    )
    assert documented_levels(table + "\n| `text` | 1 | another table |\n") == {"core": 0, "cli": 6}
    with pytest.raises(AssertionError, match="no table"):
        documented_levels("| file | level |")


def test_the_checks_have_teeth() -> None:
    assert broken_links(ROOT / "README.md", "[x](docs/nowhere.md)")
    assert list(broken_code("`losses/pathology.py:no_such`"))
    assert list(broken_code("`losses/no_such.py`"))
    assert list(broken_commands("place dmo"))
    assert list(broken_commands("`place data phantum`"))
    assert list(broken_commands("place demo --outt x"))
    assert (
        list(
            broken_commands(
                "place pretrain RECIPE train.steps=5 --resume auto -o x   # comment --nope"
            )
        )
        == []
    )


@pytest.mark.fault("P7")
def test_tree_holds_no_data() -> None:
    """The repository holds no image of a patient, no weights, no notebook, no file over 1 MB."""
    bad = {
        ".dcm",
        ".pt",
        ".pth",
        ".ckpt",
        ".pkl",
        ".npy",
        ".npz",
        ".safetensors",
        ".parquet",
        ".ipynb",
        ".jpg",
        ".tif",
    }
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert files
    assert [path for path in files if path.suffix in bad or path.stat().st_size > 1_000_000] == []
