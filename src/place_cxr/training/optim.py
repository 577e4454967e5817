"""AdamW, the learning-rate curve, and the optimizer's state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from place_cxr.errors import PlaceError
from place_cxr.settings import Settings


class OptimSettings(Settings):
    """AdamW with a linear warm-up and a cosine decay."""

    lr: float = Field(2e-5, gt=0, description="peak learning rate [MGCA]")
    min_lr: float = Field(1e-8, ge=0, description="learning rate of the last step [MGCA]")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of all steps that the rise to the peak takes [ours]")
    weight_decay: float = Field(0.05, ge=0, description="on matrices only [MGCA]")
    betas: tuple[float, float] = Field((0.9, 0.999), description="decay of the running mean and square [AdamW]")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the whole gradient; inf: never clip [ours]")

    @model_validator(mode="after")
    def _ordered(self) -> OptimSettings:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g} is above lr {self.lr:g}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        return self


def learning_rate(step: int, total: int, settings: OptimSettings) -> float:
    """The rate of update ``step``, 0 <= step < total.

    It rises in equal parts to ``lr``, which the last warm-up step has, then follows half a cosine to ``min_lr``, which
    the last step of all has.
    """
    rise = min(round(settings.warmup * total), total - 1)
    if step < rise:
        return settings.lr * (step + 1) / rise
    done = min(1.0, (step + 1 - rise) / (total - rise))
    return settings.min_lr + (settings.lr - settings.min_lr) * 0.5 * (1 + math.cos(math.pi * done))


def build_optimizer(
    parameters: nn.Module | Iterable[tuple[str, nn.Parameter]], settings: OptimSettings
) -> torch.optim.AdamW:
    """Fused AdamW over what requires a gradient, in the order of names; vectors and numbers do not decay.

    Weights with one axis or none are biases, norms and learned scales: decay would pull them to zero for no reason.
    Raises PlaceError PL-C003 when there is nothing to train.
    """
    named = parameters.named_parameters() if isinstance(parameters, nn.Module) else parameters
    trained = [(name, value) for name, value in named if value.requires_grad]
    if not trained:
        raise PlaceError("the model has no weight that may be trained", code="PL-C003", fix="unfreeze a part of it")
    matrices = [(name, value) for name, value in trained if value.ndim >= 2]
    vectors = [(name, value) for name, value in trained if value.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.lr, betas=settings.betas, fused=True)


def _named(optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    return {
        name: value
        for group in optimizer.param_groups
        for name, value in zip(group["param_names"], group["params"], strict=True)
    }


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The running moments, as ``<weight name>/<moment>``; empty before the first step."""
    return {
        f"{name}/{key}": value
        for name, parameter in _named(optimizer).items()
        for key, value in optimizer.state[parameter].items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, each laid out as its weight is: the fused step pairs them by address.

    Raises PlaceError PL-R109 when a moment is missing, left over, or of another shape.
    """
    named = _named(optimizer)
    keys = ("step", "exp_avg", "exp_avg_sq")
    expected = {f"{name}/{key}": () if key == "step" else tuple(p.shape) for name, p in named.items() for key in keys}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if found and wrong:
        raise PlaceError(
            f"the optimizer state is of another model; first differences: {', '.join(wrong[:5])}",
            code="PL-R109",
            fix="resume with the config of the run, or start a new one with --init-from",
        )
    for name, parameter in named.items() if found else ():
        saved = {key: tensors[f"{name}/{key}"] for key in keys}
        moments = {key: torch.empty_like(parameter, dtype=saved[key].dtype).copy_(saved[key]) for key in keys[1:]}
        optimizer.state[parameter] = {"step": saved["step"].to(parameter.device, copy=True), **moments}
