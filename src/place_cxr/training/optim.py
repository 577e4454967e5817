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

    Muon (torch.optim.Muon) makes the momentum of the gradient orthogonal before a step. The step is
    scaled so that the rate and decay of AdamW fit (arXiv 2502.16982).
    """

    linear: Literal["adamw", "muon"] = Field(
        "adamw", description="what steps the weights of linear layers [MGCA]"
    )
    lr: float = Field(2e-5, gt=0, description="peak learning rate [MGCA]")
    min_lr: float = Field(1e-8, ge=0, description="learning rate of the last step [MGCA]")
    warmup: float = Field(
        0.05, ge=0, lt=1, description="fraction of all steps that the rise to the peak takes [ours]"
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

    It rises linearly to ``lr`` at the last warm-up step, then falls by half a cosine to ``min_lr``
    at the last step of all.
    """
    # At least the last step is not warm-up, so that the rate reaches `min_lr`.
    warmup_steps = min(round(settings.warmup * total), total - 1)
    if step < warmup_steps:
        return settings.lr * (step + 1) / warmup_steps

    progress = min(1.0, (step + 1 - warmup_steps) / (total - warmup_steps))
    decay = 0.5 * (1 + math.cos(math.pi * progress))  # from 1 to 0
    return settings.min_lr + (settings.lr - settings.min_lr) * decay


def build_optimizers(model: nn.Module, settings: OptimSettings) -> list[torch.optim.Optimizer]:
    """Fused AdamW over all parameters with a gradient; with ``linear: muon``, Muon before it.

    Raises PlaceError PL-C003 when there is nothing to train.
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
        linear_names = {
            f"{name}.weight".lstrip(".")  # a model that is one linear layer has the name ""
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear)
        }
        linear = [(name, value) for name, value in trainable.items() if name in linear_names]
        trainable = {name: value for name, value in trainable.items() if name not in linear_names}
        if linear:
            optimizers.append(_muon(linear, settings))

    # Weights with one axis or none do not decay: they are biases, norms and learned scales, which
    # decay would pull to zero for no reason.
    matrices = [(name, value) for name, value in trainable.items() if value.ndim >= 2]
    vectors = [(name, value) for name, value in trainable.items() if value.ndim < 2]
    groups = []
    for params, decay in ((matrices, settings.weight_decay), (vectors, 0.0)):
        if params:
            groups.append({"params": params, "weight_decay": decay})

    if groups:
        optimizers.append(
            torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)
        )
    return optimizers


def _muon(linear: list[tuple[str, nn.Parameter]], settings: OptimSettings) -> torch.optim.Muon:
    muon = torch.optim.Muon(
        linear, lr=settings.lr, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    # Muon makes its momenta at the first step. Made here, a bad first step can be undone as well.
    for _, value in linear:
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
                for _, value in _named_parameters(optimizer):
                    self._live += [value.detach(), optimizer.state[value]["momentum_buffer"]]

        self._backup = [tensor.clone() for tensor in self._live]

    @torch.no_grad()
    def rollback_if_bad(self, bad: Tensor) -> None:
        """After a step: restore the copy where ``bad`` is 1, else renew it. Nothing waits."""
        for live, backup in zip(self._live, self._backup, strict=True):
            # A choice on the device: an `if` on the host would wait for it.
            live.copy_(torch.where(bad > 0, backup, live))
            backup.copy_(live)


def _named_parameters(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, nn.Parameter]]:
    for group in optimizer.param_groups:
        yield from zip(group["param_names"], group["params"], strict=True)


def _moment_names(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    if isinstance(optimizer, torch.optim.Muon):
        return ("momentum_buffer",)
    return ("step", "exp_avg", "exp_avg_sq")


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The running moments, as ``<weight name>/<moment>``; AdamW has none before the first step."""
    tensors = {}
    for optimizer in optimizers:
        for name, parameter in _named_parameters(optimizer):
            # `get`, because indexing the state would create an entry.
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{name}/{key}"] = value
    return tensors


def restore_optimizers(
    optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> None:
    """Restore what `optimizer_tensors` returned.

    Raises PlaceError PL-R109 when a moment is missing, left over, or of another shape.
    """
    expected: dict[str, tuple[int, ...]] = {}
    for optimizer in optimizers:
        for name, parameter in _named_parameters(optimizer):
            for key in _moment_names(optimizer):
                expected[f"{name}/{key}"] = () if key == "step" else tuple(parameter.shape)

    actual = {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = [name for name in {**expected, **actual} if expected.get(name) != actual.get(name)]
    if actual and wrong:
        raise PlaceError(
            f"the optimizer state is of another model; first differences: {', '.join(wrong[:5])}",
            code="PL-R109",
            fix="resume with the config of the run, or start a new one with --init-from",
        )
    if not actual:  # saved before the first step
        return

    for optimizer in optimizers:
        for name, parameter in _named_parameters(optimizer):
            for key in _moment_names(optimizer):
                # The fused step walks a weight and its moments by address, so a moment must have
                # the memory layout of its weight.
                saved = tensors[f"{name}/{key}"]
                like = saved if key == "step" else torch.empty_like(parameter, dtype=saved.dtype)
                optimizer.state[parameter][key] = like.to(parameter.device, copy=True).copy_(saved)
