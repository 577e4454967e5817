"""A run folder has one owner, is tried before training, and overwriting it deletes nothing."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.training.run_folder import RunFolder, environment

Child = Callable[[Callable[[], None]], int]
Put = Callable[..., Path]


def refused(path: Path, **options: bool) -> PlaceError:
    with pytest.raises(PlaceError) as caught:
        RunFolder.create(path, **options)
    return caught.value


def finished(path: Path) -> None:
    with RunFolder.create(path) as run:
        run.write("note.txt", "first")
        run.status("finished", 2000)


def test_what_a_run_says_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["/home/somebody/bin/place", "pretrain", "phantom-tiny", "note=two words"]
    )
    with RunFolder.create(tmp_path / "a" / "b") as run:
        assert run.main and run.path == tmp_path / "a" / "b"
        run.describe("seed: 1\n")
        assert (run.path / "STATUS").read_text() == "running\n"
        logging.getLogger("place_cxr.training.loop").warning("heard")
    assert (run.path / "config.yaml").read_text() == "seed: 1\n"
    assert (
        run.path / "command.txt"
    ).read_text() == "place pretrain phantom-tiny 'note=two words'\n"
    text = (run.path / "env.json").read_text()
    assert json.loads(text)["libraries"]["torch"]
    for private in (socket.gethostname(), os.path.expanduser("~"), str(tmp_path), sys.prefix):
        assert private not in text or len(private) < 3
    assert "WARNING heard" in (run.path / "train.log").read_text()
    assert run.path.joinpath("STATUS").read_text() == "running\n"


def test_the_environment_names_versions_and_hardware() -> None:
    about = environment()
    assert (
        about["cpu"]["cores"] == os.cpu_count()
        and about["memory_gb"] > 0
        and about["world_size"] == 1
    )


def test_an_error_leaves_the_status_failed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="oops"), RunFolder.create(tmp_path / "run"):
        raise ValueError("oops")
    assert (tmp_path / "run" / "STATUS").read_text() == "failed\n"
    RunFolder.create(tmp_path / "run").close()  # nothing was saved, so nothing is in the way


def test_a_finished_run_is_not_touched(tmp_path: Path) -> None:
    finished(tmp_path / "run")
    error = refused(tmp_path / "run")
    assert (error.code, error.exit_code) == ("PL-R003", 5)
    assert "finished run (step 2000)" in str(
        error
    ) and "--resume auto, another --out, or --overwrite" in str(error)
    with RunFolder.create(tmp_path / "run", resume=True) as run:
        assert (run.path / "note.txt").read_text() == "first"


def test_an_unfinished_run_is_not_touched(tmp_path: Path, put: Put) -> None:
    RunFolder.create(tmp_path / "run").close()
    put(tmp_path / "run", 5)
    error = refused(tmp_path / "run")
    assert error.code == "PL-R002" and "step_000005" in str(error)
    RunFolder.create(tmp_path / "run", resume=True).close()


def test_overwriting_keeps_the_old_run(tmp_path: Path) -> None:
    for number in (1, 2):
        RunFolder.create(tmp_path / "run", overwrite=True).close() if number == 2 else finished(
            tmp_path / "run"
        )
    assert (tmp_path / "run.old-1" / "note.txt").read_text() == "first"
    with RunFolder.create(tmp_path / "run", overwrite=True) as run:
        assert not (run.path / "note.txt").exists()
        assert refused(tmp_path / "run").code == "PL-R001"  # the new folder is locked as well
    assert (tmp_path / "run.old-2").is_dir()


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, options: dict[str, bool]) -> None:
    (tmp_path / "thesis.tex").touch()
    assert refused(tmp_path, **options).code == "PL-R004"
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.fault("C4")
def test_the_second_process_is_told_who_is_first(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from place_cxr.training.run_folder import "
        "RunFolder\n"
        "run = RunFolder.create(Path(sys.argv[1])); print('ready', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "ready\n"
        for options in ({}, {"resume": True}, {"overwrite": True}):
            error = refused(tmp_path / "run", **options)
            assert error.code == "PL-R001"
            assert f"process {holder.pid} on {socket.gethostname()}" in str(error)
        holder.kill()
    assert not (tmp_path / "run.old-1").exists()


@pytest.mark.fault("C4")
def test_a_lock_whose_holder_died_is_taken_over(
    tmp_path: Path, child: Child, caplog: pytest.LogCaptureFixture
) -> None:
    def die() -> None:
        RunFolder.create(tmp_path / "run")
        os.kill(os.getpid(), signal.SIGKILL)

    assert child(die) == -signal.SIGKILL
    with RunFolder.create(tmp_path / "run"):
        assert "taking over from process" in caplog.text
    caplog.clear()
    RunFolder.create(tmp_path / "run").close()
    assert caplog.text == ""


@pytest.mark.fault("C3")
def test_leftovers_of_the_process_before_are_swept(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    left = (
        tmp_path
        / "run"
        / "checkpoints"
        / f".place-tmp@{socket.gethostname()}@{2**22 + 1}@new@step_000001"
    )
    left.mkdir()
    RunFolder.create(tmp_path / "run", resume=True).close()
    assert not left.exists()


@pytest.mark.fault("C6")
def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        error = refused(path)
        assert (error.code, error.exit_code) == ("PL-E006", 3)


@pytest.mark.fault("C6")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_may_not_be_written(tmp_path: Path, child: Child) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)

    def work() -> None:
        os.setuid(65534)
        for path in (closed, closed / "run"):
            assert refused(path).code == "PL-E006"

    assert child(work) == 0
    assert list(closed.iterdir()) == []


@pytest.mark.fault("C6")
def test_a_disk_that_is_full_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    started = time.monotonic()
    error = refused(tmp_path / "run")
    assert error.code == "PL-E006" and "No space left" in str(error)
    assert time.monotonic() - started < 1
    monkeypatch.undo()
    RunFolder.create(tmp_path / "run").close()  # and the lock was let go


def _renamed(run: Path) -> None:
    run.rename(run.with_name("moved"))


def _removed(run: Path) -> None:
    shutil.rmtree(run)


def _replaced(run: Path) -> None:
    _renamed(run)
    with RunFolder.create(run) as other:
        other.write("note.txt", "of another run")
        (run / "STATUS").write_text("finished step 900\n")
        (run / "metrics.jsonl").write_text('{"step": 900}\n')
        (run / ".lock").write_text("another process\n")


def _unlocked(run: Path) -> None:
    (run / ".lock").unlink()


@pytest.mark.fault("C4")
@pytest.mark.parametrize("change", [_renamed, _removed, _replaced, _unlocked])
def test_a_run_whose_folder_is_gone_stops_and_writes_nothing_there(
    tmp_path: Path, toy: ModuleType, change: Callable[[Path], None]
) -> None:
    run = tmp_path / "run"
    after: dict[str, bytes] = {}

    def loss(model: Any, batch: Any, step: int) -> Any:
        if step == 6:
            while not (run / "checkpoints" / "last").exists():  # saved beside the training
                time.sleep(0.01)
            change(run)
            after.update(_contents(run))
        return toy.loss(model, batch, step)

    settings = toy.SETTINGS.model_copy(update={"accumulate": 1})
    with pytest.raises(PlaceError) as caught:
        toy.train(run, loss=loss, settings=settings)
    assert (caught.value.code, caught.value.exit_code) == ("PL-R005", 5)
    assert _contents(run) == after
    assert run.exists() == bool(after)
    if change is not _removed and change is not _unlocked:
        with RunFolder.create(run.with_name("moved"), resume=True) as moved:
            assert (moved.path / "checkpoints" / "step_000004").is_dir()


def _contents(run: Path) -> dict[str, bytes]:
    files = [path for path in run.rglob("*") if path.is_file()]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.mark.fault("C4")
def test_the_lock_goes_with_a_renamed_folder(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run") as run:
        (tmp_path / "run").rename(tmp_path / "moved")
        assert refused(tmp_path / "moved", resume=True).code == "PL-R001"
        with RunFolder.create(tmp_path / "run"):
            with pytest.raises(PlaceError, match="PL-R005"):
                run.status("finished", 3)
            run.close()
            assert (tmp_path / "run" / ".lock").read_text() != ""
            assert refused(tmp_path / "run", resume=True).code == "PL-R001"
