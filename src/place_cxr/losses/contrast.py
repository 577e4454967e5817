"""Contrastive losses with several positives, which the alignment losses share."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def contrastive_loss(
    logits: Float[Tensor, "R N"],
    positive: Bool[Tensor, "R N"],
    rows: Bool[Tensor, "R"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of each row against a uniform distribution over its positives, averaged over
    the valid rows.

    With one positive in each row it is InfoNCE; equal logits give ln N. A row without positive
    counts as invalid. The loss is 0 when no row is valid.
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
    """Mean of the two directions. Rows and columns outside ``valid`` neither count nor serve as
    negatives.

    ``positive`` is symmetric, as `equal_keys` makes it, so that the same target weights serve both
    directions.
    """
    if valid is not None:
        valid_pairs = valid[:, None] & valid
        # A quarter of the lowest number, so that the sum of both directions is still finite.
        logits = logits.masked_fill(~valid_pairs, torch.finfo(logits.dtype).min / 4)
        positive = positive & valid_pairs

    log_probability = logits.log_softmax(1) + logits.log_softmax(0)

    return (_target_weights(positive, logits.dtype, sides=2) * log_probability).sum()


def _target_weights(
    positive: Bool[Tensor, "R N"], dtype: torch.dtype, sides: int = 1
) -> Float[Tensor, "R N"]:
    """Weights of log-probabilities that sum to -1 / ``sides``: equal for all rows with positives,
    and equal for the positives of a row.
    """
    number = positive.sum(-1, keepdim=True)
    rows = number.count_nonzero()

    # The mean over rows is part of the weights, which take no gradient: fewer operators than a
    # division of the loss. The clamp keeps rows without positives from dividing by 0.
    return positive.to(dtype) / (number * (rows * -sides)).clamp(max=-1)
