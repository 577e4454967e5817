"""Metrics outlive a stop and a full disk; progress speaks plainly where there is no terminal."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from place_cxr.training import log
from place_cxr.training.log import MetricsLog, ProgressBar, format_duration


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_both_files_say_the_same(tmp_path: Path) -> None:
    metrics = MetricsLog(tmp_path)
    metrics.write({"step": 1, "loss": 0.5})
    metrics.write(
        {"step": 2, "loss": math.nan, "late": 3.0}
    )  # a column more, and a number that JSON has not
    metrics.write({"step": 3, "loss": 0.25})
    assert lines(tmp_path) == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": None, "late": 3.0},
        {"step": 3, "loss": 0.25},
    ]
    assert table(tmp_path) == [
        {"step": "1", "loss": "0.5", "late": ""},
        {"step": "2", "loss": "", "late": "3.0"},
        {"step": "3", "loss": "0.25", "late": ""},
    ]


def test_a_resumed_run_cuts_what_comes_later(tmp_path: Path) -> None:
    metrics = MetricsLog(tmp_path)
    for step in (1, 2, 3, 4):
        metrics.write({"step": step, "loss": step / 2})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # the process died here
    again = MetricsLog(tmp_path, step=2)
    again.write({"step": 3, "loss": 9.0})
    assert [record["loss"] for record in lines(tmp_path)] == [0.5, 1.0, 9.0]
    assert [record["loss"] for record in table(tmp_path)] == ["0.5", "1.0", "9.0"]


@pytest.mark.fault("R10")
def test_a_disk_that_refuses_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    metrics = MetricsLog(folder)
    metrics.write({"step": 1})
    real = Path.open

    def full(self: Path, *args: object, **options: object) -> object:
        if self.name.startswith("metrics"):
            raise OSError(28, "No space left on device")
        return real(self, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    for step in range(2, 7):
        metrics.write({"step": step})
    assert len(caplog.records) == 1 and "No space left" in caplog.text
    monkeypatch.setattr(log.time, "monotonic", lambda: 10**9)
    metrics.write({"step": 7})
    assert len(caplog.records) == 2
    monkeypatch.undo()
    metrics.write({"step": 8})
    assert lines(folder) == [{"step": 1}, {"step": 8, "lost": 6}]
    metrics.write({"step": 9})
    assert table(folder)[-1] == {"step": "9", "lost": ""}


@pytest.mark.fault("R10")
def test_a_log_that_cannot_even_begin(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    MetricsLog(tmp_path).write({"step": 1})
    assert len(caplog.records) == 1


@pytest.mark.fault("R11")
def test_progress_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(log.time, "time", lambda: pytest.fail("the wall clock may jump"))
    with ProgressBar(100, start=20) as progress:
        for step in range(21, 41):
            now[0] += 1.0
            progress.update(step, "loss 0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "training 30/100, 1:10 left, loss 0.5",
        "training 40/100, 1:00 left, loss 0.5",
    ]
    with ProgressBar(1, show=False) as quiet:
        quiet.update(1)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with ProgressBar(10) as progress:
        progress.update(10, "loss 0.5")
    out, err = capsys.readouterr()
    assert out == "" and "10/10" in err


def test_durations() -> None:
    assert [format_duration(s) for s in (0, 59.6, 61, 3723)] == ["0:00", "1:00", "1:01", "1:02:03"]
