"""Contrast with several positives: the arithmetic that the alignment losses share."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def contrastive_loss(
    logits: Float[Tensor, "R N"],
    positive: Bool[Tensor, "R N"],
    rows: Bool[Tensor, "R"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of each row against the uniform mix of its positives, averaged over the valid
    rows.

    With one positive a row it is InfoNCE; equal logits give ln N. A row without positive counts as
    invalid. 0 when no row is valid.
    """
    if rows is not None:
        positive = positive & rows[:, None]
    return (_target_weights(positive, logits.dtype) * logits.log_softmax(-1)).sum()


def equal_keys(key: Int[Tensor, "N"]) -> Bool[Tensor, "N N"]:
    """True where two statements (or two sets of statements) are equal: a positive, never a
    negative.
    """
    return key[:, None] == key


def symmetric_contrastive_loss(
    logits: Float[Tensor, "N N"],
    positive: Bool[Tensor, "N N"],
    valid: Bool[Tensor, "N"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of the two directions; rows and columns outside ``valid`` neither count nor serve as
    negatives.

    ``positive`` says who is equal to whom, as `equal_keys` does: the shares of rows are then those
    of columns.
    """
    if valid is not None:
        valid_pairs = valid[:, None] & valid
        logits = logits.masked_fill(
            ~valid_pairs, torch.finfo(logits.dtype).min / 4
        )  # a sum of two is still finite
        positive = positive & valid_pairs

    return (
        _target_weights(positive, logits.dtype, sides=2)
        * (logits.log_softmax(1) + logits.log_softmax(0))
    ).sum()


def _target_weights(
    positive: Bool[Tensor, "R N"], dtype: torch.dtype, sides: int = 1
) -> Float[Tensor, "R N"]:
    """Minus one over ``sides`` in all: the same for each row that has positives, in equal shares
    for each of them.

    Nothing of it takes a gradient, so the mean over rows is put in here, and not behind the sum.
    """
    number = positive.sum(-1, keepdim=True)
    rows = number.count_nonzero()

    return positive.to(dtype) / (number * (rows * -sides)).clamp(max=-1)
