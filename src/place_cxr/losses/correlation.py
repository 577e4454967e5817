"""Correlation exploration (CCE): predicted and target patch correlation of an image must agree."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from place_cxr.core.tensors import PlaceOutputs


def correlation_exploration(out: PlaceOutputs) -> Float[Tensor, ""]:
    """Mean over images of 1 - Pearson correlation between the off-diagonal entries of the predicted
    and the target Gram matrix.

    0 is perfect, any constant prediction gets 1, the opposite gets 2. Raises ValueError if the
    model has no correlation head.
    """
    if out.correlation is None:
        raise ValueError("the model was built without a correlation head")

    predicted, target = gram(out.correlation.predicted), gram(out.correlation.target)

    return 1 - _products(predicted, target).mean()


def gram(vectors: Float[Tensor, "B P E"]) -> Float[Tensor, "B P P"]:
    """Inner products of an image's patch vectors."""
    return torch.bmm(vectors, vectors.transpose(1, 2))


def gram_distance(
    predicted: Float[Tensor, "B P P"], target: Float[Tensor, "B P P"]
) -> Float[Tensor, "B"]:
    """1 - Pearson correlation over the off-diagonal entries; 1 where either is constant."""
    return 1 - _products(predicted, target).mean(-1)


def _products(
    first: Float[Tensor, "B P P"], second: Float[Tensor, "B P P"]
) -> Float[Tensor, "B P*(P-1)"]:
    """Products of standardized entries. Their mean over an image is its Pearson correlation."""
    return _standardized(first) * _standardized(second)


def _standardized(matrix: Float[Tensor, "B P P"]) -> Float[Tensor, "B P*(P-1)"]:
    """The off-diagonal entries with mean 0 and variance 1; 0 where all are equal."""
    side = matrix.shape[-1]

    # In the flat matrix P off-diagonal entries lie between two diagonal ones. Windows of P that
    # move by P + 1 skip the diagonal without an index.
    entries = matrix.flatten(1)[:, 1:].unfold(1, side, side + 1).flatten(1)

    # A layer norm standardizes in one operator; eps only matters where all entries are equal.
    return F.layer_norm(entries, entries.shape[1:], eps=1e-12)
