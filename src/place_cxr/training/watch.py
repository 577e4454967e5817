"""What the loop keeps an eye on without waiting for the device: numbers, bad steps, spikes,
signals, time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from place_cxr.core import distributed

_EXIT_CODES = {
    signal.SIGINT: 130,
    signal.SIGTERM: 143,
    signal.SIGUSR1: 143,
}  # USR1: a scheduler's warning before the end


def seed_step(seed: int, step: int, micro: int, rank: int) -> None:
    """Seed torch for one micro batch from these four numbers alone, well mixed (splitmix64)."""
    mixed = 0
    for number in (seed, step, micro, rank):
        mixed = (mixed + number + 0x9E3779B97F4A7C15) % 2**64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    torch.manual_seed(mixed >> 1)


def sync_step_flags(total: Tensor, code: int) -> Tensor:
    """[2] on the device: 1 if ``total`` is not finite on any rank, and the largest ``code`` of any
    rank.
    """
    flags = torch.stack(
        [(~torch.isfinite(total)).float(), torch.full_like(total, code, dtype=torch.float32)]
    )
    if distributed.world_size() > 1:
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return flags


class RunningMeans:
    """Means over the good steps since the last record, summed on the device; part of a checkpoint.

    Steps may differ in the parts they report: each set of names has its own sums.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], Tensor] = {}

    def add(self, micro_batches: Sequence[Mapping[str, Tensor]], norm: Tensor, bad: Tensor) -> None:
        """One step: a mapping of names to numbers per micro batch, the gradient's norm, and whether
        it was bad.
        """
        names = (*micro_batches[0], "grad_norm")
        rows = torch.stack(
            [
                torch.stack([*(row[name].float() for name in micro_batches[0]), norm.float()])
                for row in micro_batches
            ]
        )
        entry = torch.cat([torch.ones_like(rows[0, :1]), rows.mean(0)])
        entry = torch.where(bad > 0, torch.zeros_like(entry), entry)
        self._sums[names] = self._sums[names] + entry if names in self._sums else entry

    def read(self) -> dict[str, float]:
        """The means over all ranks, and start anew. Waits for the device."""
        totals: dict[str, list[float]] = {}
        for names, sums in self._sums.items():
            if distributed.world_size() > 1:
                dist.all_reduce(sums)
            count, *values = sums.tolist()
            for name, value in zip(names, values, strict=True):
                total = totals.setdefault(name, [0.0, 0.0])
                total[0] += value
                total[1] += count
        self._sums = {}
        return {name: value / count for name, (value, count) in totals.items() if count}

    def state(self) -> tuple[list[list[str]], dict[str, Tensor]]:
        """The names as JSON and the sums as tensors, for a checkpoint."""
        return [list(names) for names in self._sums], {
            f"tally/{i}": v for i, v in enumerate(self._sums.values())
        }

    def restore(
        self, names: Sequence[Sequence[str]], tensors: Mapping[str, Tensor], device: torch.device
    ) -> None:
        """Put back what `state` gave."""
        self._sums = {
            tuple(group): tensors[f"tally/{i}"].to(device) for i, group in enumerate(names)
        }


@dataclass(frozen=True, slots=True)
class StepNumbers:
    """One step as the host learns of it: update number, rate, rows used, loss, gradient norm, and
    two flags.
    """

    step: int
    lr: float
    rows: tuple[Tensor, ...]
    loss: float = 0.0
    norm: float = 0.0
    bad: bool = False
    stop: int = 0


class DelayedReadback:
    """Brings the numbers of a step to the host one step late, so that the device never runs dry."""

    def __init__(self) -> None:
        self._sent: tuple[StepNumbers, Tensor, Any] | None = None

    def swap(self, numbers: StepNumbers, values: Tensor) -> StepNumbers | None:
        """Send [loss, norm, bad, stop] of this step; get the step before's, if it was not taken."""
        previous, copied = self.take(), None
        if values.is_cuda:
            values, source = torch.empty(values.shape, dtype=values.dtype, pin_memory=True), values
            values.copy_(source, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self._sent = numbers, values, copied
        return previous

    def take(self) -> StepNumbers | None:
        """What was sent last and has not been taken; waits for it."""
        if self._sent is None:
            return None
        (numbers, values, copied), self._sent = self._sent, None
        if copied is not None:
            copied.synchronize()
        loss, norm, bad, stop = values.tolist()
        return StepNumbers(numbers.step, numbers.lr, numbers.rows, loss, norm, bool(bad), int(stop))


class BadStepRollback:
    """Takes back what a bad step did to the running statistics of norms, and to ``tensors``
    likewise.
    """

    def __init__(self, model: nn.Module, tensors: Sequence[Tensor] = ()) -> None:
        norms = [module for module in model.modules() if hasattr(module, "running_mean")]
        self._live = [*(b for norm in norms for b in norm.buffers(recurse=False)), *tensors]
        self._backup = [b.clone() for b in self._live]

    @torch.no_grad()
    def rollback_if_bad(self, bad: Tensor) -> None:
        """After a step: go back if it was bad, else remember."""
        for live, backup in zip(self._live, self._backup, strict=True):
            live.copy_(torch.where(bad > 0, backup, live))
            backup.copy_(live)


class SpikeDetector:
    """Says when a loss is more than six median absolute deviations above the median of the last
    hundred.
    """

    def __init__(self, window: int = 100, min_losses: int = 30, deviations: float = 6.0) -> None:
        self._last: deque[float] = deque(maxlen=window)
        self._min_losses, self._deviations, self._muted_steps = min_losses, deviations, 0

    def is_spike(self, loss: float) -> bool:
        """Whether this loss is a spike; once per window at most."""
        spike = False
        if len(self._last) >= self._min_losses and self._muted_steps == 0:
            middle = statistics.median(self._last)
            spread = statistics.median(abs(value - middle) for value in self._last)
            # A floor for a loss that has come to rest, whose spread is rounding.
            spike = loss - middle > self._deviations * max(spread, 1e-3 * abs(middle), 1e-12)
        self._muted_steps = self._last.maxlen or 0 if spike else max(0, self._muted_steps - 1)
        self._last.append(loss)
        return spike


@dataclass(slots=True)
class StopRequest:
    """The exit code that a signal asks for; 0 while none came."""

    code: int = 0


@contextlib.contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Note SIGINT, SIGTERM and SIGUSR1 instead of dying of them; the second one ends the process at
    once.

    Ending at once harms nothing: whatever is being saved has a temporary name. Handlers are put
    back afterwards, and left alone outside the main thread, where Python allows none.
    """
    stop_request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop_request.code:
            os._exit(_EXIT_CODES[signal.Signals(number)])
        stop_request.code = _EXIT_CODES[signal.Signals(number)]

    if threading.current_thread() is not threading.main_thread():
        yield stop_request
        return
    before = {number: signal.signal(number, handle) for number in _EXIT_CODES}
    try:
        yield stop_request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class ThroughputClock:
    """Rates of training by the monotonic clock: images per second, and the share of time spent
    waiting for data.
    """

    def __init__(self, step: int, batch_size: int) -> None:
        self._batch = batch_size
        self._first = self._mark = (time.monotonic(), step, 0.0)
        self._waited = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent in here is waiting for data."""
        begun = time.monotonic()
        yield
        self._waited += time.monotonic() - begun

    def lap(self, step: int) -> dict[str, float]:
        """The rates since the last lap."""
        mark, self._mark = self._mark, (time.monotonic(), step, self._waited)
        return self._rates(mark, self._mark)

    def total(self, step: int) -> dict[str, float]:
        """The rates since the start, and ``seconds``."""
        now = (time.monotonic(), step, self._waited)
        return self._rates(self._first, now) | {"seconds": now[0] - self._first[0]}

    def _rates(
        self, start: tuple[float, int, float], end: tuple[float, int, float]
    ) -> dict[str, float]:
        seconds = max(end[0] - start[0], 1e-9)
        images = (end[1] - start[1]) * self._batch
        return {"images_per_s": images / seconds, "data_wait": (end[2] - start[2]) / seconds}
