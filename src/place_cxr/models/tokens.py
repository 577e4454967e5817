"""Patches and words one by one in a shared space: what the token-wise peers compare. PLACE itself
has no use for it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from place_cxr.core.settings import Settings
from place_cxr.core.tensors import Features, TokenOutputs, Tokens
from place_cxr.models.image import FeatureSpec


class TokenSettings(Settings):
    """How a patch or word comes into the shared space."""

    hidden: int = (
        0  # width between two layers as in MGCA (2048 there); 0: one linear layer as in GLoRIA
    )


class TokenProjection(nn.Module):
    """The projections of patches and words."""

    def __init__(
        self, settings: TokenSettings, spec: FeatureSpec, text_width: int, shared: int
    ) -> None:
        super().__init__()
        self.patches = _projection(spec.local, settings.hidden, shared)
        self.words = _projection(text_width, settings.hidden, shared)

    def forward(self, image: Features, text: Features, tokens: Tokens) -> TokenOutputs:
        """Both encoders' local features, projected; ``text`` was asked for its attention."""
        assert text.attention is not None
        states, attention, mask = text.local, text.attention, tokens.mask
        if tokens.continues is not None:
            states, mask = (
                whole_words(states, tokens.continues),
                whole_words_mask(mask, tokens.continues),
            )
            attention = whole_words(attention[..., None], tokens.continues).squeeze(-1)

        patches: Float[Tensor, "B P D"] = self.patches(image.local).float()

        return TokenOutputs(patches, self.words(states).float(), mask, attention, image.attention)


def whole_words(
    values: Float[Tensor, "B L C"], continues: Bool[Tensor, "B L"]
) -> Float[Tensor, "B L C"]:
    """The pieces of each word summed, word after word from the first place on; zero behind, as
    where padded.
    """
    word = (~continues).cumsum(1) - 1
    position = torch.arange(values.shape[1], device=values.device)
    with torch.autocast(values.device.type, enabled=False):  # attentions are not rounded
        return (word[:, None, :] == position[:, None]).to(values.dtype) @ values


def whole_words_mask(
    mask: Bool[Tensor, "B L"], continues: Bool[Tensor, "B L"]
) -> Bool[Tensor, "B L"]:
    """True in as many places as there are words."""
    count = (mask & ~continues).sum(1, keepdim=True)
    return torch.arange(mask.shape[1], device=mask.device) < count


def _projection(width: int, hidden: int, shared: int) -> nn.Module:
    """As VPOE's, or as the instance vectors': without batch statistics."""
    if not hidden:
        return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, shared))
    return nn.Sequential(
        nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, shared)
    )
