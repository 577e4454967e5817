"""The settings of a training, and the record of all that `training.loop.fit` needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from place_cxr.core.settings import Settings
from place_cxr.training.checkpoint import Checkpoint
from place_cxr.training.optim import OptimSettings
from place_cxr.training.run_folder import RunFolder

LossFunction = Callable[[nn.Module, Any, int], tuple[Tensor, dict[str, Tensor]]]


class TrainSettings(Settings):
    """How long, how much at once, how often to log and to save."""

    steps: int = Field(1000, ge=1, description="updates in all")
    batch_size: int = Field(
        32, ge=2, description="rows of one update, over all processes and micro batches"
    )
    accumulate: int = Field(
        1, ge=1, description="micro batches per update; each is contrasted only with itself"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="of the arithmetic; weights stay fp32"
    )
    log_every: int = Field(10, ge=1, description="updates between two records")
    save_every: int = Field(500, ge=1, description="updates between two checkpoints")
    keep: int = Field(2, ge=1, description="newest checkpoints that stay")
    seed: int = Field(0, ge=0)
    max_bad_steps: int = Field(
        3, ge=1, description="steps without a finite gradient in a row before giving up"
    )

    @model_validator(mode="after")
    def _micro_batches(self) -> TrainSettings:
        if self.batch_size % self.accumulate or self.batch_size // self.accumulate < 2:
            raise ValueError(
                f"batch_size must split into {self.accumulate} equal micro batches of two rows or "
                f"more"
            )
        return self


def _stay(batch: Any, device: torch.device) -> Any:
    return batch


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """All that `training.loop.fit` needs to train one model.

    ``loss(model, batch, step)`` returns a scalar to minimize and its parts for the log, all on the
    device. It is called under autocast when the precision is bf16. ``batches(n)`` iterates without
    end over the micro batches of this process from the n-th on. ``move`` brings one micro batch to
    the device.

    ``after_step`` runs after each update, for example to update a moving average. What it keeps
    must be part of ``model.state_dict()``, as all that must survive a stop.

    ``config`` is plain JSON and is saved with the weights, as are ``extra_files`` (relative name ->
    content). ``on_start`` runs once, when nothing can be refused any more: it writes what describes
    the run. ``resume`` is the checkpoint to continue from. ``stop_at`` ends the call at that step,
    with a checkpoint. ``device`` is auto, cpu or cuda.
    """

    model: nn.Module
    loss: LossFunction
    batches: Callable[[int], Iterator[Any]]
    settings: TrainSettings
    optim: OptimSettings
    run: RunFolder
    config: Mapping[str, Any]
    extra_files: Mapping[str, bytes] = field(default_factory=dict)
    move: Callable[[Any, torch.device], Any] = _stay
    after_step: Callable[[], None] | None = None
    on_start: Callable[[], None] | None = None
    resume: Checkpoint | None = None
    stop_at: int | None = None
    device: str = "auto"
