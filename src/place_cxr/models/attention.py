"""The one cross-attention block that queries, sentences and patches use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention from [B, Q, W] to [B, N, W]; fused, unless the caller wants to see where it looked."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self, x: Float[Tensor, "B Q W"], memory: Float[Tensor, "B N W"], mask: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B Q W"]:
        """What ``x`` reads from ``memory``; False in ``mask`` hides a position."""
        key, value = self.key_value(memory).chunk(2, dim=-1)
        visible = None if mask is None else mask[:, None, None, :]
        read = F.scaled_dot_product_attention(self._split(self.query(x)), self._split(key), self._split(value), visible)
        return self.out(read.transpose(1, 2).flatten(2))

    def with_map(
        self, x: Float[Tensor, "B Q W"], memory: Float[Tensor, "B N W"]
    ) -> tuple[Float[Tensor, "B Q W"], Float[Tensor, "B Q N"]]:
        """As ``forward``, and the attention averaged over heads (rows sum to 1)."""
        key, value = self.key_value(memory).chunk(2, dim=-1)
        query = self._split(self.query(x))
        weight = (query @ self._split(key).transpose(-2, -1) * query.shape[-1] ** -0.5).float().softmax(-1)
        read = weight.to(value.dtype) @ self._split(value)
        return self.out(read.transpose(1, 2).flatten(2)), weight.mean(1)


class DecoderBlock(nn.Module):
    """Self-attention among queries, cross-attention to a memory, MLP; pre-norm, residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_self, self.self_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_cross, self.cross_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, x: Float[Tensor, "B Q W"], memory: Float[Tensor, "B N W"]
    ) -> tuple[Float[Tensor, "B Q W"], Float[Tensor, "B Q N"]]:
        """The refined queries and where they looked in ``memory``."""
        normed = self.norm_self(x)
        x = x + self.self_attention(normed, normed)
        read, attention = self.cross_attention.with_map(self.norm_cross(x), memory)
        x = x + read
        return x + self.mlp(self.norm_mlp(x)), attention


def grid_positions(rows: int, columns: int, width: int) -> Float[Tensor, "P W"]:
    """Fixed sine-cosine code of a patch's row and column: reports name sides and zones, so place must be readable."""
    quarter = max(width // 4, 1)
    frequency = 1.0 / 100 ** (torch.arange(quarter) / quarter)
    row = torch.linspace(0, 8, rows)[:, None] * frequency
    column = torch.linspace(0, 8, columns)[:, None] * frequency
    row, column = row[:, None].expand(-1, columns, -1), column[None].expand(rows, -1, -1)
    code = torch.cat([row.sin(), row.cos(), column.sin(), column.cos()], dim=-1).flatten(0, 1)
    return F.pad(code, (0, width - code.shape[-1]))
