"""Pathological-level cross-modal alignment (PCMA): each observation that a report states must match
an observation of its image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from place_cxr.core.distributed import gather, gather_with_gradient
from place_cxr.core.tensors import PlaceOutputs, l2_normalize
from place_cxr.losses.contrast import contrastive_loss, equal_keys, symmetric_contrastive_loss

Selection = Literal["soft", "max", "transport"]
# (temperature, selection) -> how well each sentence of the global batch fits what it selects in
# each image of this process, [B, G, S]
SimilarityOf = Callable[[float, Selection], Tensor]

_TRANSPORT_STEPS = 3  # Sinkhorn steps [MGCA uses 3 for its prototypes]


def pathology_pair(
    out: PlaceOutputs,
    *,
    selection: Selection = "soft",
    selection_temperature: float = 0.1,
    temperature: float = 0.07,
    chunk: int = 0,
    similarity: SimilarityOf | None = None,
) -> Float[Tensor, ""]:
    """PCMA, pair level: image i and report j agree if every observation of j is found among the
    V-PORs of i.

    ``chunk`` > 0 bounds memory: that many reports at a time, recomputed in the backward pass; the
    value is the same. ``similarity`` is `sentence_similarity` of these outputs where another loss
    needs it too. Reports with the same set of statements are positives. Our reading of the paper:
    docs/paper_map.md.
    """
    mask = gather(out.textual.mask)

    if chunk:
        text = gather_with_gradient(out.textual.vectors)
        parts = []
        for text_part, mask_part in zip(text.split(chunk), mask.split(chunk), strict=True):
            part = checkpoint(
                observation_similarity,
                out.visual.vectors,
                text_part,
                mask_part,
                selection_temperature,
                selection,
                use_reentrant=False,
            )
            parts.append(part)

        local_scores = torch.cat(parts, dim=1)
    else:
        similarity = similarity or partial(sentence_similarity, out)
        local_scores = _mean_over_sentences(similarity(selection_temperature, selection), mask)

    logits = gather_with_gradient(local_scores) / temperature

    return symmetric_contrastive_loss(logits, equal_keys(gather(out.report_key)), mask.any(-1))


def pathology_image(
    out: PlaceOutputs,
    *,
    selection: Selection = "soft",
    selection_temperature: float = 0.1,
    temperature: float = 0.07,
    similarity: SimilarityOf | None = None,
) -> Float[Tensor, ""]:
    """PCMA, a sentence against images: what it selects in its own image is more similar to it than
    what it selects in other images.

    An image whose report has the same sentence is a positive, never a negative. ``similarity`` as
    in `pathology_pair`.
    """
    key, mask = gather(out.sentence_key), gather(out.textual.mask)
    similarity = similarity or partial(sentence_similarity, out)
    local_scores = similarity(selection_temperature, selection)

    # One row for each sentence of the global batch, one column for each image: [G S, G].
    logits = gather_with_gradient(local_scores).flatten(1).T / temperature
    # A sentence has a positive in each image whose report states it, [G S, G].
    stated = (key.flatten()[:, None, None] == key).any(-1)

    return contrastive_loss(logits, stated, mask.flatten())


def pathology_sentence(
    out: PlaceOutputs,
    *,
    selection: Selection = "soft",
    selection_temperature: float = 0.1,
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """PCMA, a sentence against sentences: what it selects in its image is more similar to it than
    to the other sentences of the batch.

    Equal normalized sentences are positives, never negatives. This term keeps the queries apart.
    Alone it could be solved by queries that encode topics whatever the image shows;
    ``pathology_image`` prevents that (docs/LOG.md).
    """
    visual, text = out.visual.vectors, out.textual.vectors

    # Each sentence selects in its own image alone: weights are [B, S, K].
    cosine = torch.bmm(text, visual.transpose(1, 2))
    weight = selection_weight(cosine, selection_temperature, selection)
    selected = l2_normalize(torch.bmm(weight, visual)).flatten(0, 1)
    selected, sentences = gather_with_gradient(selected), gather_with_gradient(text.flatten(0, 1))
    key, valid = gather(out.sentence_key.flatten()), gather(out.textual.mask.flatten())

    return symmetric_contrastive_loss(selected @ sentences.T / temperature, equal_keys(key), valid)


def sentence_similarity(
    out: PlaceOutputs, temperature: float, selection: Selection
) -> Float[Tensor, "B G S"]:
    """`selected_similarity` of this process's images and all reports of the global batch."""
    text = gather_with_gradient(out.textual.vectors)
    return selected_similarity(out.visual.vectors, text, temperature, selection)


def observation_similarity(
    visual: Float[Tensor, "B K D"],
    text: Float[Tensor, "R S D"],
    text_mask: Bool[Tensor, "R S"],
    selection_temperature: float = 0.1,
    selection: Selection = "soft",
) -> Float[Tensor, "B R"]:
    """Mean over a report's sentences of the cosine between the sentence and what it selects among
    the V-PORs.

    Vectors are of unit length. A report without sentence gets 0.
    """
    similarity = selected_similarity(visual, text, selection_temperature, selection)

    return _mean_over_sentences(similarity, text_mask)


def _mean_over_sentences(
    selected: Float[Tensor, "B R S"], mask: Bool[Tensor, "R S"]
) -> Float[Tensor, "B R"]:
    weight = mask.to(selected.dtype) / mask.sum(-1, keepdim=True).clamp(min=1)
    return (selected * weight).sum(-1)


def selected_similarity(
    visual: Float[Tensor, "B K D"],
    text: Float[Tensor, "R S D"],
    selection_temperature: float = 0.1,
    selection: Selection = "soft",
) -> Float[Tensor, "B R S"]:
    """Cosine of each sentence t with what it selects in each image, sum_k a_k v_k."""
    # With z_k = t . v_k, selection weights a and the image's Gram matrix G [K, K], the cosine is
    # (a . z) / sqrt(a' G a). So the selected vectors [B, R, S, D] are never formed: K is much
    # smaller than D.
    z = text.flatten(0, 1) @ visual.flatten(0, 1).T
    z = z.view(*text.shape[:2], *visual.shape[:2]).permute(2, 0, 1, 3)  # [B, R, S, K]
    if selection == "max":
        return z.amax(-1)

    a = selection_weight(z, selection_temperature, selection)
    gram = torch.bmm(visual, visual.transpose(1, 2))
    square = (a * torch.bmm(a.flatten(1, 2), gram).view_as(a)).sum(-1).clamp(min=1e-8)

    return (a * z).sum(-1) * square.rsqrt()


def selection_weight(
    z: Float[Tensor, "*pairs S K"], temperature: float, selection: Selection
) -> Float[Tensor, "*pairs S K"]:
    """The weight of each V-POR for a sentence; weights sum to 1 over K.

    ``soft``: softmax. ``max``: the best one, and gradient to it alone. ``transport``: Sinkhorn, so
    that the sentences of a report divide the queries among them.
    """
    if selection == "max":
        return torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1]).to(z.dtype)

    weight = z / temperature
    if selection == "transport":
        # In logarithms: columns (over sentences) and rows (over V-PORs) sum to 1 in turn.
        for _ in range(_TRANSPORT_STEPS):
            weight = weight - weight.logsumexp(-2, keepdim=True)
            weight = weight - weight.logsumexp(-1, keepdim=True)

    return weight.softmax(-1)
