"""The numbers of a step, kept on the device and read by the host without making a step wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from place_cxr.core import distributed


def sync_step_flags(total: Tensor, code: int) -> Tensor:
    """[2] on the device: 1 if ``total`` is not finite on any rank, and the largest ``code``."""
    # One exchange for both, as a maximum over ranks.
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
        """Add one step: the scalars of each micro batch by name, the gradient's norm, and ``bad``.

        ``bad`` is 1 on the device for a step that does not count.
        """
        names = (*micro_batches[0], "grad_norm")
        rows = []
        for numbers in micro_batches:
            values = [numbers[name].float() for name in micro_batches[0]]
            rows.append(torch.stack([*values, norm.float()]))

        # [1 + names]: the count of steps, then the sums. A bad step adds zeros, without a wait.
        means = torch.stack(rows).mean(0)
        entry = torch.cat([torch.ones_like(means[:1]), means])
        entry = torch.where(bad > 0, torch.zeros_like(entry), entry)
        self._sums[names] = self._sums[names] + entry if names in self._sums else entry

    def read(self) -> dict[str, float]:
        """The means over all ranks; then all sums are zero again. Waits for the device."""
        totals: dict[str, list[float]] = {}
        for names, sums in self._sums.items():
            # Ranks have the same names in the same order, because they take the same steps.
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
        # "tally" is the name in checkpoints since version 0.1.0.
        names = [list(group) for group in self._sums]
        return names, {f"tally/{i}": sums for i, sums in enumerate(self._sums.values())}

    def restore(
        self, names: Sequence[Sequence[str]], tensors: Mapping[str, Tensor], device: torch.device
    ) -> None:
        """Restore what `state` returned."""
        self._sums = {
            tuple(group): tensors[f"tally/{i}"].to(device) for i, group in enumerate(names)
        }


@dataclass(frozen=True, slots=True)
class StepNumbers:
    """One step on the host. The last four fields are known once they were read from the device.

    ``rows`` are the rows of the dataset, one tensor per micro batch. ``stop`` is the exit code that
    a signal asked for, on any rank; 0 if none did.
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
        """Send [loss, norm, bad, stop] of a step; return the step before, if it was not taken."""
        previous, copied = self.take(), None

        # Pinned memory lets the copy run beside the computation; the event says when it is done.
        if values.is_cuda:
            values, source = torch.empty(values.shape, dtype=values.dtype, pin_memory=True), values
            values.copy_(source, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()

        self._sent = numbers, values, copied
        return previous

    def take(self) -> StepNumbers | None:
        """The numbers that were sent last and not yet taken; waits for them."""
        if self._sent is None:
            return None

        (numbers, values, copied), self._sent = self._sent, None
        if copied is not None:
            copied.synchronize()

        loss, norm, bad, stop = values.tolist()
        return StepNumbers(numbers.step, numbers.lr, numbers.rows, loss, norm, bool(bad), int(stop))
