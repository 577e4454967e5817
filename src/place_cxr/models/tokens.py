"""Patches and words one by one in a shared space: what the token-wise peers compare. PLACE itself has no use for it."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from place_cxr.models.image import FeatureSpec
from place_cxr.settings import Settings
from place_cxr.tensors import Features, TokenOutputs


class TokenSettings(Settings):
    """How a patch or word comes into the shared space."""

    hidden: int = 0  # width between two layers as in MGCA (2048 there); 0: one linear layer as in GLoRIA


class TokenProjection(nn.Module):
    """The projections of patches and words."""

    def __init__(self, settings: TokenSettings, spec: FeatureSpec, text_width: int, shared: int) -> None:
        super().__init__()
        self.patches = _projection(spec.local, settings.hidden, shared)
        self.words = _projection(text_width, settings.hidden, shared)

    def forward(self, image: Features, text: Features, mask: Bool[Tensor, "B L"]) -> TokenOutputs:
        """Both encoders' local features, projected; ``text`` was asked for its attention."""
        patches: Float[Tensor, "B P D"] = self.patches(image.local).float()
        words: Float[Tensor, "B L D"] = self.words(text.local).float()
        assert text.attention is not None
        return TokenOutputs(patches, words, mask, text.attention, image.attention)


def _projection(width: int, hidden: int, shared: int) -> nn.Module:
    """As VPOE's, or as the instance vectors': without batch statistics."""
    if not hidden:
        return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, shared))
    return nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, shared))
