"""Attention blocks that the visual observer, the correlation head and the report decoder share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of Q queries to N memory rows in each of B images, both W wide.

    Queries are [B Q, W] and memory is [B N, W]: linear layers run on flat rows.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "BQ W"],
        memory: Float[Tensor, "BN W"],
        batch: int,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "BQ W"]:
        """What ``x`` reads from ``memory``; False in ``mask`` hides a position."""
        # Queries [B, heads, Q, W / heads]; keys and values of one linear layer likewise.
        query = self.query(x).view(batch, -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)
        key_value = self.key_value(memory).view(batch, -1, 2, *query.shape[1::2])
        key, value = key_value.permute(2, 0, 3, 1, 4).unbind()

        visible = None if mask is None else mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(query, key, value, visible)

        return self.out(attended.transpose(1, 2).reshape(-1, self.out.in_features))


class DecoderBlock(nn.Module):
    """Self-attention among queries, cross-attention to a memory, MLP; pre-norm, residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_self, self.self_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_cross, self.cross_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(
        self, x: Float[Tensor, "BQ W"], memory: Float[Tensor, "BN W"], batch: int
    ) -> Float[Tensor, "BQ W"]:
        """The queries of each image after they read its memory."""
        normed = self.norm_self(x)
        x = x + self.self_attention(normed, normed, batch)
        x = x + self.cross_attention(self.norm_cross(x), memory, batch)

        return x + self.mlp(self.norm_mlp(x))


def grid_positions(rows: int, columns: int, width: int) -> Float[Tensor, "P W"]:
    """Fixed sine-cosine code of each patch's row and column. Reports name sides and zones, so the
    position of a patch must be readable.
    """
    # A quarter of the channels each for sine and cosine of row and column.
    quarter = max(width // 4, 1)
    frequency = 1.0 / 100 ** (torch.arange(quarter) / quarter)
    row = torch.linspace(0, 8, rows)[:, None] * frequency
    column = torch.linspace(0, 8, columns)[:, None] * frequency

    row, column = row[:, None].expand(-1, columns, -1), column[None].expand(rows, -1, -1)
    code = torch.cat([row.sin(), row.cos(), column.sin(), column.cos()], dim=-1).flatten(0, 1)

    return F.pad(code, (0, width - code.shape[-1]))
