"""Random PlaceOutputs for loss tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from place_cxr.core.tensors import Correlation, Observations, PlaceOutputs, TokenOutputs


def unit(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random unit rows that carry gradient."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(
        torch.randn(*shape, generator=generator, dtype=dtype), dim=-1
    ).requires_grad_()


def normal(*shape: int, seed: int) -> Tensor:
    """Random rows of any length that carry gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def token_outputs(b: int, d: int, p: int, words: int = 6, seed: int = 0) -> TokenOutputs:
    """Reports of 3 to ``words`` tokens, the first and the last of them special; attentions that sum
    to 1.
    """
    mask = torch.arange(words)[None] < (torch.arange(b) % (words - 2) + 3)[:, None]
    looked = torch.rand(
        b, words + p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    word_attention = looked[:, :words] * mask
    return TokenOutputs(
        patches=normal(b, p, d, seed=seed + 1),
        words=normal(b, words, d, seed=seed + 2),
        mask=mask,
        word_attention=word_attention / word_attention.sum(-1, keepdim=True),
        patch_attention=looked[:, words:] / looked[:, words:].sum(-1, keepdim=True),
    )


def outputs(
    b: int = 5, k: int = 4, s: int = 3, d: int = 8, p: int = 9, seed: int = 0, **changes: object
) -> PlaceOutputs:
    """Reports of 1 to ``s`` sentences, all different, in float64."""
    length = torch.arange(b) % s + 1
    mask = torch.arange(s)[None] < length[:, None]
    key = (torch.arange(b * s).view(b, s) + 1) * mask
    image = changes.get("image")
    fields: dict[str, object] = {
        "image": unit(b, d, seed=seed),
        "text": unit(b, d, seed=seed + 1),
        "scale": torch.tensor(1 / 0.07, dtype=torch.float64, requires_grad=True),
        "visual": Observations(unit(b, k, d, seed=seed + 2), torch.ones(b, k, dtype=torch.bool)),
        "attention": torch.full((b, k, p), 1 / p, dtype=torch.float64),
        "textual": Observations(unit(b, s, d, seed=seed + 3), mask),
        "sentence_key": key,
        "report_key": torch.arange(b),
        "correlation": Correlation(
            unit(b, p, 6, seed=seed + 4), unit(b, p, 7, seed=seed + 5).detach()
        ),
        "tokens": token_outputs(b, d, p, seed=seed + 6),
        "prototypes": unit(12, image.shape[-1] if isinstance(image, Tensor) else d, seed=seed + 9),
    }
    width = changes.get("image", fields["image"]).shape[-1]  # type: ignore[attr-defined]
    fields["patches"] = unit(b, p, width, seed=seed + 6)
    return PlaceOutputs(**{**fields, **changes})  # type: ignore[arg-type]
