"""Calls that run code from files, or open files unchecked, stand in one audited module each, or
nowhere.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "place_cxr"
FILES = sorted(PACKAGE.rglob("*.py"))

# A dotted name -> the one file that may use it.
HOMES = {
    "torch.load": "",
    "torch.save": "",
    "torch.hub": "",
    "numpy.load": "data/packs/cached.py",
    "PIL.Image.open": "images/read.py",
    "PIL.ImageFile.LOAD_TRUNCATED_IMAGES": "images/read.py",
    "pydicom.dcmread": "",
    "pydicom.filereader": "images/dicom/read.py",
    "imagecodecs": "images/dicom/codec_child.py",
    "yaml.load": "",
    "yaml.unsafe_load": "",
    "pickle": "",
    "marshal": "",
    "shelve": "",
    "builtins.eval": "",
    "builtins.exec": "",
    "os.system": "",
}
BANNED_ARGUMENTS = {
    "allow_pickle": True,
    "trust_remote_code": True,
    "shell": True,
    "weights_only": False,
}


def uses(source: str) -> set[str]:
    """Dotted names that a file uses, with import aliases resolved; builtins that are called get
    their module's name.
    """
    tree = ast.parse(source)
    known: dict[str, str] = {}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                found.add(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                found |= {str(node.module), f"{node.module}.{alias.name}"}

    def dotted(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return known.get(node.id, "")
        if isinstance(node, ast.Attribute):
            base = dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(dotted(node))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}:
                found.add(f"builtins.{node.func.id}")
            for word in node.keywords:
                if (
                    word.arg in BANNED_ARGUMENTS
                    and isinstance(word.value, ast.Constant)
                    and word.value.value is BANNED_ARGUMENTS[word.arg]
                ):
                    found.add(f"{word.arg}={word.value.value}")
    return found - {""}


def faults(name: str, source: str) -> set[str]:
    """The banned names in a file at ``name``, relative to the package."""
    found = uses(source)
    banned = {
        use
        for use in found
        for ban, home in HOMES.items()
        if (use + ".").startswith(ban + ".") and home != name
    }
    return banned | {use for use in found if "=" in use}


@pytest.mark.fault("C11")
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_banned(path: Path) -> None:
    assert faults(path.relative_to(PACKAGE).as_posix(), path.read_text("utf-8")) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load('x')",
        "from torch import load\nload('x')",
        "import numpy as np\nnp.load('x')",
        "from PIL import Image\nImage.open('x')",
        "import PIL.Image\nPIL.Image.open('x')",
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "import yaml\nyaml.load('x')",
        "import pydicom\npydicom.dcmread('x')",
        "from pydicom.filereader import read_dataset",
        "from imagecodecs import jpeg8_decode",
        "from somewhere import load\nload('x', allow_pickle=True)",
        "import subprocess\nsubprocess.run('x', shell=True)",
    ],
)
def test_the_ban_has_teeth(source: str) -> None:
    assert faults("tasks/anything.py", source)


def test_audited_home_is_allowed() -> None:
    assert faults("images/read.py", "from PIL import Image\nImage.open('x')") == set()
    assert faults("tasks/anything.py", "import yaml\nyaml.safe_load('x')") == set()


@pytest.mark.fault("D3")
def test_exceptions_are_module_level() -> None:
    """An exception class made inside a function cannot be sent between processes and hangs the
    parent.
    """
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                nested = [inner.name for inner in ast.walk(node) if isinstance(inner, ast.ClassDef)]
                assert not [name for name in nested if name.endswith(("Error", "Exception"))], (
                    f"{path.name}: {nested}"
                )
