"""Nothing moved: bytes, losses, scores, help and exit codes are those that ``golden.json`` and
``help.txt`` hold.

On the machine that wrote the file numbers are equal to the last digit; elsewhere losses are equal
within one in a thousand, and names, counts and reasons of scores within what a rank can flip. See
`record` for how to write it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.golden import record

GOLDEN: dict[str, Any] = json.loads((record.FOLDER / "golden.json").read_text("utf-8"))
SAME = record.machine() == GOLDEN["machine"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, and a cache of its own in it."""
    folder = tmp_path_factory.mktemp("golden")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLACE_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def manifest(work: Path) -> Path:
    return record.phantoms(work)


@pytest.fixture(scope="module")
def losses(work: Path, manifest: Path) -> dict[str, Any]:
    return json.loads(
        json.dumps({recipe: record.losses(work, manifest, recipe) for recipe in record.METHODS})
    )


def test_synthetic_studies(work: Path) -> None:
    if not SAME:
        pytest.skip("made on another machine: rounding of a pixel may differ")
    assert record.studies(work) == GOLDEN["studies"]


@pytest.mark.parametrize("recipe", record.METHODS)
def test_losses(losses: dict[str, Any], recipe: str) -> None:
    found, expected = losses[recipe], GOLDEN["losses"][recipe]
    if SAME:
        assert found == expected
        return
    assert len(found["steps"]) == len(expected["steps"]) == 10
    for now, then in zip(found["steps"], expected["steps"], strict=True):
        assert now.keys() == then.keys()
        assert [now[key] for key in now] == pytest.approx(
            [then[key] for key in now], rel=1e-3, abs=1e-3
        )


@pytest.mark.parametrize("task", record.TASKS)
def test_scores(work: Path, manifest: Path, losses: dict[str, Any], task: str) -> None:
    found, expected = record.scores(work, manifest, task), GOLDEN["scores"][task]
    assert found["signature"] == expected["signature"]
    assert list(found["metrics"]) == list(expected["metrics"])
    if SAME:
        assert json.loads(json.dumps(found)) == expected
        return
    for name, (value, _, _, count, reason) in expected["metrics"].items():
        now = found["metrics"][name]
        assert (now[0] is None, now[3], now[4]) == (value is None, count, reason), name


def test_exit_codes(work: Path) -> None:
    assert record.exit_codes(work) == GOLDEN["exit_codes"]


def test_help() -> None:
    """Every verb, option and default. Words may be improved: write the file again and look at the
    difference.
    """
    assert record.help_pages() == (record.FOLDER / "help.txt").read_text("utf-8")
