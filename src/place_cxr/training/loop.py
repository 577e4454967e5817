"""The only training loop: micro batches -> loss -> one update, resumable to the bit, unharmed by a
bad step.

The loop has never heard of PLACE: it is given a model, a function that yields a loss, and batches.
Nothing in a step waits for the device: the numbers of a step are looked at one step later, means
only when they are logged.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from place_cxr.core import distributed
from place_cxr.core.errors import PlaceError
from place_cxr.training.job import TrainingJob, TrainSettings
from place_cxr.training.log import MetricsLog, ProgressBar
from place_cxr.training.optim import learning_rate, rollback_tensors
from place_cxr.training.state import TrainState
from place_cxr.training.watch import (
    BadStepRollback,
    DelayedReadback,
    StepNumbers,
    ThroughputClock,
    catch_signals,
    seed_step,
    sync_step_flags,
)

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
    data_wait: float  # share of the time that was spent waiting for batches
    bad_steps: int


class TrainingStopped(SystemExit):
    """Training saved and stopped because a signal asked for it: code 130 after SIGINT, 143 after
    SIGTERM or SIGUSR1.

    A ``SystemExit``, so that a program which lets it pass ends with that code and without a
    traceback.
    """

    def __init__(self, code: int, path: Path, step: int) -> None:
        super().__init__(code)
        self.path, self.step = path, step


def create_accelerator(device: str = "auto") -> Any:
    """The `accelerate.Accelerator` of this process: its device, and the process group that a
    launcher announced.

    ``device`` is auto, cpu or cuda. Call it before anything asks for the rank; later calls give the
    same group. Raises PlaceError PL-E007 where there is no such device.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    if device == "cuda" and not torch.cuda.is_available():
        raise PlaceError(
            "there is no usable CUDA device",
            code="PL-E007",
            fix="use --device cpu, or see place doctor",
        )
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision="no",  # autocast is the loop's own, so that one process can train in both precisions
        kwargs_handlers=[
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
            InitProcessGroupKwargs(timeout=timedelta(minutes=10)),
        ],
    )


def fit(job: TrainingJob) -> FitResult:
    """Train ``job.model`` to ``job.settings.steps`` updates and leave a checkpoint in ``job.run``.

    Randomness inside a step depends on (seed, step, micro batch, rank) alone, so a resumed run
    equals one that was never stopped. A step whose loss or gradient is not finite on any rank
    changes neither weights nor moments.

    Raises PlaceError: PL-G001 too many bad steps in a row, PL-E009 out of memory, PL-E005 the disk
    refuses, PL-R110 a ``resume`` of other settings, PL-R111 ranks that disagree. Raises
    `TrainingStopped` after a signal, once it has saved.
    """
    accelerator = create_accelerator(job.device)
    state = TrainState(job, accelerator.device)
    if job.resume is not None:
        state.resume(job.resume)

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


def _train(
    job: TrainingJob, state: TrainState, accelerator: Any, stream: Iterator[Any]
) -> FitResult:
    settings, run, device = job.settings, job.run, state.device
    single_process = distributed.world_size() == 1
    wrapped = accelerator.prepare_model(state.model)
    end = min(settings.steps, job.stop_at or settings.steps)
    metrics = MetricsLog(run.path, step=state.step) if run.main else None
    clock, readback = ThroughputClock(state.step, settings.batch_size), DelayedReadback()
    rollback = BadStepRollback(state.model, rollback_tensors(state.optimizers))
    means: dict[str, float] = {}
    stop = 0
    with (
        catch_signals() as stop_request,
        ProgressBar(settings.steps, start=state.step, show=run.main) as progress,
    ):
        run.status("running", state.step)
        while state.step < end:
            step, lr = state.step, learning_rate(state.step, settings.steps, job.optim)
            micro_losses: list[dict[str, Tensor]] = []
            rows: list[Tensor] = []
            for micro in range(settings.accumulate):
                with clock.waiting():
                    batch = next(stream)
                if isinstance(row := getattr(batch, "row", None), Tensor):
                    rows.append(row)
                batch = job.move(batch, device)
                seed_step(settings.seed, step, micro, distributed.rank())
                last = micro == settings.accumulate - 1
                with contextlib.nullcontext() if last else accelerator.no_sync(wrapped):
                    with torch.autocast(
                        device.type, torch.bfloat16, enabled=settings.precision == "bf16"
                    ):
                        value, parts = job.loss(wrapped, batch, step)
                    (value / settings.accumulate).backward()
                micro_losses.append(
                    {name: part.detach() for name, part in {"loss": value, **parts}.items()}
                )

            norm = nn.utils.clip_grad_norm_(state.parameters, job.optim.clip_norm)
            total = torch.stack([numbers["loss"].float() for numbers in micro_losses]).mean()
            bad, code = sync_step_flags(total + norm, stop_request.code)
            _update(state.optimizers, lr, bad)
            rollback.rollback_if_bad(bad)
            if job.after_step is not None:
                job.after_step()
            state.running_means.add(micro_losses, norm, bad)
            state.step += 1

            recording = state.step % settings.log_every == 0 or state.step == settings.steps
            saving = state.step % settings.save_every == 0 or state.step == end
            sent = StepNumbers(step, lr, tuple(rows))
            arrived = [readback.swap(sent, torch.stack([total, norm.float(), bad, code]))]
            if recording or saving:  # both wait for the device anyway
                arrived.append(readback.take())
            for numbers in arrived:
                state.judge(numbers)
            # Several ranks stop at the step of which all have heard that one of them was asked to.
            stop = (
                stop_request.code
                if single_process
                else max((numbers.stop for numbers in arrived if numbers is not None), default=0)
            )
            if recording:
                means = state.running_means.read()
                record = {"step": state.step, "lr": lr, **means, **clock.lap(state.step)}
                if metrics is not None:
                    metrics.write(record | {"bad_steps": state.bad_steps})
                progress.update(state.step, _line(record))
            else:
                progress.update(state.step)
            if saving or stop:
                state.save()
            state.saver.check()
            if stop:
                break
        path = state.save()
        state.saver.wait()
        accelerator.wait_for_everyone()
        if stop := stop or stop_request.code:
            run.status("interrupted", state.step)
            if run.main:
                _log.info(
                    "stopped and saved at step %d of %d; --resume auto goes on",
                    state.step,
                    settings.steps,
                )
            raise TrainingStopped(stop, path, state.step)
    rates = clock.total(state.step)
    return FitResult(
        state.step, state.step >= settings.steps, path, means, **rates, bad_steps=state.bad_steps
    )


def _update(optimizers: Sequence[torch.optim.Optimizer], lr: float, bad: Tensor) -> None:
    """One step; where ``bad`` is 1, fused AdamW leaves all as it is, and `BadStepRollback` takes
    back what others did.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.found_inf = bad  # type: ignore[attr-defined]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _line(record: Mapping[str, float]) -> str:
    loss = f"loss {record['loss']:.4f}, " if "loss" in record else ""
    return (
        f"{loss}{record['images_per_s']:.0f} images/s, {record['data_wait']:.0%} waiting for data"
    )


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(
        error
    )


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
