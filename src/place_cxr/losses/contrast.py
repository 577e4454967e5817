"""Contrast with several positives: the arithmetic that the alignment losses share."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def contrast(
    logits: Float[Tensor, "R N"], positive: Bool[Tensor, "R N"], rows: Bool[Tensor, "R"] | None = None
) -> Float[Tensor, ""]:
    """Cross-entropy of each row against the uniform mix of its positives, averaged over the valid rows.

    With one positive a row it is InfoNCE; equal logits give ln N. A row without positive counts as invalid. 0 when no
    row is valid.
    """
    weight = positive.to(logits.dtype)
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1)
    loss = -(weight * logits.log_softmax(-1)).sum(-1)
    valid = positive.any(-1) if rows is None else rows & positive.any(-1)
    return (loss * valid).sum() / valid.sum().clamp(min=1)


def same(key: Int[Tensor, "N"]) -> Bool[Tensor, "N N"]:
    """True where two statements (or two sets of statements) are equal: a positive, never a negative."""
    return key[:, None] == key[None, :]


def symmetric_contrast(
    logits: Float[Tensor, "N N"], positive: Bool[Tensor, "N N"], valid: Bool[Tensor, "N"] | None = None
) -> Float[Tensor, ""]:
    """Mean of the two directions; rows and columns outside ``valid`` neither count nor serve as negatives."""
    if valid is not None:
        logits = logits.masked_fill(~(valid[:, None] & valid[None, :]), torch.finfo(logits.dtype).min)
        positive = positive & valid[:, None] & valid[None, :]
    return (contrast(logits, positive, valid) + contrast(logits.T, positive.T, valid)) / 2
