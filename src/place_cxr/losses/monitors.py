"""Numbers that show a collapse before a downstream task does. None of them is trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from place_cxr.core.tensors import PlaceOutputs
from place_cxr.losses.contrast import equal_keys
from place_cxr.losses.correlation import gram, gram_distance
from place_cxr.losses.pathology import selection_weight


@torch.no_grad()
def compute_monitors(out: PlaceOutputs) -> dict[str, Tensor]:
    """Scalars on the device.

    - ``query_similarity``: mean pairwise cosine between an image's V-PORs (1 = all queries look
      alike);
    - ``query_usage``: entropy of which query sentences select, over its maximum (1 = all used
      equally, 0 = one);
    - ``attention_spread``: entropy of a query's attention over patches, over its maximum (1 = it
      looks nowhere);
    - ``shared_reports``, ``shared_sentences``: share of off-diagonal pairs that are positives;
    - ``correlation_constant``: CCE of the batch's mean target as the answer for every image;
    - ``correlation_permuted``: CCE when the report is another study's (must lie above the loss
      itself).
    """
    visual, text, mask = out.visual.vectors, out.textual.vectors, out.textual.mask
    queries, patches = visual.shape[1], out.attention.shape[-1]
    weight = selection_weight(text @ visual.transpose(1, 2), 0.1, "soft") * mask[..., None]
    usage = weight.sum((0, 1)) / mask.sum().clamp(min=1)
    numbers = {
        "query_similarity": _off_diagonal(visual @ visual.transpose(1, 2)),
        "query_usage": _entropy(usage) / torch.tensor(float(queries)).log(),
        "attention_spread": _entropy(out.attention).mean() / torch.tensor(float(patches)).log(),
        "shared_reports": _shared(out.report_key, mask.any(-1)),
        "shared_sentences": _shared(out.sentence_key.flatten(), mask.flatten()),
    }
    if out.correlation is not None:
        target = gram(out.correlation.target)
        constant = gram_distance(target.mean(0, keepdim=True).expand_as(target), target)
        numbers["correlation_constant"] = constant.mean()
        if out.correlation.permuted is not None:
            numbers["correlation_permuted"] = gram_distance(
                gram(out.correlation.permuted), target
            ).mean()

    return numbers


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp(min=1e-12).log()).sum(-1)


def _off_diagonal(matrix: Tensor) -> Tensor:
    n = matrix.shape[-1]
    total = matrix.sum((1, 2)) - matrix.diagonal(dim1=1, dim2=2).sum(-1)
    return (total / max(n * (n - 1), 1)).mean()


def _shared(key: Tensor, valid: Tensor) -> Tensor:
    count = valid.sum()
    pairs = (equal_keys(key) & valid[:, None] & valid[None, :]).sum()
    return (pairs - count) / (count * (count - 1)).clamp(min=1)
