"""The loop: equal to the bit after a stop, unharmed by bad numbers, and it never waits for the
device.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from place_cxr.core import files
from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import load_settings
from place_cxr.training import checkpoint, loop, state
from place_cxr.training.job import TrainingJob, TrainSettings
from place_cxr.training.loop import fit
from place_cxr.training.optim import OptimSettings
from place_cxr.training.run_folder import RunFolder
from place_cxr.training.state import SpikeDetector


def records(folder: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in row.items() if k not in ("images_per_s", "data_wait")} for row in rows
    ]


def test_a_run_leaves_what_it_should(tmp_path: Path, toy: ModuleType) -> None:
    result = toy.train(tmp_path / "run", extra_files={"tokenizer/words.txt": b"a b"})
    assert (result.step, result.finished, result.bad_steps) == (12, True, 0)
    assert result.checkpoint == tmp_path / "run" / "checkpoints" / "step_000012"
    assert (result.checkpoint / "tokenizer" / "words.txt").read_bytes() == b"a b"
    assert (tmp_path / "run" / "STATUS").read_text() == "finished step 12\n"
    names = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["last", "step_000008", "step_000012"]  # every four steps, two kept
    log = records(tmp_path / "run")
    assert [row["step"] for row in log] == [5, 10, 12]
    assert set(log[0]) == {"step", "lr", "loss", "error", "mean", "grad_norm", "bad_steps"}
    assert log[2]["loss"] == result.means["loss"]
    saved = checkpoint.load(tmp_path / "run")
    assert saved.config == {"width": 16} and saved.state["said"]["train"]["batch_size"] == 8


def test_it_learns(tmp_path: Path, toy: ModuleType) -> None:
    settings = TrainSettings(steps=60, batch_size=8, accumulate=2, log_every=10, save_every=100)
    toy.train(tmp_path / "run", settings=settings, model=(model := toy.Net()))
    log = records(tmp_path / "run")
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    assert model.average.abs().sum() > 0  # after_step ran


class TrainedRun:
    """One training's sample order, losses, log and last weights."""

    def __init__(
        self, toy: ModuleType, folder: Path, stops: list[int], linear: str = "adamw"
    ) -> None:
        self.rows: list[int] = []
        self.losses: list[float] = []

        def loss(model: nn.Module, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            value, parts = toy.loss(model, batch, step)
            self.losses.append(value.item())
            return value, parts

        def batches(start: int) -> Iterator[Any]:
            for batch in toy.batches(start):
                self.rows.extend(batch.row.tolist())
                yield batch

        for stop in [*stops, None]:
            resume = checkpoint.load(folder) if (folder / "checkpoints").exists() else None
            torch.manual_seed(time.time_ns() % 2**31)  # what happened before must not matter
            model = toy.Net()
            optim = toy.OPTIM.model_copy(update={"linear": linear})
            self.result = toy.train(
                folder,
                model=model,
                resume=resume,
                stop_at=stop,
                loss=loss,
                batches=batches,
                optim=optim,
            )
        self.digest = toy.digest(model)
        self.log = records(folder)
        self.state = checkpoint.load(folder)


@pytest.mark.fault("R1")
@pytest.mark.parametrize("linear", ["adamw", "muon"])
@pytest.mark.parametrize("stops", [[1], [5], [11], [3, 7]])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, toy: ModuleType, stops: list[int], linear: str
) -> None:
    whole, parts = (
        TrainedRun(toy, tmp_path / name, s, linear) for name, s in (("whole", []), ("parts", stops))
    )
    assert parts.rows == whole.rows == list(range(12 * 8))
    assert parts.losses == whole.losses
    assert parts.digest == whole.digest
    assert parts.log == whole.log  # means over a window that the stop had cut in two as well
    moments = whole.state.state_tensors
    assert all(
        torch.equal(value, moments[name]) for name, value in parts.state.state_tensors.items()
    )


@pytest.mark.fault("R1")
@pytest.mark.parametrize("forget", ["seeding", "moments", "statistics", "position"])
def test_the_proof_of_exactness_has_teeth(
    tmp_path: Path, toy: ModuleType, monkeypatch: pytest.MonkeyPatch, forget: str
) -> None:
    """With any one part of the state forgotten, the weights differ."""
    whole = TrainedRun(toy, tmp_path / "whole", [])
    if forget == "seeding":
        monkeypatch.setattr(loop, "seed_step", lambda *numbers: None)
    elif forget == "moments":
        monkeypatch.setattr(state, "restore_optimizers", lambda optimizers, tensors: None)
    elif forget == "statistics":
        real = checkpoint.load_weights

        def match(module: nn.Module, weights: dict[str, Tensor]) -> None:
            real(module, weights)
            module.body[1].reset_running_stats()

        monkeypatch.setattr(checkpoint, "load_weights", match)
    else:
        monkeypatch.setattr(toy, "batches", lambda start, real=toy.batches: real(0))
    assert TrainedRun(toy, tmp_path / "parts", [5]).digest != whole.digest


def test_a_run_depends_on_the_seed(tmp_path: Path, toy: ModuleType) -> None:
    digests = set()
    for seed in (3, 4):
        settings = toy.SETTINGS.model_copy(update={"seed": seed})
        toy.train(tmp_path / str(seed), model=(model := toy.Net()), settings=settings)
        digests.add(toy.digest(model))
    assert len(digests) == 2


def test_micro_batches_sum_to_the_joint_gradient(tmp_path: Path, toy: ModuleType) -> None:
    weights = []
    for accumulate in (1, 2, 4):
        torch.manual_seed(0)
        model = nn.Linear(8, 1)  # a mean over rows: the same for any cut into micro batches
        toy.train(
            tmp_path / str(accumulate),
            model=model,
            after_step=None,
            settings=TrainSettings(steps=3, batch_size=8, accumulate=accumulate, log_every=1),
            batches=lambda start, size=8 // accumulate: toy_rows(toy, start, size),
            loss=lambda model, batch, step: (model(batch.x).square().mean(), {}),
        )
        weights.append(model.weight.detach())
    assert torch.allclose(weights[0], weights[1], atol=1e-6) and torch.allclose(
        weights[0], weights[2], atol=1e-6
    )


def toy_rows(toy: ModuleType, start: int, size: int) -> Iterator[Any]:
    """The rows of the batches of eight, ``size`` at a time."""
    per = 8 // size
    while True:
        whole = next(toy.batches(start // per, 8))
        at = start % per * size
        yield toy.Rows(whole.row[at : at + size], whole.x[at : at + size])
        start += 1


def poisoned(toy: ModuleType, steps: set[int], what: str = "nan") -> Callable[..., Any]:
    """The toy loss, made bad in some steps: in the loss, in the gradient only, or in a forward pass
    of batch norm.
    """

    def loss(model: nn.Module, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        if step not in steps:
            return toy.loss(model, batch, step)
        if what == "input":
            batch = toy.Rows(batch.row, batch.x * torch.inf)
        value, parts = toy.loss(model, batch, step)
        if what == "gradient":  # the square root's slope at 0
            return value + (model.body[0].weight.sum() * 0).sqrt() * 0, parts
        return value * (1 if what == "input" else torch.tensor(float(what))), parts

    return loss


@pytest.mark.fault("R3")
@pytest.mark.parametrize("linear", ["adamw", "muon"])
@pytest.mark.parametrize("what", ["nan", "inf", "gradient", "input"])
def test_a_bad_step_changes_nothing(
    tmp_path: Path, toy: ModuleType, what: str, linear: str
) -> None:
    states: list[dict[str, Tensor]] = []
    model = toy.Net()

    def keep() -> None:
        states.append({k: v.clone() for k, v in model.state_dict().items()})

    folder = tmp_path / "run"
    optim = toy.OPTIM.model_copy(update={"linear": linear})
    result = toy.train(
        folder, model=model, after_step=keep, loss=poisoned(toy, {6}, what), optim=optim
    )
    assert result.bad_steps == 1 and result.finished
    assert all(torch.equal(states[6][name], states[5][name]) for name in states[5])
    assert not torch.equal(states[7]["body.0.weight"], states[6]["body.0.weight"])
    saved = checkpoint.load(folder)  # it would refuse what is not finite
    assert saved.state_tensors["optim/body.0.bias/step"] == 11
    dump = json.loads((folder / "bad_steps.jsonl").read_text())
    assert (dump["step"], dump["rows"]) == (6, list(range(48, 56)))
    assert set(dump) == {"step", "rows", "lr", "loss", "grad_norm"}
    assert all(
        torch.isfinite(torch.tensor(row["loss"])) for row in records(folder)
    )  # and the means are clean


@pytest.mark.fault("R3")
def test_three_bad_steps_in_a_row_end_the_run(tmp_path: Path, toy: ModuleType) -> None:
    folder = tmp_path / "run"
    with pytest.raises(PlaceError) as caught:
        toy.train(folder, loss=poisoned(toy, {1, 2, 6, 7, 8, 9, 10, 11}))
    assert (caught.value.code, caught.value.exit_code) == ("PL-G001", 6)
    assert "3 steps in a row, up to step 8" in str(caught.value) and "optim.lr" in str(caught.value)
    assert (folder / "STATUS").read_text() == "failed\n"
    assert checkpoint.load(folder).step == 8 - 8 % 4  # the last one before, untouched
    assert [
        json.loads(x)["step"] for x in (folder / "bad_steps.jsonl").read_text().splitlines()
    ] == [1, 2, 6, 7, 8]


@pytest.mark.fault("R4")
def test_a_spike_is_told_once_and_the_step_before_it_kept(
    tmp_path: Path,
    toy: ModuleType,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit, point = checkpoint._commit, checkpoint.write_pointer

    def slow(*arguments: Any) -> None:
        time.sleep(0.05)
        commit(*arguments)

    def checked(folder: Path, name: str, step: int) -> None:
        assert (folder / "checkpoints" / f"step_{step:06d}").is_dir()  # a pointer never dangles
        point(folder, name, step)

    monkeypatch.setattr(checkpoint, "_commit", slow)
    monkeypatch.setattr(checkpoint, "write_pointer", checked)

    def loss(model: nn.Module, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        value, parts = toy.loss(model, batch, step)
        return value * (1e4 if step in (50, 51) else 1), parts

    settings = TrainSettings(steps=80, batch_size=8, accumulate=2, save_every=10, keep=1)
    toy.train(tmp_path / "run", settings=settings, loss=loss)
    assert [r.message for r in caplog.records if "jumped" in r.message] == [
        caplog.records[-1].message
    ]
    assert caplog.records[-1].message.startswith("step 50:")
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "pre-spike").step == 50
    names = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["last", "pre-spike", "step_000050", "step_000080"]


def test_noise_is_no_spike() -> None:
    watch = SpikeDetector()
    torch.manual_seed(0)
    noise = (5 + 0.5 * torch.rand(2000) - torch.arange(2000) * 1e-3).tolist()
    assert not any(watch.is_spike(value) for value in noise)
    assert watch.is_spike(20.0)
    assert not watch.is_spike(20.0)
    quiet = SpikeDetector()
    assert not any(quiet.is_spike(value) for value in [1.0] * 200 + [1.0 + 1e-6] * 5)


@pytest.mark.fault("R5")
@pytest.mark.parametrize(
    "bad",
    [
        ["batch_size=1"],
        ["batch_size=8", "accumulate=8"],
        ["batch_size=9", "accumulate=2"],
        ["precision=fp16"],
    ],
)
def test_batches_too_small_to_contrast_are_refused(bad: list[str]) -> None:
    with pytest.raises(PlaceError, match="PL-C003"):
        load_settings(TrainSettings, "", bad)


@pytest.mark.fault("R9")
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("can't allocate memory: 9 GB"),
    ],
)
def test_out_of_memory(tmp_path: Path, toy: ModuleType, error: Exception) -> None:
    def loss(*_: Any) -> Any:
        raise error

    with pytest.raises(PlaceError) as caught:
        toy.train(tmp_path / "run", loss=loss)
    assert (caught.value.code, caught.value.exit_code) == ("PL-E009", 3)
    assert "4 rows at once" in str(caught.value) and "accumulate=4" in str(caught.value)
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert (tmp_path / "run" / "STATUS").read_text() == "failed\n"


def test_other_errors_pass_unchanged(tmp_path: Path, toy: ModuleType) -> None:
    def loss(*_: Any) -> Any:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        toy.train(tmp_path / "run", loss=loss)


@pytest.mark.fault("C15", "C5")
def test_a_save_that_fails_in_the_background_is_not_lost(
    tmp_path: Path, toy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.write_synced
    seen: list[int] = []

    def full(path: Path, content: bytes) -> None:
        if "step_000008" in str(path):
            raise OSError(28, "No space left on device")
        real(path, content)

    def slow_loss(model: nn.Module, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(step)
        time.sleep(0.02)
        return toy.loss(model, batch, step)

    monkeypatch.setattr(checkpoint, "write_synced", full)
    with pytest.raises(PlaceError, match=r"PL-E005.*kept at step 4"):
        toy.train(tmp_path / "run", loss=slow_loss)
    assert 7 <= max(seen) < 11  # raised at a step's end, not at the run's
    assert checkpoint.load(tmp_path / "run").step == 4


@pytest.mark.fault("C15")
def test_a_slow_save_is_joined(
    tmp_path: Path, toy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint._commit

    def slow(*arguments: Any) -> None:
        time.sleep(0.2)
        real(*arguments)

    monkeypatch.setattr(checkpoint, "_commit", slow)
    with pytest.raises(PlaceError, match="PL-G001"):  # ends while step 4 is being written
        toy.train(tmp_path / "run", loss=poisoned(toy, {4, 5, 6}))
    assert checkpoint.load(tmp_path / "run").step == 4


@pytest.mark.fault("C9", "R1")
def test_resuming_with_other_settings_is_refused(tmp_path: Path, toy: ModuleType) -> None:
    folder = tmp_path / "run"
    toy.train(folder, stop_at=4)
    saved = checkpoint.load(folder)
    changed = {
        "optim.lr": {"optim": toy.OPTIM.model_copy(update={"lr": 1e-3})},
        "train.seed": {"settings": toy.SETTINGS.model_copy(update={"seed": 9})},
        "config.width was 16, is 32": {"config": {"width": 32}},
        "config.depth was None, is 1": {"config": {"width": 16, "depth": 1}},
    }
    for named, change in changed.items():
        with pytest.raises(PlaceError, match=named) as caught:
            toy.train(folder, resume=saved, **change)
        assert caught.value.code == "PL-R110" and "--init-from" in str(caught.value)
    free = toy.SETTINGS.model_copy(update={"log_every": 1, "save_every": 6, "keep": 1})
    assert toy.train(folder, resume=saved, settings=free).finished


def test_weights_alone_cannot_be_resumed(tmp_path: Path, toy: ModuleType) -> None:
    checkpoint.save(tmp_path / "bare", 4, toy.Net().state_dict(), config={"width": 16})
    with pytest.raises(PlaceError, match=r"PL-R110.*--init-from"):
        toy.train(tmp_path / "run", resume=checkpoint.load(tmp_path / "bare"))


@pytest.mark.fault("C7")
def test_falling_back_repeats_the_lost_steps(tmp_path: Path, toy: ModuleType) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    toy.train(whole, model=(uncut := toy.Net()))
    toy.train(folder, stop_at=9)
    weights = folder / "checkpoints" / "step_000009" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    saved = checkpoint.load(folder)
    assert saved.step == 8
    toy.train(folder, resume=saved, model=(model := toy.Net()))
    assert toy.digest(model) == toy.digest(uncut)
    assert records(folder) == records(whole)
    assert (folder / "checkpoints" / "aside_step_000009").is_dir()


@pytest.mark.fault("C10")
def test_another_torch_or_world_size_is_said(
    tmp_path: Path, toy: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    toy.train(tmp_path / "run", stop_at=4)
    saved = checkpoint.load(tmp_path / "run")
    saved.origin.update(world_size=4, torch="1.0", threads=64)
    assert toy.train(tmp_path / "run", resume=saved).finished
    assert (
        "world_size 4, resumed with 1" in caplog.text
        and "torch 1.0" in caplog.text
        and "threads 64" in caplog.text
    )


def test_a_finished_run_resumes_to_itself(tmp_path: Path, toy: ModuleType) -> None:
    first = toy.train(tmp_path / "run")
    stamp = (first.checkpoint / "MANIFEST.json").stat().st_mtime_ns
    again = toy.train(tmp_path / "run", resume=checkpoint.load(tmp_path / "run"))
    assert (again.step, again.finished, again.checkpoint) == (12, True, first.checkpoint)
    assert (again.checkpoint / "MANIFEST.json").stat().st_mtime_ns == stamp


def test_bf16_runs_and_keeps_fp32_weights(tmp_path: Path, toy: ModuleType) -> None:
    kinds: set[torch.dtype] = set()

    def loss(model: nn.Module, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        out = model(batch.x)
        kinds.add(out.dtype)
        return out.float().square().mean(), {}

    settings = toy.SETTINGS.model_copy(update={"precision": "bf16"})
    toy.train(tmp_path / "run", settings=settings, loss=loss)
    assert kinds == {torch.bfloat16}
    weights = checkpoint.load(tmp_path / "run").weights
    assert {value.dtype for value in weights.values()} == {torch.float32, torch.int64}


class HostReads(TorchDispatchMode):
    """Counts the operations that make the host wait for a number of the device."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            HostReads.count += 1
        return func(*args, **(kwargs or {}))


def test_a_step_reads_nothing_from_the_device(tmp_path: Path, toy: ModuleType) -> None:
    """The readback of the step before reads main memory, where it was copied to; it is taken out
    of the count.
    """
    counts: list[int] = []
    model = toy.Net()

    def count() -> None:
        counts.append(HostReads.count)
        model.follow()

    settings = TrainSettings(steps=9, batch_size=8, accumulate=2, log_every=100, save_every=100)
    with HostReads():
        toy.train(tmp_path / "run", settings=settings, model=model, after_step=count)
        assert torch.ones(1).item() == 1 and HostReads.count > counts[-1]  # the counter counts
    assert counts[1:-1] == [counts[1]] * (len(counts) - 2)


def test_the_share_of_waiting(tmp_path: Path, toy: ModuleType) -> None:
    result = toy.train(tmp_path / "run", batches=toy.slowly(0.02))
    assert 0.5 < result.data_wait < 1
    assert result.images_per_s == pytest.approx(12 * 8 / result.seconds)


def test_the_loop_closes_its_batches(tmp_path: Path, toy: ModuleType) -> None:
    closed: list[bool] = []

    def batches(start: int) -> Iterator[Any]:
        try:
            yield from toy.batches(start)
        finally:
            closed.append(True)

    toy.train(tmp_path / "run", batches=batches)
    assert closed == [True]


def test_a_device_that_is_not_there(
    tmp_path: Path, toy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with RunFolder.create(tmp_path / "run") as run, pytest.raises(PlaceError, match="PL-E007"):
        fit(
            TrainingJob(
                toy.Net(),
                toy.loss,
                toy.batches,
                settings=TrainSettings(),
                optim=OptimSettings(),
                run=run,
                config={},
                device="cuda",
            )
        )
