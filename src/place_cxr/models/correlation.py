"""Correlation exploration (CCE): which patches of an image belong together, given the report."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from place_cxr.core.settings import Settings
from place_cxr.core.tensors import l2_normalize
from place_cxr.models.attention import Attention, grid_positions
from place_cxr.models.image import FeatureSpec


class CorrelationSettings(Settings):
    """The proxy task's head and target. The paper's values are not public; see docs/decisions."""

    # of the report-conditioning block [ours: 0.8 % of the encoders at ViT-B]
    width: int = Field(256, ge=1, le=16384)
    heads: int = Field(4, ge=1, le=200)  # [ours]
    out: int = Field(64, ge=1, le=16384)  # E, low on purpose: a wide head could copy [ours]
    # [ours] no target is better: docs/benchmark-phantom.md
    target: Literal["teacher", "pixels", "shallow"] = "teacher"
    # Of the teacher, an exponential moving average of the image encoder [ours].
    momentum: float = 0.99


class PatchCorrelation(nn.Module):
    """Patch tokens read the report's tokens. A small head maps them to vectors whose Gram matrix is
    the predicted correlation.
    """

    def __init__(self, settings: CorrelationSettings, spec: FeatureSpec, text_width: int) -> None:
        super().__init__()
        width = settings.width
        self.patches = nn.Sequential(nn.LayerNorm(spec.local), nn.Linear(spec.local, width))
        self.register_buffer("positions", grid_positions(*spec.grid, width), persistent=False)
        self.report = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, width))
        self.norm = nn.LayerNorm(width)
        self.read = Attention(width, settings.heads)
        self.head = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, settings.out, bias=False),
        )

    def forward(
        self,
        local: Float[Tensor, "B P C"],
        states: Float[Tensor, "B L C2"],
        mask: Bool[Tensor, "B L"],
    ) -> Float[Tensor, "B P E"]:
        """Centered patch vectors of unit length, conditioned on the report."""
        batch = len(local)
        x = (self.patches(local) + self.positions).flatten(0, 1)

        # The residual keeps the patch itself. What the report adds comes by cross-attention.
        x = x + self.read(self.norm(x), self.report(states.flatten(0, 1)), batch, mask)

        return correlation_vectors(self.head(x).unflatten(0, (batch, -1)))


def correlation_vectors(tokens: Float[Tensor, "B P C"]) -> Float[Tensor, "B P C"]:
    """Vectors centered over the patches of each image and scaled to unit length. Their inner
    products are then correlations.
    """
    # In full precision: the mean of many patches is close to each of them.
    tokens = tokens.float()

    return l2_normalize(tokens - tokens.mean(1, keepdim=True), eps=1e-6)


def pixel_patches(clean: Float[Tensor, "B 1 H W"], grid: tuple[int, int]) -> Float[Tensor, "B P F"]:
    """The raw pixels of each patch of the grid."""
    # Pixels at the right and lower edge that fill no whole patch are cut off.
    rows, columns = grid
    height, width = clean.shape[-2] // rows, clean.shape[-1] // columns
    cut = clean[:, 0, : rows * height, : columns * width]

    patches = cut.unflatten(1, (rows, height)).unflatten(3, (columns, width)).transpose(2, 3)

    return patches.flatten(1, 2).flatten(2)


def pooled_map(features: Float[Tensor, "B C H W"], grid: tuple[int, int]) -> Float[Tensor, "B P C"]:
    """A finer map averaged onto the grid."""
    return F.adaptive_avg_pool2d(features, grid).flatten(2).transpose(1, 2)
