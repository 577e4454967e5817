"""Nothing under GPL or AGPL is in what `pip install place-cxr` brings along."""

from __future__ import annotations

import re
from importlib import metadata

import pytest

# LGPL is written out before GPL is looked for: linking to it is allowed.
_LESSER = re.compile(
    r"LGPL|GNU Lesser General Public Licen[sc]e|Library General Public", re.IGNORECASE
)
_STRONG = re.compile(r"\bA?GPL|GNU (Affero )?General Public|\bSSPL|Commons Clause", re.IGNORECASE)
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def strong_copyleft(text: str) -> bool:
    """Whether one line of licence metadata names a licence that the whole program would have to
    take.
    """
    return bool(_STRONG.search(_LESSER.sub("", text)))


def licence_lines(name: str) -> list[str]:
    """Licence expression, classifiers and the first line of the free-text field; empty if not
    installed.
    """
    try:
        fields = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return []
    classifiers = [
        line for line in fields.get_all("Classifier") or [] if line.startswith("License")
    ]
    free = (fields.get("License") or "").strip().splitlines()[:1]
    return [*filter(None, [fields.get("License-Expression")]), *classifiers, *free]


def closure(root: str) -> set[str]:
    """Names of all distributions that ``root`` needs without extras, here installed."""
    seen: set[str] = set()
    queue = [root]
    while queue:
        name = queue.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        queue += [
            match.group()
            for need in needs
            if "extra ==" not in need and (match := _NAME.match(need))
        ]
    return seen


def test_default_set_has_no_strong_copyleft() -> None:
    names = closure("place-cxr")
    assert {"torch", "typer", "markupsafe"} <= names, "the walk over dependencies is broken"
    assert {
        name for name in names if any(strong_copyleft(line) for line in licence_lines(name))
    } == set()


def test_nor_has_what_reads_dicom() -> None:
    names = closure("pydicom") | closure("imagecodecs")
    assert {
        name for name in names if any(strong_copyleft(line) for line in licence_lines(name))
    } == set()
    assert all(licence_lines(name) for name in ("pydicom", "imagecodecs"))


@pytest.mark.parametrize(
    "line", ["GPL-3.0-only", "AGPLv3", "GNU General Public License v2", "MIT AND GPL-2.0"]
)
def test_strong(line: str) -> None:
    assert strong_copyleft(line)


@pytest.mark.parametrize(
    "line", ["MIT", "LGPL-3.0", "GNU Lesser General Public License v3", "Apache-2.0"]
)
def test_not_strong(line: str) -> None:
    assert not strong_copyleft(line)
