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
    """The monitors of one batch, as scalars on the device.

    - ``query_similarity``: mean pairwise cosine between an image's V-PORs (1: all are the same);
    - ``query_usage``: entropy of which query the sentences select, over its maximum (1: all are
      used equally, 0: one only);
    - ``attention_spread``: entropy of a query's attention over patches, over its maximum (1: all
      patches equally);
    - ``shared_reports``, ``shared_sentences``: fraction of off-diagonal pairs that are positives;
    - ``correlation_constant``: CCE of the batch's mean target as the prediction for every image;
    - ``correlation_permuted``: CCE with the report of another study (should exceed the loss).
    """
    visual, text, mask = out.visual.vectors, out.textual.vectors, out.textual.mask
    queries, patches = visual.shape[1], out.attention.shape[-1]

    # Selection weights of each report's sentences in its own image, [B, S, K]; 0 where padded.
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
        # A head that ignores the image cannot beat the first, one that ignores the report has the
        # second equal to its loss.
        target = gram(out.correlation.target)
        constant = gram_distance(target.mean(0, keepdim=True).expand_as(target), target)
        numbers["correlation_constant"] = constant.mean()
        if out.correlation.permuted is not None:
            permuted = gram_distance(gram(out.correlation.permuted), target)
            numbers["correlation_permuted"] = permuted.mean()

    return numbers


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp(min=1e-12).log()).sum(-1)


def _off_diagonal(matrix: Tensor) -> Tensor:
    """Mean of the off-diagonal entries of [B, N, N]."""
    n = matrix.shape[-1]
    total = matrix.sum((1, 2)) - matrix.diagonal(dim1=1, dim2=2).sum(-1)
    return (total / max(n * (n - 1), 1)).mean()


def _shared(key: Tensor, valid: Tensor) -> Tensor:
    """Fraction of pairs of two different valid rows that have equal keys."""
    count = valid.sum()
    pairs = (equal_keys(key) & valid[:, None] & valid[None, :]).sum()
    return (pairs - count) / (count * (count - 1)).clamp(min=1)
