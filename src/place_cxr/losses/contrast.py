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
    if rows is not None:
        positive = positive & rows[:, None]
    weight, count = _share(positive, logits.dtype)
    return -(weight * logits.log_softmax(-1)).sum() / count


def same(key: Int[Tensor, "N"]) -> Bool[Tensor, "N N"]:
    """True where two statements (or two sets of statements) are equal: a positive, never a negative."""
    return key[:, None] == key[None, :]


def symmetric_contrast(
    logits: Float[Tensor, "N N"], positive: Bool[Tensor, "N N"], valid: Bool[Tensor, "N"] | None = None
) -> Float[Tensor, ""]:
    """Mean of the two directions; rows and columns outside ``valid`` neither count nor serve as negatives.

    ``positive`` is symmetric, as `same` makes it.
    """
    if valid is not None:
        both = valid[:, None] & valid[None, :]
        logits = logits.masked_fill(~both, torch.finfo(logits.dtype).min / 4)  # a sum of two is still finite
        positive = positive & both
    weight, count = _share(positive, logits.dtype)
    return -(weight * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum() / (2 * count)


def _share(positive: Bool[Tensor, "R N"], dtype: torch.dtype) -> tuple[Float[Tensor, "R N"], Int[Tensor, ""]]:
    """Each row's positives in equal shares (zeros where it has none), and how many rows have any, at least 1."""
    number = positive.sum(-1, keepdim=True)
    return positive.to(dtype) / number.clamp(min=1), (number > 0).sum().clamp(min=1)
