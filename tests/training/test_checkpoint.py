"""Checkpoints survive kills, full disks, bit flips and strangers' files."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from place_cxr.core import files
from place_cxr.core.errors import PlaceError
from place_cxr.training import checkpoint, manifest, tensor_files

Put = Callable[..., Path]
Child = Callable[[Callable[[], None]], int]


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(PlaceError) as caught:
        call()
    return caught.value.code


def test_what_is_saved_is_loaded(tmp_path: Path, put: Put) -> None:
    path = put(tmp_path, 7)
    assert path == tmp_path / "checkpoints" / "step_000007"
    for source in (path, tmp_path, tmp_path / "checkpoints" / "last"):
        found = checkpoint.load(source)
        assert found.step == 7
        assert torch.equal(found.weights["weight"], torch.full((1000,), 7.0))
        assert torch.equal(found.weights["bias"], torch.arange(3))
        assert torch.equal(found.state_tensors["moment"], torch.full((1000,), -7.0))
        assert (found.config, found.state, found.path) == ({"width": 1000}, {"step": 7}, path)
        assert found.origin["world_size"] == 1
    assert (path / "tokenizer" / "tokenizer.json").read_bytes() == b'{"a": 1}\n'
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["last", "step_000007"]


def test_weights_without_training_state(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, {"w": torch.ones(2)}, config={})
    assert not (path / "training_state").exists()
    found = checkpoint.load(path)
    assert (found.state, found.state_tensors) == ({}, {})


def test_tied_and_sliced_weights(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    checkpoint.save(
        tmp_path, 1, {"a": whole, "tied": whole, "part": whole[1], "turned": whole.T}, config={}
    )
    found = checkpoint.load(tmp_path).weights
    assert torch.equal(found["a"], whole) and torch.equal(found["tied"], whole)
    assert torch.equal(found["part"], whole[1]) and torch.equal(found["turned"], whole.T)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where the machine has one: a kill loses no page, so only the order of the
    calls matters.
    """
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.fault("C1")
def test_a_hundred_kills_at_random_moments(memory: Path, put: Put) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # shown when the test fails
    rng = random.Random(seed)
    home = memory / "checkpoints"
    committed = hits = 0
    for trial in range(100):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            torch.set_num_threads(1)
            files.remove_orphans(memory)
            checkpoint.set_aside_later_steps(memory, committed)
            for step in range(committed + 1, committed + 10_000):
                put(memory, step, size=200_000, keep=2)
                os.write(write, step.to_bytes(4, "big"))
        os.close(write)
        first = (
            os.read(read, 4) if trial % 2 else b""
        )  # every other one has saved once, however slow the machine
        time.sleep(rng.uniform(0.01, 0.07))
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        with os.fdopen(read, "rb") as pipe:
            received = first + pipe.read()
        reported = int.from_bytes(received[-4:], "big") if received else committed
        hits += any(home.glob(".place-tmp*"))
        if reported or any(home.glob("step_*")):
            found = checkpoint.load(memory)
            assert reported <= found.step <= reported + 1
            assert bool((found.weights["weight"] == found.step).all())
            committed = found.step
        if (home / "last").exists():
            assert checkpoint.load(home / "last").step in (committed, committed - 1)
    assert committed > 20 and hits > 3  # the kills did hit saves
    files.remove_orphans(memory)
    assert {p.name for p in home.iterdir()} <= {
        "last",
        *(f"step_{committed - n:06d}" for n in range(3)),
    }


FILES = (
    "tokenizer.json",
    *(name.split("/")[-1] for name in (checkpoint.WEIGHTS, checkpoint.CONFIG)),
)
FILES += ("optimizer.safetensors", "state.json", "MANIFEST.json", "last")
POINTS = [*(f"{verb} {name}" for verb in ("write", "written") for name in FILES)]
POINTS += ["synced", "renamed", "verified", "pointed", "pruning"]


@pytest.mark.fault("C2", "C3")
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_every_point(
    tmp_path: Path, put: Put, child: Child, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    for step in (1, 2):
        put(tmp_path, step, keep=2)
    monkeypatch.setenv("PLACE_CRASH_AT", point)
    assert child(lambda: put(tmp_path, 3, keep=2) and None) == 137
    monkeypatch.delenv("PLACE_CRASH_AT")
    found = checkpoint.load(tmp_path)
    assert found.step in (2, 3)
    assert bool((found.weights["weight"] == found.step).all())
    assert checkpoint.load(tmp_path / "checkpoints" / "last").step in (2, 3)
    files.remove_orphans(tmp_path)
    assert not list((tmp_path / "checkpoints").glob(".place*"))
    put(tmp_path, 4, keep=2)
    assert checkpoint.load(tmp_path).step == 4


@pytest.mark.fault("C2")
@pytest.mark.parametrize("point", ["moved aside", "renamed"])
def test_a_crash_while_a_step_is_saved_again(
    tmp_path: Path, put: Put, child: Child, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    put(tmp_path, 1)
    monkeypatch.setenv("PLACE_CRASH_AT", point)
    assert child(lambda: put(tmp_path, 1) and None) == 137
    files.remove_orphans(tmp_path)
    assert checkpoint.load(tmp_path / "checkpoints" / "last").step == 1
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["last", "step_000001"]


@pytest.mark.fault("C2")
def test_a_file_is_replaced_never_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last"
    files.write_atomic(path, b"old")
    with path.open("rb") as reader:
        files.write_atomic(path, b"new")
        assert (reader.read(), path.read_bytes()) == (b"old", b"new")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="injected"):
        files.write_atomic(path, b"newer")
    assert path.read_bytes() == b"new" and [p.name for p in tmp_path.iterdir()] == ["last"]


@pytest.mark.fault("C5")
def test_a_step_saved_again_survives_a_failing_rename(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, 1)
    real = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if "@new@" in self.name:
            raise OSError(errno.EIO, "injected")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    assert code(lambda: put(tmp_path, 1)) == "PL-E005"
    assert checkpoint.load(tmp_path).step == 1


@pytest.mark.fault("C3")
def test_only_orphans_are_swept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "checkpoints").mkdir()
    dead = os.fork() or os._exit(0)
    os.waitpid(dead, 0)
    host = os.uname().nodename

    def orphan(folder: str, host: str, pid: int, name: str) -> Path:
        path = tmp_path / folder / f".place-tmp@{host}@{pid}@new@{name}"
        path.mkdir() if name.startswith("step") else path.touch()
        return path

    gone = [
        orphan("", host, dead, "env.json"),
        orphan("checkpoints", host, dead, "step_000001"),
        orphan("checkpoints", host, dead, "pre-spike"),
    ]
    alive = orphan("checkpoints", host, os.getppid(), "step_000002")
    elsewhere = orphan("checkpoints", "another-host", dead, "step_000003")
    stale = orphan("checkpoints", "another-host", dead, "step_000004")
    os.utime(stale, (0, time.time() - 4000))
    other = tmp_path / ".tmp-not-ours"
    other.touch()
    assert files.remove_orphans(tmp_path) == 4
    assert [p.exists() for p in (*gone, stale)] == [False] * 4
    assert alive.exists() and elsewhere.exists() and other.exists()
    assert len(caplog.records) == 1


@pytest.mark.fault("C5")
def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, put: Put, child: Child) -> None:
    put(tmp_path, 1)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            put(tmp_path, 2, size=1_000_000)
        except PlaceError as error:
            (tmp_path / "said").write_text(str(error))

    assert child(work) == 0
    message = (tmp_path / "said").read_text()
    assert message.startswith("error[PL-E005]") and "need 8 MB" in message and "MB free" in message
    assert "kept at step 1" in message and "--resume auto" in message
    assert checkpoint.load(tmp_path).step == 1
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["last", "step_000001"]


@pytest.mark.fault("C5")
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_any_failing_call_of_the_disk(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    put(tmp_path, 1)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO if call == "rename" else errno.ENOSPC, "injected")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "rename", fail)
    assert code(lambda: put(tmp_path, 2)) == "PL-E005"
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / "checkpoints" / "last").step == 1
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["last", "step_000001"]


@pytest.mark.fault("C6")
def test_a_run_that_vanished_is_written_again(tmp_path: Path, put: Put) -> None:
    run = tmp_path / "run"
    put(run, 1)
    shutil.rmtree(run)
    put(run, 2)
    assert checkpoint.load(run).step == 2


@pytest.mark.fault("C6", "C14")
def test_nothing_counts_as_saved_before_it_was_read_back(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, 1, keep=1)
    real = files.write_synced

    def lossy(path: Path, content: bytes) -> None:  # a disk that says yes and keeps half
        real(path, content[: len(content) // 2] if path.name == "model.safetensors" else content)

    monkeypatch.setattr(checkpoint, "write_synced", lossy)
    assert code(lambda: put(tmp_path, 2, keep=1)) == "PL-R103"
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / "checkpoints" / "last").step == 1
    assert checkpoint.load(tmp_path).step == 1


@pytest.mark.fault("C7")
@pytest.mark.parametrize(
    "name", ["model.safetensors", "MANIFEST.json", "training_state/state.json"]
)
@pytest.mark.parametrize("cut", [lambda n: 0, lambda n: 10, lambda n: n // 2, lambda n: n - 2])
def test_truncated(
    tmp_path: Path, put: Put, caplog: pytest.LogCaptureFixture, name: str, cut: Callable[[int], int]
) -> None:
    put(tmp_path, 1)
    broken = put(tmp_path, 2)
    content = (broken / name).read_bytes()
    (broken / name).write_bytes(content[: cut(len(content))])
    with pytest.raises(PlaceError, match=r"truncated.*Fix: use step_000001"):
        checkpoint.load(broken)  # named: never another one
    assert checkpoint.latest_intact_step(tmp_path) == tmp_path / "checkpoints" / "step_000001"
    assert checkpoint.load(tmp_path).step == 1
    assert "falling back" in caplog.text


@pytest.mark.fault("C8")
def test_one_flipped_bit_in_any_file(
    tmp_path: Path, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    path = put(tmp_path, 1)
    rng = random.Random(0)
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        clean = file.read_bytes()
        for _ in range(20):
            flipped = bytearray(clean)
            flipped[rng.randrange(len(clean) - 1)] ^= 1 << rng.randrange(
                8
            )  # the last byte is a line's end
            file.write_bytes(flipped)
            assert code(lambda: checkpoint.load(path)) in {"PL-R104", "PL-R107"}, file.name
        file.write_bytes(clean)
    weights = bytearray((path / "model.safetensors").read_bytes())
    weights[-1000] ^= 1
    (path / "model.safetensors").write_bytes(weights)
    assert checkpoint.load(path, verify=False).step == 1
    assert "without comparing" in caplog.text


@pytest.mark.fault("C9")
def test_another_model_is_refused_with_the_first_five_differences() -> None:
    one, two = (
        nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)),
        nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(2, 2)),
    )
    before = two[0].bias.clone()
    with pytest.raises(PlaceError) as caught:
        checkpoint.load_weights(two, one.state_dict())
    assert caught.value.code == "PL-R109"
    assert "0.weight: expected 6x4, found 8x4" in str(caught.value)
    assert "2.weight: expected 2x2, found none" in str(caught.value)
    assert str(caught.value).count("expected") == 5
    assert torch.equal(two[0].bias, before)
    checkpoint.load_weights(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), one.state_dict())


def resign(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest as somebody would who knows the format."""
    about = json.loads((path / "MANIFEST.json").read_text())
    about.pop("sha256")
    change(about)
    signed = manifest.json_bytes(about)
    about["sha256"] = manifest.hashlib.sha256(signed).hexdigest()
    (path / "MANIFEST.json").write_bytes(manifest.json_bytes(about))


def sign_file(path: Path, name: str, content: bytes) -> None:
    (path / name).write_bytes(content)
    entry = {"size": len(content), "sha256": manifest.hashlib.sha256(content).hexdigest()}
    resign(path, lambda entries: entries["files"].update({name: entry}))


@pytest.mark.fault("C10")
def test_newer_formats_are_refused_by_name(tmp_path: Path, put: Put) -> None:
    put(tmp_path, 1)
    newer = put(tmp_path, 2)
    resign(newer, lambda about: about.update(schema=9, code="3.1.4"))
    with pytest.raises(
        PlaceError, match=r"PL-R105.*format 9 by place-cxr 3\.1\.4, but .*update place-cxr"
    ):
        checkpoint.load(newer)
    assert (
        code(lambda: checkpoint.load(tmp_path)) == "PL-R105"
    )  # silently going back would lose work


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.update(files={}),
        lambda about: about.update(files=[1]),
        lambda about: about["files"].update({"../../etc/passwd": {"size": 1, "sha256": ""}}),
        lambda about: about["files"].update({"config.json": {"size": "many"}}),
        lambda about: about["files"].pop("model.safetensors"),
        lambda about: about.pop("torch"),
        lambda about: about.update(step="one"),
    ],
)
def test_a_signed_but_senseless_manifest(
    tmp_path: Path, put: Put, change: Callable[[dict[str, Any]], None]
) -> None:
    path = put(tmp_path, 1)
    resign(path, change)
    assert code(lambda: checkpoint.load(path)) == "PL-R107"


class Bomb:
    """Touches a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def torch_zip(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return out.getvalue()


@pytest.mark.fault("C11")
@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5, "zip", "legacy"])
def test_pickles_are_refused_and_never_run(tmp_path: Path, put: Put, protocol: int | str) -> None:
    marker = tmp_path / "executed"
    number = protocol if isinstance(protocol, int) else 2
    payload = pickle.dumps({"w": Bomb(marker)}, protocol=number)
    if protocol == "zip":
        payload = torch_zip(payload)
    if (
        protocol == "legacy"
    ):  # torch.save before 1.6: pickles one after the other, the first a magic number
        payload = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + payload
    alone = tmp_path / "weights.pt"
    alone.write_bytes(payload)
    path = put(tmp_path, 1)
    sign_file(path, "model.safetensors", payload)
    for source in (alone, path):
        with pytest.raises(PlaceError) as caught:
            checkpoint.load(source)
        assert caught.value.code in ("PL-R106", "PL-R107", "PL-R102")
        assert "weights_only" not in str(caught.value)
    assert code(lambda: tensor_files.read_tensors(alone)) == (
        "PL-R107" if protocol == 1 else "PL-R106"
    )  # 1 has no magic
    assert not marker.exists()


def header(text: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


@pytest.mark.fault("C12")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        header(b"{}", 2**40),
        header(b"{}", 2**63),
        header(b"{" * 100),
        header(b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', data=b"\0" * 8),
        header(
            b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,16]}}', data=b"\0" * 16
        ),
        header(b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[8,4]}}', data=b"\0" * 16),
        header(b'{"w":{"dtype":"EVIL","shape":[4],"data_offsets":[0,16]}}', data=b"\0" * 16),
        header(b"{" + b'"data_offsets":1,' * 100_001 + b"}"),
        b"<!DOCTYPE html><html></html>",
    ],
)
def test_headers_that_lie(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    started = time.monotonic()
    assert code(lambda: tensor_files.read_tensors(file)) == "PL-R107"
    assert time.monotonic() - started < 1


@pytest.mark.fault("C12")
def test_deep_json(tmp_path: Path, put: Put) -> None:
    path = put(tmp_path, 1)
    sign_file(path, "config.json", b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    assert code(lambda: checkpoint.load(path)) == "PL-R107"


@settings(max_examples=60)
@given(data=st.binary(max_size=200), at=st.integers(0, 400))
def test_no_bytes_make_the_reader_raise_anything_else(
    tmp_path_factory: Any, data: bytes, at: int
) -> None:
    good = tensor_files.tensor_bytes({"w": torch.arange(8.0), "b": torch.ones(2)})
    file = tmp_path_factory.mktemp("fuzz") / "model.safetensors"
    file.write_bytes(good[:at] + data + good[at + len(data) :])
    try:
        tensor_files.read_tensors(file)
    except PlaceError as error:
        assert error.code in ("PL-R106", "PL-R107")


@pytest.mark.fault("C13")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    path = checkpoint.save(
        tmp_path, 1, {"fine": torch.ones(3), "layer.weight": torch.tensor([1, value])}, config={}
    )
    with pytest.raises(PlaceError, match=r"PL-R108.*'layer\.weight'"):
        checkpoint.load(path)


@pytest.mark.fault("C14")
@settings(max_examples=15)
@given(
    keep=st.integers(1, 3),
    moves=st.lists(st.sampled_from(["save", "best", "pre-spike", "fail"]), min_size=1, max_size=10),
)
@example(keep=1, moves=["save", "best", "save", "fail", "save", "pre-spike", "save", "save"])
def test_pruning_never_takes_a_named_or_the_newest_step(
    tmp_path_factory: Any, keep: int, moves: list[str]
) -> None:
    run = tmp_path_factory.mktemp("prune")
    saved: list[int] = []
    named: dict[str, int] = {}
    for number, move in enumerate(moves, 1):
        if move == "save":
            checkpoint.save(run, number, {"w": torch.ones(1)}, config={}, keep=keep)
            saved.append(number)
            expected = set(saved[-keep:]) | set(named.values())
            assert {step for step, _ in checkpoint._steps(run / "checkpoints")} == expected
            saved = sorted(expected)
        elif move == "fail":
            with pytest.MonkeyPatch.context() as patch, pytest.raises(PlaceError):
                patch.setattr(
                    checkpoint,
                    "verify_checkpoint",
                    lambda path: manifest.read_manifest(path / "none"),
                )
                checkpoint.save(run, 1000 + number, {"w": torch.ones(1)}, config={}, keep=1)
            shutil.rmtree(run / "checkpoints" / f"step_{1000 + number:06d}")
            assert {step for step, _ in checkpoint._steps(run / "checkpoints")} == set(saved)
        elif saved:
            named[move] = saved[-1]
            checkpoint.write_pointer(run, move, saved[-1])
    for name, step in named.items():
        assert checkpoint.load(run / "checkpoints" / name).step == step


def test_a_course_that_was_left_is_kept_but_not_loaded(tmp_path: Path, put: Put) -> None:
    for step in (1, 2, 3):
        put(tmp_path, step)
    checkpoint.write_pointer(tmp_path, "best", 3)
    assert checkpoint.set_aside_later_steps(tmp_path, 1) == [2, 3]
    assert checkpoint.load(tmp_path).step == 1
    assert checkpoint.load(tmp_path / "checkpoints" / "last").step == 1
    assert not (tmp_path / "checkpoints" / "best").exists()
    put(tmp_path, 2)
    checkpoint.set_aside_later_steps(tmp_path, 1)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == [
        "aside_step_000002",
        "aside_step_000002.2",
        "aside_step_000003",
        "last",
        "step_000001",
    ]
    assert checkpoint.load(tmp_path / "checkpoints" / "aside_step_000003").step == 3


@pytest.mark.parametrize(
    ("make", "expected"), [(lambda p: None, "PL-R101"), (lambda p: p.mkdir(), "PL-R102")]
)
def test_nothing_there(tmp_path: Path, make: Callable[[Path], None], expected: str) -> None:
    make(tmp_path / "run")
    assert code(lambda: checkpoint.load(tmp_path / "run")) == expected
