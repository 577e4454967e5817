"""Single patches and words in a shared space, which GLoRIA and MGCA compare. PLACE does not use
it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from place_cxr.core.settings import Settings
from place_cxr.core.tensors import Features, TokenOutputs, Tokens
from place_cxr.models.image import FeatureSpec


class TokenSettings(Settings):
    """How a patch or word is projected into the shared space."""

    # Width between two layers as in MGCA (2048 there); 0: one linear layer as in GLoRIA.
    hidden: int = Field(0, ge=0, le=16384)


class TokenProjection(nn.Module):
    """The projections of patches and words."""

    def __init__(
        self, settings: TokenSettings, spec: FeatureSpec, text_width: int, shared: int
    ) -> None:
        super().__init__()
        self.patches = _projection(spec.local, settings.hidden, shared)
        self.words = _projection(text_width, settings.hidden, shared)

    def forward(self, image: Features, text: Features, tokens: Tokens) -> TokenOutputs:
        """Local features of both encoders, projected. ``text`` must hold its attention."""
        assert text.attention is not None
        states, attention, mask = text.local, text.attention, tokens.mask

        # Tokens of one word are added up, as in GLoRIA and MGCA.
        if tokens.continues is not None:
            states = whole_words(states, tokens.continues)
            mask = whole_words_mask(mask, tokens.continues)
            attention = whole_words(attention[..., None], tokens.continues).squeeze(-1)

        patches: Float[Tensor, "B P D"] = self.patches(image.local).float()

        return TokenOutputs(patches, self.words(states).float(), mask, attention, image.attention)


def whole_words(
    values: Float[Tensor, "B L C"], continues: Bool[Tensor, "B L"]
) -> Float[Tensor, "B L C"]:
    """The tokens of each word summed. Words stand one after another from the first position on;
    zeros follow them.
    """
    word = (~continues).cumsum(1) - 1
    position = torch.arange(values.shape[1], device=values.device)

    # A product with a 0-1 matrix [B, words, tokens]. Without autocast: attentions are not rounded.
    with torch.autocast(values.device.type, enabled=False):
        return (word[:, None, :] == position[:, None]).to(values.dtype) @ values


def whole_words_mask(
    mask: Bool[Tensor, "B L"], continues: Bool[Tensor, "B L"]
) -> Bool[Tensor, "B L"]:
    """True at as many positions as there are words."""
    count = (mask & ~continues).sum(1, keepdim=True)
    return torch.arange(mask.shape[1], device=mask.device) < count


def _projection(width: int, hidden: int, shared: int) -> nn.Module:
    """One linear layer, or an MLP; without batch statistics."""
    if not hidden:
        return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, shared))
    return nn.Sequential(
        nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, shared)
    )
