"""Rank, number of processes, and gathering over them; without torch.distributed, one process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """The number of this process; 0 where there is one process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Gather(torch.autograd.Function):
    """Concatenate along the first axis over ranks.

    Every rank then computes the same loss of the whole batch. The gradient that a rank gets is the
    sum over ranks, cut to its own rows; DDP averages the W equal sums of the weights, which gives
    the gradient of that loss.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor) -> Tensor:
        ctx.rows = value.shape[0]  # type: ignore[attr-defined]
        return gather(value)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous()
        dist.all_reduce(total)

        # Ranks hold equally many rows, in rank order.
        start = rank() * ctx.rows  # type: ignore[attr-defined]
        return total[start : start + ctx.rows]  # type: ignore[attr-defined]


def gather(value: Tensor) -> Tensor:
    """[B, ...] of every rank as [G, ...], in rank order, without gradient; all ranks hold the same
    shape.
    """
    if world_size() == 1:
        return value

    parts = [torch.empty_like(value) for _ in range(world_size())]
    dist.all_gather(parts, value.contiguous())
    return torch.cat(parts)


def average_over_ranks(value: Tensor) -> Tensor:
    """The mean over ranks, without gradient; all ranks hold the same shape."""
    if world_size() == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / world_size()


def gather_with_gradient(value: Tensor) -> Tensor:
    """[B, ...] of every rank as [G, ...], in rank order; gradients flow back to the rank a row came
    from.
    """
    return value if world_size() == 1 else _Gather.apply(value)
