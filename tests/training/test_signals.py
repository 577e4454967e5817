"""A signal makes a run save and leave with its own code; a second one ends it at once, and nothing
is broken.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from place_cxr.training import checkpoint
from place_cxr.training.loop import TrainingStopped
from place_cxr.training.run_folder import RunFolder

TOY = Path(__file__).with_name("toy.py")


def wait_for_start(folder: Path) -> None:
    status = folder / "STATUS"
    while not status.exists() or "step" not in status.read_text():
        time.sleep(0.01)


@pytest.mark.fault("R8")
@pytest.mark.parametrize(
    ("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 143), ("SIGHUP", 143)]
)
def test_a_signal_saves_and_stops(
    tmp_path: Path, toy: ModuleType, number: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "place_cxr.training.loop")

    def loss(model: Any, batch: Any, step: int) -> Any:
        if step == 5:
            os.kill(os.getpid(), getattr(signal, number))
        return toy.loss(model, batch, step)

    before = signal.getsignal(getattr(signal, number))
    with pytest.raises(TrainingStopped) as caught:
        toy.train(
            tmp_path / "run", loss=loss, settings=toy.SETTINGS.model_copy(update={"accumulate": 1})
        )
    assert (caught.value.code, caught.value.step) == (code, 6)
    steps = toy.SETTINGS.steps
    assert f"stopped and saved at step 6 of {steps}; --resume auto goes on" in caplog.messages
    assert checkpoint.load(tmp_path / "run").step == 6
    assert caught.value.path == tmp_path / "run" / "checkpoints" / "step_000006"
    assert (tmp_path / "run" / "STATUS").read_text() == "interrupted step 6\n"
    assert signal.getsignal(getattr(signal, number)) is before


@pytest.mark.fault("R8", "R1")
def test_a_stopped_program_resumes_exactly(tmp_path: Path, toy: ModuleType) -> None:
    command = [sys.executable, str(TOY), "train", str(tmp_path / "run"), "40", "0.02"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        wait_for_start(tmp_path / "run")
        time.sleep(0.5)
        program.send_signal(signal.SIGTERM)
        assert program.wait(20) == 143
        assert program.stderr and "Traceback" not in program.stderr.read()
    saved = checkpoint.load(tmp_path / "run")
    assert 0 < saved.step < 40
    settings = toy.SETTINGS.model_copy(update={"steps": 40, "save_every": 1000})
    toy.train(tmp_path / "run", resume=saved, settings=settings, model=(model := toy.Net()))
    toy.train(tmp_path / "whole", settings=settings, model=(whole := toy.Net()))
    assert toy.digest(model) == toy.digest(whole)


@pytest.mark.fault("R8")
def test_the_second_signal_ends_at_once(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(TOY),
        "train",
        str(tmp_path / "run"),
        "40",
        "30",
    ]  # waits 30 s for its first batch
    with subprocess.Popen(command, stderr=subprocess.PIPE) as program:
        wait_for_start(tmp_path / "run")
        time.sleep(0.3)
        program.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert program.poll() is None  # asked to stop at the end of the step
        program.send_signal(signal.SIGINT)
        assert program.wait(5) == 130
    assert checkpoint.latest_intact_step(tmp_path / "run") is None


def test_outside_the_main_thread_signals_are_left_alone(tmp_path: Path, toy: ModuleType) -> None:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(toy.train(tmp_path / "run")))
    thread.start()
    thread.join()
    assert results[0].finished


@pytest.mark.fault("R8")
def test_a_hangup_that_is_ignored_stays_ignored(tmp_path: Path, toy: ModuleType) -> None:
    def loss(model: Any, batch: Any, step: int) -> Any:
        os.kill(os.getpid(), signal.SIGHUP)
        return toy.loss(model, batch, step)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert toy.train(tmp_path / "run", loss=loss).finished
    finally:
        signal.signal(signal.SIGHUP, before)


_SET_UP = """
import sys, time
from pathlib import Path
from place_cxr.training.run_folder import RunFolder

with RunFolder.create(Path(sys.argv[1]), resume=True):
    print("ready", flush=True)
    time.sleep(60)
"""


def _default_signals() -> None:
    """A shell in the background starts programs that ignore Ctrl-C; here they must hear it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.fault("R8")
@pytest.mark.parametrize(
    ("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 143), ("SIGHUP", 143)]
)
@pytest.mark.parametrize(
    ("before", "after"), [("", "interrupted"), ("finished step 9", "finished step 9")]
)
def test_a_signal_during_set_up_leaves_a_true_status(
    tmp_path: Path, number: str, code: int, before: str, after: str
) -> None:
    run = tmp_path / "run"
    if before:
        with RunFolder.create(run) as folder:
            folder.status(*before.split(" step "))

    command = [sys.executable, "-c", _SET_UP, str(run)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_default_signals,
    ) as program:
        assert program.stdout and program.stdout.readline() == "ready\n"
        program.send_signal(getattr(signal, number))
        # A signal that Python handles itself ends the process with its own number.
        assert program.wait(20) in (code, -getattr(signal, number))

    assert (run / "STATUS").read_text().strip() == after
    assert (run / ".lock").read_text() == ""  # closed in order


def test_handlers_are_restored_when_a_run_is_closed(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with RunFolder.create(tmp_path / "run"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
