"""``place task``: a whole pass from a trained run to a result, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from place_cxr.tasks.engine import recompute
from place_cxr.tasks.result import Result

Place = Callable[..., tuple[int, str, str]]


def test_from_a_run_to_a_result(place: Place, trained: Path, phantom: Path, tmp_path: Path) -> None:
    words = [
        "task",
        "classification",
        "--checkpoint",
        trained,
        "--source",
        "manifest",
        "-o",
        tmp_path,
        "--device",
        "cpu",
    ]
    code, stdout, stderr = place(*words, "--fraction", ".5", "1", "--seeds", "0,1")  # data: the run's own
    assert code == 0, stderr
    folder = tmp_path / "classification" / phantom.parent.name
    assert stdout.splitlines()[-1] == f"Results: {folder}" and "100%/auroc/macro\t" in stdout
    assert "50% of the training patients" in stderr and "seed 1" in stderr
    result = Result.read(folder)
    assert (result.method, result.seeds) == ("small", (0, 1)) and result.metrics == recompute(folder)
    assert {name.split("/")[0] for name in result.metrics} == {"50%", "100%"}
    more = ["--root", phantom, "--fraction", "1", "--seeds", "3", "--mode", "finetune", "--json", "steps=2", "checks=1"]
    code, stdout, stderr = place(*words, *more, "--method", "mine")
    assert code == 0, stderr
    said = json.loads(stdout)
    assert (said["task"], said["method"], said["seeds"]) == ("classification-finetune", "mine", [3])
    assert Path(said["folder"]) == tmp_path / "classification-finetune" / phantom.parent.name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["classificatoin"], ("PL-C002", "Did you mean 'classification'?")),
        (["classification", "--source", "chexpertt"], ("PL-C00", "--root")),
        (["classification", "--seeds", "x"], ("PL-C040", "--seeds")),
        (["classification", "--fraction", "2"], ("PL-C040", "fraction")),
        (["classification", "stepps=1"], ("PL-C001", "Did you mean 'steps'?")),
    ],
)
def test_what_cannot_be_asked(place: Place, trained: Path, tmp_path: Path, words: list[str], said: tuple[str]) -> None:
    code, stdout, stderr = place("task", *words, "--checkpoint", trained, "-o", tmp_path / "out", "--device", "cpu")
    assert (code, stdout) == (2, ""), stderr
    assert all(word in stderr for word in said) and not (tmp_path / "out").exists()
