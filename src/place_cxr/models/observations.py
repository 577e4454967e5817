"""Observations: vectors of what an image shows (V-PORs) and of what a report states (T-PORs)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from place_cxr.core.distributed import average_over_ranks
from place_cxr.core.settings import Settings
from place_cxr.core.tensors import Features, Observations, Tokens, l2_normalize
from place_cxr.models.attention import DecoderBlock, grid_positions
from place_cxr.models.image import FeatureSpec


class ObservationSettings(Settings):
    """The Visual Pathology Observation Extractor's shape. The paper's values are not public."""

    queries: int = Field(16, ge=1, le=4096)  # K [ours]
    layers: int = Field(1, ge=1, le=200)  # decoder blocks [ours]
    width: int = Field(256, ge=1, le=16384)  # [ours]
    heads: int = Field(8, ge=1, le=200)  # [ours]


class SubtractRunningMean(nn.Module):
    """Subtracts at each patch the mean over training images. What remains is what is unusual there.

    The mean is a running mean over earlier batches of all ranks, so the output of an image does not
    depend on its batch.
    """

    running_mean: Tensor

    def __init__(self, *shape: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(shape))

    def forward(self, x: Float[Tensor, "B P D"]) -> Float[Tensor, "B P D"]:
        """``x`` minus the running mean, which is updated in training mode."""
        centered = x - self.running_mean

        # Updated behind the subtraction, so that a batch is never centered by its own mean.
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(average_over_ranks(x.float().mean(0)), self.momentum)

        return centered


class VisualObserver(nn.Module):
    """VPOE: K learned queries read the patch tokens through decoder blocks."""

    def __init__(self, settings: ObservationSettings, spec: FeatureSpec, shared: int) -> None:
        super().__init__()
        width = settings.width
        self.memory = nn.Sequential(nn.LayerNorm(spec.local), nn.Linear(spec.local, width))
        self.positions: Tensor
        self.register_buffer("positions", grid_positions(*spec.grid, width), persistent=False)
        self.queries = nn.Parameter(torch.randn(settings.queries, width))
        self.blocks = nn.ModuleList(
            DecoderBlock(width, settings.heads) for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(width)
        # No bias: softmax over keys and the running mean of values would cancel it.
        self.key_value = nn.Linear(width, width + shared, bias=False)
        self.usual = SubtractRunningMean(spec.grid[0] * spec.grid[1], shared)

    def forward(
        self, features: Features
    ) -> tuple[Observations, Float[Tensor, "B K P"], Float[Tensor, "B P D"]]:
        """V-PORs [B, K, D] of unit length, the attention of each query to the patches [B, K, P]
        (rows sum to 1), and the patch vectors [B, P, D].

        A V-POR is the attention-weighted sum of patch vectors. So its agreement with a phrase is a
        sum over patches, and grounding can show it.
        """
        batch, patches, width = len(features.local), *self.positions.shape
        memory = (self.memory(features.local) + self.positions).flatten(0, 1)
        x = self.queries.repeat(batch, 1)
        for block in self.blocks:
            x = block(x, memory, batch)

        # Keys are as wide as the queries, values as wide as the shared space.
        key_value = self.key_value(memory).view(batch, patches, -1)
        key, value = key_value.split((width, key_value.shape[-1] - width), -1)
        patch_vectors = self.usual(value)

        # One head, so that a query has one map. The softmax is in full precision.
        score = torch.bmm(self.norm(x).view(batch, -1, width), key.transpose(1, 2))
        attention = (score.float() * width**-0.5).softmax(-1)
        vectors = l2_normalize(torch.bmm(attention.to(patch_vectors.dtype), patch_vectors).float())
        mask = torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)

        return Observations(vectors, mask), attention, patch_vectors.float()


class SentencePool(nn.Module):
    """One T-POR per sentence: attention pooling over the states of its tokens."""

    def __init__(self, width: int, shared: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)  # softmax would cancel a bias
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, shared))

    def forward(self, states: Float[Tensor, "B L C"], tokens: Tokens) -> Observations:
        """T-PORs [B, S, D] of unit length. Tokens were encoded in the context of their report."""
        numbers = torch.arange(tokens.sentence_key.shape[1], device=states.device)
        belongs = tokens.sentence[:, None, :] == numbers[:, None]  # [B, S, L]

        # A large negative score instead of infinity: a padded sentence has no token, and its
        # softmax must stay finite. The product makes its weights 0.
        score = self.score(states).transpose(1, 2).float().masked_fill(~belongs, -1e4)
        weight = score.softmax(-1) * belongs
        vectors = l2_normalize(self.project(torch.bmm(weight.to(states.dtype), states)).float())

        return Observations(vectors, tokens.sentence_mask & belongs.any(-1))
