"""Instance contrast as ConVIRT, GLoRIA and MGCA published it: every other report is a negative, and
temperatures are fixed.

Each is over the global batch; MGCA's own code contrasts within one GPU
(docs/decisions/0012-peers.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from place_cxr.core.distributed import gather_with_gradient
from place_cxr.core.tensors import PlaceOutputs

MIN_NORM_PRODUCT = 1e-8  # lower bound of the product of two lengths [GLoRIA]


def convirt(
    out: PlaceOutputs, *, temperature: float = 0.1, image_share: float = 0.75
) -> Float[Tensor, ""]:
    """InfoNCE of images against reports, weighted by ``image_share``, and of reports against
    images, weighted by the rest.

    Source: ConVIRT (arXiv 2010.00747), its temperature and weights.
    """
    images, reports = two_way_cross_entropy(_global_similarity(out) / temperature)
    return image_share * images + (1 - image_share) * reports


def gloria_global(out: PlaceOutputs, *, scale: float = 10.0) -> Float[Tensor, ""]:
    """The sum of both directions over cosine times ``scale`` (GLoRIA's temp3).

    Source: GLoRIA (ICCV 2021).
    """
    image, text = gather_with_gradient(out.image), gather_with_gradient(out.text)

    # The vectors are of unit length already. The division is kept, as it is part of the original.
    length = image.norm(dim=-1)[:, None] * text.norm(dim=-1)[None, :]
    images, reports = two_way_cross_entropy(
        scale * (image @ text.T) / length.clamp(min=MIN_NORM_PRODUCT)
    )

    return images + reports


def mgca_instance(out: PlaceOutputs, *, temperature: float = 0.07) -> Float[Tensor, ""]:
    """The sum of both directions: twice a CLIP loss. Source: MGCA (arXiv 2210.06044), ITA."""
    images, reports = two_way_cross_entropy(_global_similarity(out) / temperature)
    return images + reports


def two_way_cross_entropy(
    logits: Float[Tensor, "N N"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean cross-entropy along rows and along columns. The diagonal is the target. Equal logits
    give ln N.
    """
    diagonal = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, diagonal), F.cross_entropy(logits.T, diagonal)


def _global_similarity(out: PlaceOutputs) -> Float[Tensor, "G G"]:
    return gather_with_gradient(out.image) @ gather_with_gradient(out.text).T
