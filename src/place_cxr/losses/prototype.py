"""Contrast of clusters: image and report of a pair belong to the same prototypes (MGCA's CPA)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from place_cxr.core.distributed import gather_with_gradient
from place_cxr.core.tensors import PlaceOutputs


def mgca_prototype(
    out: PlaceOutputs, *, temperature: float = 0.2, epsilon: float = 0.05, iterations: int = 3
) -> Float[Tensor, ""]:
    """The cosines of an image to the prototypes predict the soft assignment of its report, and the
    reverse; mean of both directions.

    Source: MGCA (arXiv 2210.06044), CPA. Assignments are balanced over the global batch and carry
    no gradient. Raises ValueError if the model has no prototypes.
    """
    if out.prototypes is None:
        raise ValueError("the model was built without model.prototypes")
    image = gather_with_gradient(out.image) @ out.prototypes.T
    text = gather_with_gradient(out.text) @ out.prototypes.T
    text_loss = soft_cross_entropy(sinkhorn(image, epsilon, iterations), text, temperature)

    return (
        text_loss + soft_cross_entropy(sinkhorn(text, epsilon, iterations), image, temperature)
    ) / 2


def soft_cross_entropy(
    codes: Float[Tensor, "G N"], scores: Float[Tensor, "G N"], temperature: float
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the softmax of ``scores`` against ``codes``."""
    return -(codes * (scores / temperature).log_softmax(-1)).sum(-1).mean()


@torch.no_grad()
def sinkhorn(scores: Float[Tensor, "G N"], epsilon: float, iterations: int) -> Float[Tensor, "G N"]:
    """Soft assignment of rows to prototypes; rows sum to 1. More iterations use all prototypes more
    equally.
    """
    # The maximum is subtracted so that exponents cannot overflow. The value is the same, because
    # every row is normalized at the end.
    codes = ((scores - scores.max()) / epsilon).exp()
    for _ in range(iterations):
        # Prototypes (columns) first, then rows: the order is MGCA's.
        codes = codes / codes.sum(0, keepdim=True)
        codes = codes / codes.sum(1, keepdim=True)

    return codes / codes.sum(1, keepdim=True)
