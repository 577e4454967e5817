"""Teaching a head with the one loop: batches in, the weights that were best on validation images out."""

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

from place_cxr.models.image import ImagePyramid
from place_cxr.tasks.task import HeadSettings, HeadTask, Rows, Truth
from place_cxr.training.loop import TrainSettings, fit
from place_cxr.training.optim import OptimSettings
from place_cxr.training.run_folder import RunFolder

_LOOKED_AT = 256  # validation images of one look
_AT_ONCE = 64
Inputs = Callable[[Rows], Any]  # rows -> Seen, or pictures


@dataclass(frozen=True, slots=True)
class Lesson:
    """A batch: rows of the source, what the learner sees of them, and what is true."""

    row: Tensor
    inputs: Any
    truth: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Material:
    """Rows to learn from, and how a batch of them is made."""

    rows: Rows
    inputs: Inputs
    truth: Truth

    def lesson(self, rows: Rows) -> Lesson:
        """A batch of these rows of the source."""
        return Lesson(torch.from_numpy(rows), self.inputs(rows), self.truth(rows))

    def whole(self) -> tuple[Any, dict[str, Tensor]]:
        """All of it at once: what is seen, and what is true."""
        return self.inputs(self.rows), self.truth(self.rows)

    def batches(self, size: int, seed: int) -> Callable[[int], Iterator[Lesson]]:
        """Batches without end from the n-th on: shuffled passes, one after the other, functions of the seed alone."""

        def order(start: int) -> Iterator[int]:
            count = len(self.rows)
            for epoch in range(start // count, 2**62):
                passed = np.random.default_rng([seed, epoch]).permutation(count)
                yield from passed[start - epoch * count if epoch == start // count else 0 :].tolist()

        def begin(first: int) -> Iterator[Lesson]:
            places = order(first * size)
            while True:
                yield self.lesson(self.rows[[next(places) for _ in range(size)]])

        return begin


def teach(
    task: HeadTask, learner: nn.Module, train: Material, val: Material, *, seed: int, device: torch.device, folder: Path
) -> None:
    """Train ``learner`` and leave it with the weights of the lowest validation loss, in evaluation mode.

    The loop works in a folder inside ``folder`` that is gone afterwards. Raises PlaceError as `training.loop.fit` does.
    """
    wanted: HeadSettings = task.settings
    size = max(2, min(wanted.batch_size, len(train.rows)))
    each = math.ceil(len(train.rows) / size)
    steps = wanted.epochs * each or wanted.steps
    every = each if wanted.epochs else math.ceil(steps / wanted.checks)
    best = _Best(task, learner, val, device, every, wanted.patience)

    def loss(model: nn.Module, lesson: Lesson, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return task.loss(model(lesson.inputs), lesson.truth), {}

    with tempfile.TemporaryDirectory(dir=folder, prefix=".teaching-") as place, RunFolder.create(place) as run:
        fit(
            learner,
            loss,
            train.batches(size, seed),
            settings=TrainSettings(
                steps=steps, batch_size=size, seed=seed, log_every=max(1, steps // 4), save_every=steps, keep=1
            ),
            optim=OptimSettings(
                linear=wanted.linear,
                lr=wanted.lr,
                min_lr=min(wanted.min_lr, wanted.lr),
                warmup=wanted.warmup,
                weight_decay=wanted.weight_decay,
            ),
            run=run,
            config={"task": type(task).__name__},
            move=moved,
            after_step=best.step,
            device=device.type,
        )
    best.look()
    learner.load_state_dict(best.state)
    learner.eval()


def moved(lesson: Lesson, device: torch.device) -> Lesson:
    """The same batch on ``device``."""
    seen = lesson.inputs
    if isinstance(seen, ImagePyramid):
        seen = ImagePyramid(seen.pooled.to(device), tuple(found.to(device) for found in seen.maps))
    else:
        seen = seen.to(device)
    return Lesson(lesson.row, seen, {name: value.to(device) for name, value in lesson.truth.items()})


@torch.no_grad()
def predictions(learner: nn.Module, inputs: Inputs, rows: Rows, device: torch.device) -> Iterator[tuple[Rows, Any]]:
    """(rows, prediction), batch by batch, in evaluation mode."""
    learner.to(device).eval()
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        yield part, learner(moved(Lesson(torch.from_numpy(part), inputs(part), {}), device).inputs)


class _Best:
    """Looks at the validation loss now and then, and keeps the weights of the lowest."""

    def __init__(
        self, task: HeadTask, learner: nn.Module, val: Material, device: torch.device, every: int, patience: int
    ) -> None:
        self.state: dict[str, Tensor] = {}
        self._task, self._learner, self._device, self._every, self._patience = task, learner, device, every, patience
        order = np.random.default_rng(0).permutation(len(val.rows))[:_LOOKED_AT]
        self._val, self._rows = val, val.rows[np.sort(order)]
        self._lowest, self._stale, self._steps, self._looked = math.inf, 0, 0, -1

    def step(self) -> None:
        self._steps += 1
        if self._steps % self._every == 0:
            self.look()

    @torch.no_grad()
    def look(self) -> None:
        if self._looked == self._steps or (self._patience and self._stale >= self._patience):
            return
        self._looked = self._steps
        self._learner.eval()
        total = 0.0
        for start in range(0, len(self._rows), _AT_ONCE):
            lesson = moved(self._val.lesson(self._rows[start : start + _AT_ONCE]), self._device)
            total += float(self._task.loss(self._learner(lesson.inputs), lesson.truth)) * len(lesson.row)
        self._learner.train()
        self._stale += 1
        if total < self._lowest or not self.state:
            self._lowest, self._stale = total, 0
            self.state = {name: value.detach().clone() for name, value in self._learner.state_dict().items()}
