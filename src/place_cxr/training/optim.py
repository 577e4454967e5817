"""The optimizers, the learning-rate curve, and the optimizers' state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import Settings


class OptimSettings(Settings):
    """AdamW, or Muon for the weights of linear layers, with a linear warm-up and a cosine decay.

    Muon (torch.optim.Muon) steps by the gradient's momentum made orthogonal, scaled so that AdamW's
    rate and decay fit (arXiv 2502.16982).
    """

    linear: Literal["adamw", "muon"] = Field(
        "adamw", description="what steps the weights of linear layers [MGCA]"
    )
    lr: float = Field(2e-5, gt=0, description="peak learning rate [MGCA]")
    min_lr: float = Field(1e-8, ge=0, description="learning rate of the last step [MGCA]")
    warmup: float = Field(
        0.05, ge=0, lt=1, description="share of all steps that the rise to the peak takes [ours]"
    )
    weight_decay: float = Field(0.05, ge=0, description="on matrices only [MGCA]")
    betas: tuple[float, float] = Field(
        (0.9, 0.999), description="decay of the running mean and square [AdamW]"
    )
    clip_norm: float = Field(
        1.0, gt=0, description="largest norm of the whole gradient; inf: never clip [ours]"
    )

    @model_validator(mode="after")
    def _ordered(self) -> OptimSettings:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g} is above lr {self.lr:g}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        return self


def learning_rate(step: int, total: int, settings: OptimSettings) -> float:
    """The rate of update ``step``, 0 <= step < total.

    It rises in equal parts to ``lr``, which the last warm-up step has, then follows half a cosine
    to ``min_lr``, which the last step of all has.
    """
    rise = min(round(settings.warmup * total), total - 1)
    if step < rise:
        return settings.lr * (step + 1) / rise
    progress = min(1.0, (step + 1 - rise) / (total - rise))
    return settings.min_lr + (settings.lr - settings.min_lr) * 0.5 * (
        1 + math.cos(math.pi * progress)
    )


def build_optimizers(model: nn.Module, settings: OptimSettings) -> list[torch.optim.Optimizer]:
    """Fused AdamW over what requires a gradient, in the order of names; before it Muon, where the
    settings ask for it.

    Weights with one axis or none do not decay: they are biases, norms and learned scales, which
    decay would pull to zero for no reason. Raises PlaceError PL-C003 when there is nothing to
    train.
    """
    trainable = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if not trainable:
        raise PlaceError(
            "the model has no weight that may be trained",
            code="PL-C003",
            fix="unfreeze a part of it",
        )
    optimizers: list[torch.optim.Optimizer] = []
    if settings.linear == "muon":
        layers = {
            f"{name}.weight".lstrip(".")
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear)
        }
        linear = [(name, value) for name, value in trainable.items() if name in layers]
        trainable = {name: value for name, value in trainable.items() if name not in layers}
        if linear:
            optimizers.append(_muon(linear, settings))
    matrices = [(name, value) for name, value in trainable.items() if value.ndim >= 2]
    vectors = [(name, value) for name, value in trainable.items() if value.ndim < 2]
    groups = [g for g in ((matrices, settings.weight_decay), (vectors, 0.0)) if g[0]]
    if groups:
        tables = [{"params": params, "weight_decay": decay} for params, decay in groups]
        optimizers.append(
            torch.optim.AdamW(tables, lr=settings.lr, betas=settings.betas, fused=True)
        )
    return optimizers


def _muon(linear: list[tuple[str, nn.Parameter]], settings: OptimSettings) -> torch.optim.Muon:
    muon = torch.optim.Muon(
        linear, lr=settings.lr, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    for _, value in linear:  # there from the start, so that a bad first step can be taken back
        muon.state[value]["momentum_buffer"] = torch.zeros_like(value)
    return muon


class BadStepRollback:
    """Undoes what a bad step changed although it was left out.

    Fused AdamW leaves out a bad step by itself. The running statistics of norm layers and the
    weights and momenta of Muon do not; this class keeps a copy of them.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._live: list[Tensor] = []
        for module in model.modules():
            if hasattr(module, "running_mean"):
                self._live += module.buffers(recurse=False)

        for optimizer in optimizers:
            if isinstance(optimizer, torch.optim.Muon):
                for _, value in _named_parameters([optimizer]):
                    self._live += [value.detach(), optimizer.state[value]["momentum_buffer"]]

        self._backup = [tensor.clone() for tensor in self._live]

    @torch.no_grad()
    def rollback_if_bad(self, bad: Tensor) -> None:
        """After a step: restore the copy where ``bad`` is 1, else renew it. Nothing waits."""
        for live, backup in zip(self._live, self._backup, strict=True):
            live.copy_(torch.where(bad > 0, backup, live))
            backup.copy_(live)


def _named_parameters(
    optimizers: Sequence[torch.optim.Optimizer],
) -> Iterator[tuple[str, nn.Parameter]]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield from zip(group["param_names"], group["params"], strict=True)


def _state(
    optimizers: Sequence[torch.optim.Optimizer], parameter: nn.Parameter
) -> dict[str, Tensor]:
    return next((o.state[parameter] for o in optimizers if parameter in o.state), {})


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The running moments, as ``<weight name>/<moment>``; AdamW has none before the first step."""
    return {
        f"{name}/{key}": value
        for name, parameter in _named_parameters(optimizers)
        for key, value in _state(optimizers, parameter).items()
    }


def restore_optimizers(
    optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave, each laid out as its weight is: the fused step pairs
    them by address.

    Raises PlaceError PL-R109 when a moment is missing, left over, or of another shape.
    """
    keys = {
        name: ("momentum_buffer",)
        if isinstance(optimizer, torch.optim.Muon)
        else ("step", "exp_avg", "exp_avg_sq")
        for optimizer in optimizers
        for name, _ in _named_parameters([optimizer])
    }
    expected = {
        f"{name}/{key}": () if key == "step" else tuple(parameter.shape)
        for name, parameter in _named_parameters(optimizers)
        for key in keys[name]
    }
    actual = {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = [name for name in {**expected, **actual} if expected.get(name) != actual.get(name)]
    if actual and wrong:
        raise PlaceError(
            f"the optimizer state is of another model; first differences: {', '.join(wrong[:5])}",
            code="PL-R109",
            fix="resume with the config of the run, or start a new one with --init-from",
        )
    for optimizer in optimizers if actual else ():
        for name, parameter in _named_parameters([optimizer]):
            for key in keys[name]:
                saved = tensors[f"{name}/{key}"]
                like = saved if key == "step" else torch.empty_like(parameter, dtype=saved.dtype)
                optimizer.state[parameter][key] = like.to(parameter.device, copy=True).copy_(saved)
