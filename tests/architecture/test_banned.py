"""A call that runs code from a file, or opens a file unchecked, stands in one audited module or
nowhere.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "place_cxr"
FILES = sorted(PACKAGE.rglob("*.py"))

# A dotted name -> the one file that may use it; "" where no file may.
HOMES = {
    "torch.load": "",
    "torch.save": "",
    "torch.hub": "",
    "numpy.load": "",
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


def imported_names(tree: ast.AST) -> tuple[dict[str, str], set[str]]:
    """The dotted name behind each local name of an import, and all modules and names imported."""
    aliases: dict[str, str] = {}
    names: set[str] = set()

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                aliases[alias.asname or top] = alias.name if alias.asname else top
                names.add(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                names |= {str(node.module), f"{node.module}.{alias.name}"}

    return aliases, names


def banned_arguments(call: ast.Call) -> set[str]:
    """Keywords of a call that have their banned value, as ``name=value``."""
    return {
        f"{keyword.arg}={keyword.value.value}"
        for keyword in call.keywords
        if keyword.arg in BANNED_ARGUMENTS
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is BANNED_ARGUMENTS[keyword.arg]
    }


def uses(source: str) -> set[str]:
    """Dotted names that a file uses, with import aliases resolved, and banned arguments.

    ``eval`` and ``exec`` get the name of their module, ``builtins``.
    """
    tree = ast.parse(source)
    aliases, names = imported_names(tree)

    def dotted(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return aliases.get(node.id, "")
        if isinstance(node, ast.Attribute):
            base = dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(dotted(node))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}:
                names.add(f"builtins.{node.func.id}")
            names |= banned_arguments(node)

    return names - {""}


def faults(name: str, source: str) -> set[str]:
    """The banned names in a file at ``name``, relative to the package."""
    used = uses(source)
    banned = {use for use in used if "=" in use}

    for ban, home in HOMES.items():
        if home != name:
            banned |= {use for use in used if f"{use}.".startswith(f"{ban}.")}

    return banned


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
    """An exception class defined in a function cannot be pickled: a worker that raises it hangs its
    parent.
    """
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                nested = [inner.name for inner in ast.walk(node) if isinstance(inner, ast.ClassDef)]
                assert not [name for name in nested if name.endswith(("Error", "Exception"))], (
                    f"{path.name}: {nested}"
                )
