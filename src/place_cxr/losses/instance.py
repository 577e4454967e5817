"""Instance alignment (ITA): an image matches its own report better than any other."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from place_cxr.core.distributed import gather, gather_with_gradient
from place_cxr.core.tensors import PlaceOutputs
from place_cxr.losses.contrast import equal_keys, symmetric_contrastive_loss


def instance_alignment(out: PlaceOutputs) -> Float[Tensor, ""]:
    """Symmetric InfoNCE over the global batch; reports with the same set of statements are
    positives.

    Source: ConVIRT (arXiv 2010.00747) with CLIP's learned temperature; the positives are ours
    (docs/paper_map.md).
    """
    # The global batch: images and reports of all ranks are negatives of each other.
    logits = out.scale * gather_with_gradient(out.image) @ gather_with_gradient(out.text).T
    return symmetric_contrastive_loss(logits, equal_keys(gather(out.report_key)))
