"""docs/tasks.md is true: its commands run from nothing to results, its metric names exist, its
sixth task works.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from place_cxr import tasks
from place_cxr.core.results import Result
from place_cxr.tasks.engine import recompute_metrics
from place_cxr.tasks.task import HeadTask
from tests.e2e.test_demo import SMALL

Place = Callable[..., tuple[int, str, str]]
TEXT = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text("utf-8")
COMMANDS = re.findall(r"^place (.+)$", TEXT, re.MULTILINE)


def brief(words: list[str]) -> list[str]:
    """The same command on less: fewer studies, a narrow network, two steps."""
    if words[0] == "data":
        return [*words, "--studies", "60", "--size", "96", "--workers", "1"]
    if words[0] == "pretrain":
        return [*words, *SMALL, "train.steps=2", "--device", "cpu"]
    head = issubclass(tasks.TASKS[words[1]], HeadTask)
    return [
        *words,
        *(["steps=2", "checks=1", "--fraction", "1"] if head else []),
        "--seeds",
        "0",
        "--device",
        "cpu",
    ]


@pytest.mark.slow
def test_every_command_runs(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACE_CACHE", str(tmp_path / "cache"))
    for command in COMMANDS:
        code, _, stderr = place(*brief(shlex.split(command)))
        assert code == 0, f"{command}\n{stderr}"
    folders = {
        path.parent.parent.name: path.parent
        for path in tmp_path.glob("runs/a/tasks/*/*/result.json")
    }
    assert set(folders) == {*tasks.TASKS, "classification-finetune"}
    looked_at = re.findall(r"Look at\s+`([^`]+)`", TEXT)
    assert len(looked_at) == len(tasks.TASKS)
    metrics = set()
    for folder in folders.values():
        result = Result.read(folder)
        assert recompute_metrics(folder) == result.metrics and result.source == "phantom"
        metrics |= set(result.metrics)
    assert set(looked_at) <= metrics
    for name in (
        "ECE",
        "brier",
        "boundary distance",
        "empty kept empty",
        "AP 50-95",
        "sure boxes where nothing is",
    ):
        assert f"`{name}`" in TEXT and any(metric.split("/")[1] == name for metric in metrics), name


def test_a_sixth_task_is_one_file_and_one_line(
    place: Place, trained: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = re.findall(r"^```python\n(.+?)^```", TEXT, re.MULTILINE | re.DOTALL)
    [line] = re.findall(r"`\"(\w+)\": (\w+),`", TEXT)
    (tmp_path / "view.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    import view  # type: ignore[import-not-found]

    monkeypatch.setitem(tasks.TASKS, line[0], getattr(view, line[1]))
    run = tmp_path / "run"
    shutil.copytree(trained, run, symlinks=True)
    words = [
        "task",
        "view",
        "--checkpoint",
        run,
        "--fraction",
        "1",
        "--seeds",
        "0,1",
        "--device",
        "cpu",
    ]
    status, stdout, stderr = place(*words, "steps=30", "lr=1e-2")
    assert status == 0, stderr
    folder = run / "tasks" / "view" / phantom.parent.name
    result = Result.read(folder)
    assert result.seeds == (0, 1) and recompute_metrics(folder) == result.metrics
    assert 0 <= result.metrics["100%/top-1 accuracy/all classes"].value <= 1
    assert {name.split("/")[2] for name in result.metrics if name.startswith("100%/auroc/")} == {
        "AP",
        "PA",
        "macro",
    }

    # The page explains the task in the words of its own file.
    status, _, stderr = place("page", run)
    assert status == 0, stderr
    page = (run / "results.html").read_text("utf-8")
    assert "Telling front from back" in page and "which way the rays went" in page
