"""Train a head with the loop of pre-training; the weights that are best on validation are kept."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from place_cxr.tasks.task import HeadSettings, HeadTask, RowIndices, TargetFunction
from place_cxr.training.job import TrainingJob, TrainSettings
from place_cxr.training.loop import fit
from place_cxr.training.optim import OptimSettings
from place_cxr.training.run_folder import RunFolder

# Validation images of one check: enough for a choice, and few beside the training steps.
_MAX_VAL_IMAGES = 256
_BATCH_SIZE = 64
# Rows -> features of a frozen encoder, or images.
InputFunction = Callable[[RowIndices], Any]


@dataclass(frozen=True, slots=True)
class HeadBatch:
    """A batch: rows of the source, the inputs of the head, and the targets of the loss."""

    row: Tensor
    inputs: Any
    targets: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class HeadDataset:
    """Rows to train or validate on, and how a batch of them is made."""

    rows: RowIndices
    inputs: InputFunction
    targets: TargetFunction

    def make_batch(self, rows: RowIndices) -> HeadBatch:
        """A batch of these rows of the source."""
        return HeadBatch(torch.from_numpy(rows), self.inputs(rows), self.targets(rows))

    def whole(self) -> tuple[Any, dict[str, Tensor]]:
        """Inputs and targets of all rows."""
        return self.inputs(self.rows), self.targets(self.rows)

    def batches(self, size: int, seed: int) -> Callable[[int], Iterator[HeadBatch]]:
        """A function from n to the endless batches from the n-th on.

        Rows are shuffled for each pass; the order depends on ``seed`` and the pass alone.
        """

        def order(start: int) -> Iterator[int]:
            count = len(self.rows)
            for epoch in range(start // count, 2**62):
                permutation = np.random.default_rng([seed, epoch]).permutation(count)
                yield from permutation[
                    start - epoch * count if epoch == start // count else 0 :
                ].tolist()

        def begin(first: int) -> Iterator[HeadBatch]:
            positions = order(first * size)
            while True:
                yield self.make_batch(self.rows[[next(positions) for _ in range(size)]])

        return begin


def train_head(
    task: HeadTask,
    head_model: nn.Module,
    train: HeadDataset,
    val: HeadDataset,
    *,
    seed: int,
    device: torch.device,
    folder: Path,
) -> None:
    """Train ``head_model``; it ends in evaluation mode, with the weights of lowest validation loss.

    The loop uses a folder inside ``folder``, which is removed afterwards. Raises PlaceError as
    `training.loop.fit` does.
    """
    settings: HeadSettings = task.settings
    size = max(2, min(settings.batch_size, len(train.rows)))
    steps_per_epoch = math.ceil(len(train.rows) / size)
    steps = settings.epochs * steps_per_epoch or settings.steps
    check_every = steps_per_epoch if settings.epochs else math.ceil(steps / settings.checks)
    best = _BestWeights(task, head_model, val, device, check_every, settings.patience)

    def loss(model: nn.Module, batch: HeadBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return task.loss(model(batch.inputs), batch.targets), {}

    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=".teaching-") as work_folder,
        RunFolder.create(work_folder) as run,
    ):
        job = TrainingJob(
            head_model,
            loss,
            train.batches(size, seed),
            settings=TrainSettings(
                steps=steps,
                batch_size=size,
                seed=seed,
                log_every=max(1, steps // 4),
                save_every=steps,
                keep=1,
            ),
            optim=OptimSettings(
                linear=settings.linear,
                lr=settings.lr,
                min_lr=min(settings.min_lr, settings.lr),
                warmup=settings.warmup,
                weight_decay=settings.weight_decay,
            ),
            run=run,
            config={"task": type(task).__name__},
            move=batch_to_device,
            after_step=best.step,
            device=device.type,
        )
        fit(job)

    best.look()
    head_model.load_state_dict(best.state)
    head_model.eval()


def batch_to_device(batch: HeadBatch, device: torch.device) -> HeadBatch:
    """The same batch on ``device``."""
    inputs = batch.inputs
    if isinstance(inputs, Tensor):
        inputs = inputs.to(device)
    else:
        levels = [level.to(device) for level in inputs.levels]
        inputs = type(inputs).from_levels(inputs.pooled.to(device), levels)

    targets = {name: value.to(device) for name, value in batch.targets.items()}

    return HeadBatch(batch.row, inputs, targets)


@torch.no_grad()
def predict_batches(
    head_model: nn.Module, inputs: InputFunction, rows: RowIndices, device: torch.device
) -> Iterator[tuple[RowIndices, Any]]:
    """(rows, prediction), batch by batch, in evaluation mode."""
    head_model.to(device).eval()
    for start in range(0, len(rows), _BATCH_SIZE):
        batch_rows = rows[start : start + _BATCH_SIZE]
        yield (
            batch_rows,
            head_model(
                batch_to_device(
                    HeadBatch(torch.from_numpy(batch_rows), inputs(batch_rows), {}), device
                ).inputs
            ),
        )


class _BestWeights:
    """Keeps the weights of the lowest validation loss, which is computed every so many steps."""

    def __init__(
        self,
        task: HeadTask,
        head_model: nn.Module,
        val: HeadDataset,
        device: torch.device,
        check_every: int,
        patience: int,
    ) -> None:
        self.state: dict[str, Tensor] = {}
        self._task, self._head_model, self._device, self._every, self._patience = (
            task,
            head_model,
            device,
            check_every,
            patience,
        )
        order = np.random.default_rng(0).permutation(len(val.rows))[:_MAX_VAL_IMAGES]
        self._val, self._rows = val, val.rows[np.sort(order)]
        self._lowest, self._stale, self._steps, self._last_check = math.inf, 0, 0, -1

    def step(self) -> None:
        self._steps += 1
        if self._steps % self._every == 0:
            self.look()

    @torch.no_grad()
    def look(self) -> None:
        if self._last_check == self._steps or (self._patience and self._stale >= self._patience):
            return
        self._last_check = self._steps
        self._head_model.eval()
        total = 0.0

        for start in range(0, len(self._rows), _BATCH_SIZE):
            batch = batch_to_device(
                self._val.make_batch(self._rows[start : start + _BATCH_SIZE]), self._device
            )
            total += float(self._task.loss(self._head_model(batch.inputs), batch.targets)) * len(
                batch.row
            )

        self._head_model.train()
        self._stale += 1
        if total < self._lowest or not self.state:
            self._lowest, self._stale = total, 0
            self.state = {
                name: value.detach().clone()
                for name, value in self._head_model.state_dict().items()
            }
