"""Observations: what visual queries see in patches (V-PORs), what sentences state in tokens (T-PORs)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from place_cxr.models.attention import DecoderBlock, grid_positions
from place_cxr.models.image import FeatureSpec
from place_cxr.settings import Settings
from place_cxr.tensors import Features, Observations, Tokens, unit


class ObservationSettings(Settings):
    """The Visual Pathology Observation Extractor's shape. The paper's values are not public."""

    queries: int = 16  # K [ours]
    layers: int = 1  # decoder blocks [ours]
    width: int = 256  # [ours]
    heads: int = 8  # [ours]


class VisualObserver(nn.Module):
    """VPOE: K learned queries read the patch tokens through decoder blocks."""

    def __init__(self, settings: ObservationSettings, spec: FeatureSpec, shared: int) -> None:
        super().__init__()
        width = settings.width
        self.memory = nn.Sequential(nn.LayerNorm(spec.local), nn.Linear(spec.local, width))
        self.register_buffer("positions", grid_positions(*spec.grid, width), persistent=False)
        self.queries = nn.Parameter(torch.randn(settings.queries, width))
        self.blocks = nn.ModuleList(DecoderBlock(width, settings.heads) for _ in range(settings.layers))
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, shared))

    def forward(self, features: Features) -> tuple[Observations, Float[Tensor, "B K P"]]:
        """V-PORs [B, K, D] of unit length, and where each query looked in the last block (rows sum to 1)."""
        batch = len(features.local)
        memory = (self.memory(features.local) + self.positions).flatten(0, 1)
        x, attention = self.queries.repeat(batch, 1), memory
        for block in self.blocks:
            x, attention = block(x, memory, batch)
        vectors = unit(self.project(x).float()).unflatten(0, (batch, -1))
        return Observations(vectors, torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)), attention


class SentencePool(nn.Module):
    """One T-POR per sentence: attention pooling over the states of its tokens."""

    def __init__(self, width: int, shared: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, shared))

    def forward(self, states: Float[Tensor, "B L C"], tokens: Tokens) -> Observations:
        """T-PORs [B, S, D] of unit length; sentences were encoded in the context of their report."""
        numbers = torch.arange(tokens.sentence_key.shape[1], device=states.device)
        belongs = tokens.sentence[:, None, :] == numbers[:, None]  # [B, S, L]
        score = self.score(states).transpose(1, 2).float().masked_fill(~belongs, -1e4)
        weight = score.softmax(-1) * belongs
        vectors = unit(self.project(torch.bmm(weight.to(states.dtype), states)).float())
        return Observations(vectors, tokens.sentence_mask & belongs.any(-1))
