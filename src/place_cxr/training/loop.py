"""The only training loop: micro batches -> loss -> one update.

A resumed run equals an uninterrupted one to the bit, and a bad step changes nothing. The loop knows
nothing of PLACE: it receives a model, a loss function and batches. Nothing in a step waits for the
device: the host reads the numbers of a step one step later, and means only when they are logged.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from place_cxr.core import distributed
from place_cxr.core.errors import PlaceError
from place_cxr.core.random import counter_seed
from place_cxr.training.job import TrainingJob, TrainSettings
from place_cxr.training.log import MetricsLog, ProgressBar, ThroughputClock
from place_cxr.training.optim import BadStepRollback, learning_rate
from place_cxr.training.readback import DelayedReadback, StepNumbers, sync_step_flags
from place_cxr.training.run_folder import is_finished
from place_cxr.training.signals import StopRequest, catch_signals
from place_cxr.training.state import TrainState

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FitResult:
    """Where training ended. ``means`` are those of the last record, rates those of this call."""

    step: int
    finished: bool
    checkpoint: Path
    means: dict[str, float]
    seconds: float
    images_per_s: float
    data_wait: float  # fraction of the time that was spent waiting for batches
    bad_steps: int


class TrainingStopped(SystemExit):
    """A signal asked training to stop, and it has saved.

    ``code`` is 130 after SIGINT, 143 after SIGTERM, SIGUSR1 or SIGHUP. It is a ``SystemExit``: a
    program that does not catch it ends with that code and without a traceback.
    """

    def __init__(self, code: int, path: Path, step: int) -> None:
        super().__init__(code)
        self.path, self.step = path, step


def create_accelerator(device: str = "auto") -> Any:
    """The `accelerate.Accelerator` of this process: its device and its process group.

    ``device`` is auto, cpu or cuda. The group is the one that a launcher announced in the
    environment. Call this function before anything asks for the rank; later calls return the same
    group. Raises PlaceError PL-E007 if there is no such device.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    if device == "cuda" and not torch.cuda.is_available():
        raise PlaceError(
            "there is no usable CUDA device",
            code="PL-E007",
            fix="use --device cpu, or see place doctor",
        )

    # The loop does its own autocast, so that one process can train in both precisions.
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision="no",
        kwargs_handlers=[
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
            InitProcessGroupKwargs(timeout=timedelta(minutes=10)),
        ],
    )


def fit(job: TrainingJob) -> FitResult:
    """Train ``job.model`` to ``job.settings.steps`` updates and leave a checkpoint in ``job.run``.

    Randomness inside a step depends on (seed, step, micro batch, rank) alone, so a resumed run
    equals one that was never stopped. Resuming a finished run at its last step changes none of its
    files. A step whose loss or gradient is not finite on any rank
    changes neither weights nor moments.

    Raises PlaceError: PL-G001 too many bad steps in a row, PL-E009 out of memory, PL-E005 the disk
    refuses, PL-R005 the run's folder was moved or replaced, PL-R110 a ``resume`` of other settings,
    PL-R111 ranks that disagree. Raises `TrainingStopped` after a signal, once it has saved.
    """
    accelerator = create_accelerator(job.device)
    # Before `prepare_model`: weights must be on the device and restored when DDP wraps them.
    state = TrainState(job, accelerator.device)
    if job.resume is not None:
        state.resume(job.resume)
        if (finished := _finished_before(job, state)) is not None:
            return finished
    if job.on_start is not None:
        job.on_start()

    stream = job.batches(state.step * job.settings.accumulate)
    try:
        result = _train(job, state, accelerator, stream)
    except (MemoryError, RuntimeError) as error:
        if _is_out_of_memory(error):
            raise _out_of_memory(state, job.settings) from error
        raise
    finally:
        state.saver.join()
        if hasattr(stream, "close"):  # a generator may own a thread
            stream.close()

    job.run.status("finished" if result.finished else "interrupted", result.step)
    return result


def _finished_before(job: TrainingJob, state: TrainState) -> FitResult | None:
    """The result of a run that is resumed at its last step, where nothing is left to do."""
    # A checkpoint of another run, or a last step without "finished", has still to be recorded.
    if state.saved is None or state.step < job.settings.steps or not is_finished(job.run.path):
        return None

    if job.run.main:
        _log.info("finished before, at step %d: nothing to do", state.step)
    return FitResult(state.step, True, state.saved, {}, 0.0, 0.0, 0.0, state.bad_steps)


def _train(
    job: TrainingJob, state: TrainState, accelerator: Any, stream: Iterator[Any]
) -> FitResult:
    settings, run = job.settings, job.run
    end = min(settings.steps, job.stop_at or settings.steps)
    updater = _Updater(job, state, accelerator)
    readback = DelayedReadback()
    recorder = _Recorder(job, state, updater.clock)
    stop = 0

    with catch_signals() as stop_request, recorder.progress:
        run.status("running", state.step)

        while state.step < end:
            numbers, values = updater.update(stream, stop_request)
            # Before anything of this step is written.
            run.check()
            is_recorded = state.step % settings.log_every == 0 or state.step == settings.steps
            is_saved = state.step % settings.save_every == 0 or state.step == end

            # The host reads a step's numbers one step late. Recording and saving wait for the
            # device anyway, so they read this step's as well.
            read = [readback.swap(numbers, values)]
            if is_recorded or is_saved:
                read.append(readback.take())
            for step_numbers in read:
                state.judge(step_numbers)

            stop = _agreed_stop_code(stop_request, read)
            if is_recorded:
                recorder.record(numbers.lr)
            else:
                recorder.progress.update(state.step)
            if is_saved or stop:
                state.save()
            # A save that failed must end the training now, not hours later.
            state.saver.check()
            if stop:
                break

        # Does nothing where this step was saved above.
        path = state.save()
        state.saver.wait()
        accelerator.wait_for_everyone()
        if stop := stop or stop_request.code:
            _stop(stop, path, state, settings)

    return FitResult(
        state.step,
        state.step >= settings.steps,
        path,
        recorder.means,
        **updater.clock.total(state.step),
        bad_steps=state.bad_steps,
    )


class _Updater:
    """Takes one update at a time: micro batches -> gradient -> clipped step."""

    def __init__(self, job: TrainingJob, state: TrainState, accelerator: Any) -> None:
        self._job, self._state, self._accelerator = job, state, accelerator
        self._model = accelerator.prepare_model(state.model)
        self._rollback = BadStepRollback(state.model, state.optimizers)
        self.clock = ThroughputClock(state.step, job.settings.batch_size)

    def update(
        self, stream: Iterator[Any], stop_request: StopRequest
    ) -> tuple[StepNumbers, Tensor]:
        """What the host knows of the step, and [loss, gradient norm, bad, stop] on the device."""
        job, state = self._job, self._state
        lr = learning_rate(state.step, job.settings.steps, job.optim)
        micro_losses, rows = self._accumulate_gradient(stream)

        # The norm before clipping. It is not finite if any gradient is not.
        norm = nn.utils.clip_grad_norm_(state.parameters, job.optim.clip_norm)
        loss = torch.stack([losses["loss"].float() for losses in micro_losses]).mean()
        bad, code = sync_step_flags(loss + norm, stop_request.code)

        _step_optimizers(state.optimizers, lr, bad)
        self._rollback.rollback_if_bad(bad)
        if job.after_step is not None:
            job.after_step()

        # Kept on the device: only `_Recorder.record` reads the sums.
        state.running_means.add(micro_losses, norm, bad)
        numbers = StepNumbers(state.step, lr, tuple(rows))
        state.step += 1
        return numbers, torch.stack([loss, norm.float(), bad, code])

    def _accumulate_gradient(
        self, stream: Iterator[Any]
    ) -> tuple[list[dict[str, Tensor]], list[Tensor]]:
        """The mean gradient of all micro batches; their losses and parts, and their rows."""
        settings, device, step = self._job.settings, self._state.device, self._state.step
        micro_losses: list[dict[str, Tensor]] = []
        rows: list[Tensor] = []

        for micro in range(settings.accumulate):
            with self.clock.waiting():
                batch = next(stream)
            if isinstance(row := getattr(batch, "row", None), Tensor):
                rows.append(row)
            batch = self._job.move(batch, device)

            seed_step(settings.seed, step, micro, distributed.rank())
            # Ranks exchange gradients once an update, after the last micro batch.
            is_last = micro == settings.accumulate - 1
            with contextlib.nullcontext() if is_last else self._accelerator.no_sync(self._model):
                with torch.autocast(
                    device.type, torch.bfloat16, enabled=settings.precision == "bf16"
                ):
                    loss, parts = self._job.loss(self._model, batch, step)
                (loss / settings.accumulate).backward()

            losses = {"loss": loss, **parts}
            micro_losses.append({name: value.detach() for name, value in losses.items()})

        return micro_losses, rows


def seed_step(seed: int, step: int, micro: int, rank: int) -> None:
    """Seed torch for one micro batch from these four numbers alone."""
    # torch takes 63 bits.
    torch.manual_seed(counter_seed(seed, step, micro, rank) >> 1)


def _step_optimizers(optimizers: Sequence[torch.optim.Optimizer], lr: float, bad: Tensor) -> None:
    """One step of each at rate ``lr``; fused AdamW leaves it out where ``bad`` is 1."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
        # The name that torch.amp.GradScaler uses. Fused AdamW reads it on the device.
        optimizer.found_inf = bad  # type: ignore[attr-defined]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


class _Recorder:
    """Writes the means of the steps to the metrics log and moves the progress bar."""

    def __init__(self, job: TrainingJob, state: TrainState, clock: ThroughputClock) -> None:
        self.means: dict[str, float] = {}
        self._state, self._clock = state, clock
        self._metrics = MetricsLog(job.run.path, step=state.step) if job.run.main else None
        self.progress = ProgressBar(job.settings.steps, start=state.step, show=job.run.main)

    def record(self, lr: float) -> None:
        """Read the means since the last record, which waits for the device; write and show them."""
        step = self._state.step
        self.means = self._state.running_means.read()
        record = {"step": step, "lr": lr, **self.means, **self._clock.lap(step)}

        if self._metrics is not None:
            self._metrics.write(record | {"bad_steps": self._state.bad_steps})
        self.progress.update(step, _progress_text(record))


def _progress_text(record: Mapping[str, float]) -> str:
    loss = f"loss {record['loss']:.4f}, " if "loss" in record else ""
    return (
        f"{loss}{record['images_per_s']:.0f} images/s, {record['data_wait']:.0%} waiting for data"
    )


def _agreed_stop_code(stop_request: StopRequest, read: Sequence[StepNumbers | None]) -> int:
    """The exit code to stop with, the same on every rank at the same step; 0 to go on."""
    if distributed.world_size() == 1:
        return stop_request.code

    # All ranks read the same largest code from the device, in the same step.
    return max((numbers.stop for numbers in read if numbers is not None), default=0)


def _stop(code: int, path: Path, state: TrainState, settings: TrainSettings) -> NoReturn:
    state.run.status("interrupted", state.step)
    if state.run.main:
        _log.info(
            "stopped and saved at step %d of %d; --resume auto goes on", state.step, settings.steps
        )
    raise TrainingStopped(code, path, state.step)


def _is_out_of_memory(error: BaseException) -> bool:
    # On the CPU, PyTorch raises a plain RuntimeError.
    is_torch_cpu_error = "allocate memory" in str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or is_torch_cpu_error


def _out_of_memory(state: TrainState, settings: TrainSettings) -> PlaceError:
    rows = settings.batch_size // settings.accumulate // distributed.world_size()
    peak = ""
    if state.device.type == "cuda":
        peak = f", peak {torch.cuda.max_memory_allocated(state.device) / 1e6:.0f} MB"

    return PlaceError(
        f"out of memory at step {state.step} with {rows} rows at once in "
        f"{settings.precision}{peak}",
        code="PL-E009",
        fix=f"use accumulate={2 * settings.accumulate}, a batch_size below {settings.batch_size}, "
        f"or smaller images",
    )
