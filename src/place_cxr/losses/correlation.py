"""Correlation exploration (CCE): predicted and target patch correlation of an image must agree."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from place_cxr.tensors import PlaceOutputs


def correlation_exploration(out: PlaceOutputs) -> Float[Tensor, ""]:
    """Mean over images of 1 - Pearson correlation between the off-diagonal entries of the two Gram matrices.

    0 is perfect, 1 what any constant answer gets, 2 the opposite. Raises ValueError if the model has no such head.
    """
    if out.correlation is None:
        raise ValueError("the model was built without a correlation head")
    return gram_distance(gram(out.correlation.predicted), gram(out.correlation.target)).mean()


def gram(vectors: Float[Tensor, "B P E"]) -> Float[Tensor, "B P P"]:
    """Inner products of an image's patch vectors."""
    return vectors @ vectors.transpose(1, 2)


def gram_distance(predicted: Float[Tensor, "B P P"], target: Float[Tensor, "B P P"]) -> Float[Tensor, "B"]:
    """1 - Pearson correlation over the off-diagonal entries; 1 where either is constant."""
    side = predicted.shape[-1]
    off = 1 - torch.eye(side, dtype=predicted.dtype, device=predicted.device)

    def centred(matrix: Tensor) -> Tensor:
        total = matrix.sum((1, 2)) - matrix.diagonal(dim1=1, dim2=2).sum(-1)
        return (matrix - (total / (side * (side - 1)))[:, None, None]) * off

    x, y = centred(predicted), centred(target)
    product = (x * y).sum((1, 2))
    return 1 - product / (x.square().sum((1, 2)) * y.square().sum((1, 2)) + 1e-12).sqrt()
