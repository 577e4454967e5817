"""Contrast of single words and patches: the local losses of GLoRIA and MGCA.

As in both, ``[CLS]`` counts as the first word and ``[SEP]`` as the last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from place_cxr.core.distributed import gather, gather_with_gradient
from place_cxr.core.tensors import PlaceOutputs, TokenOutputs
from place_cxr.losses.peers import MIN_NORM_PRODUCT, two_way_cross_entropy


def gloria_local(
    out: PlaceOutputs,
    *,
    place_scale: float = 4.0,
    word_scale: float = 5.0,
    scale: float = 10.0,
    average: bool = False,
    chunk: int = 0,
) -> Float[Tensor, ""]:
    """The score of image i and report j is how similar each word of j is to what it attends to in
    i. Sum of both directions.

    Source: GLoRIA (ICCV 2021), its temp1, temp2, temp3. Its words are all but ``[SEP]``. With the
    published sum over words a long report scores higher with every image; ``average`` corrects
    that. ``chunk`` > 0 bounds memory: that many reports at a time, recomputed in the backward pass;
    the value is the same.
    """
    tokens = _tokens(out)
    words, mask = gather_with_gradient(tokens.words), gather(tokens.mask)
    # A word counts if another one follows it: this drops the last real one, [SEP].
    mask = mask & F.pad(mask[:, 1:], (0, 1))
    step = chunk or len(words)
    parts = []

    # Over chunks of reports. Each chunk is compared with all images of this process.
    for start in range(0, len(words), step):
        cut = slice(start, start + step)
        piece = (tokens.patches, words[cut], mask[cut], place_scale, word_scale, average)
        parts.append(
            checkpoint(word_similarity, *piece, use_reentrant=False)
            if chunk
            else word_similarity(*piece)
        )

    similarity = gather_with_gradient(torch.cat(parts, dim=1))
    images, reports = two_way_cross_entropy(scale * similarity)

    return images + reports


def word_similarity(
    patches: Float[Tensor, "B P D"],
    words: Float[Tensor, "R L D"],
    mask: Bool[Tensor, "R L"],
    place_scale: float,
    word_scale: float,
    average: bool,
) -> Float[Tensor, "B R"]:
    """Log of the sum (or mean) over a report's words of exp(``word_scale`` cos(word, what it
    attends to)).

    ``mask`` is True for at least one word of each report.
    """
    # What each word of each report attends to in each image, [B, R, L, D].
    context = word_attention(patches, words, mask, place_scale).flatten(1, 2) @ patches
    context = context.unflatten(1, mask.shape)

    length = context.norm(dim=-1) * words.norm(dim=-1)
    cosine = (context * words).sum(-1) / length.clamp(min=MIN_NORM_PRODUCT)
    total = (word_scale * cosine).masked_fill(~mask, -torch.inf).logsumexp(-1)

    return total - mask.sum(-1).to(total.dtype).log() if average else total


def word_attention(
    patches: Float[Tensor, "B P D"],
    words: Float[Tensor, "R L D"],
    mask: Bool[Tensor, "R L"],
    place_scale: float,
) -> Float[Tensor, "B R L P"]:
    """Attention of each word of each report to the patches of each image, where it sums to 1."""
    # GLoRIA's double softmax: at each patch over the words of the report, then, times
    # `place_scale`, for each word over the patches. The products are neither scaled nor normalized.
    product = (words.flatten(0, 1) @ patches.transpose(1, 2)).unflatten(1, mask.shape)
    word_fraction = product.masked_fill(~mask[..., None], -torch.inf).softmax(2)

    return (place_scale * word_fraction).softmax(-1)


def mgca_token(out: PlaceOutputs, *, temperature: float = 0.1) -> Float[Tensor, ""]:
    """Within a pair, a word is more similar to what it attends to than to what other words attend
    to; the same for patches.

    Source: MGCA (arXiv 2210.06044), CTA, both directions added. Its words are all but ``[CLS]``.
    Quirks of its code are kept, as they are part of the value. Padded words attend too, and serve
    as negatives of words (with weight 0). What a patch attends to is scaled to unit length for
    convolutional encoders only, and only there all patches have the same weight.
    """
    tokens = _tokens(out)
    patches, words = F.normalize(tokens.patches, dim=-1), F.normalize(tokens.words[:, 1:], dim=-1)

    # Weights are the encoders' own attentions. A convolutional encoder has none.
    word_weight, patch_weight = clip_to_percentiles(tokens.word_attention[:, 1:]), None
    if tokens.patch_attention is not None:
        patch_weight = clip_to_percentiles(tokens.patch_attention)

    word_loss = words_to_patches(patches, words, word_weight, temperature)
    patch_loss = patches_to_words(patches, words, tokens.mask[:, 1:], patch_weight, temperature)

    return word_loss + patch_loss


def words_to_patches(
    patches: Float[Tensor, "B P D"],
    words: Float[Tensor, "B L D"],
    weight: Float[Tensor, "B L"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Each word against what the words of its report attend to. Vectors are of unit length."""
    attention = (words @ patches.transpose(1, 2) / temperature).softmax(-1)
    attended = F.normalize(attention @ patches, dim=-1)

    return _pair_cross_entropy(words @ attended.transpose(1, 2) / temperature, weight)


def patches_to_words(
    patches: Float[Tensor, "B P D"],
    words: Float[Tensor, "B L D"],
    mask: Bool[Tensor, "B L"],
    weight: Float[Tensor, "B P"] | None,
    temperature: float,
) -> Float[Tensor, ""]:
    """Each patch against what the patches of its image attend to. ``weight`` is None for a
    convolutional encoder.
    """
    product = patches @ words.transpose(1, 2) / temperature
    attended = product.masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ words
    if weight is None:
        attended = F.normalize(attended, dim=-1)
        weight = patches.new_full(patches.shape[:2], 1 / patches.shape[1])

    return _pair_cross_entropy(patches @ attended.transpose(1, 2) / temperature, weight)


@torch.no_grad()
def clip_to_percentiles(attention: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Attentions clipped to their 10th and 90th percentile and scaled to sum 1; zeros stay 0.

    Percentiles are of each row's values that are not 0, by linear interpolation.
    """
    is_token = attention != 0
    last = is_token.sum(-1, keepdim=True).sub(1).clamp(min=0)
    ordered = attention.masked_fill(~is_token, torch.inf).sort(-1).values

    # Rows differ in how many values they have, which torch.quantile cannot express.
    def percentile(fraction: float) -> Tensor:
        position = fraction * last.to(attention.dtype)
        lower = position.to(last.dtype)
        upper = lower + (position % 1 > 0).to(last.dtype)

        return ordered.gather(-1, lower).lerp(ordered.gather(-1, upper), position % 1)

    weights = torch.where(is_token, attention.clamp(percentile(0.1), percentile(0.9)), 0.0)

    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def _pair_cross_entropy(
    logits: Float[Tensor, "B N N"], weight: Float[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """Mean of the cross-entropy along rows and along columns; weighted over tokens, averaged over
    pairs. The diagonal is the target.
    """
    # The order of operators is the order in which gradients are added up: it decides last digits.
    mean_logsumexp = (logits.logsumexp(2) + logits.logsumexp(1)) / 2
    cross_entropy = mean_logsumexp - logits.diagonal(dim1=1, dim2=2)

    return (weight * cross_entropy).sum() / len(logits)


def _tokens(out: PlaceOutputs) -> TokenOutputs:
    if out.tokens is None:
        raise ValueError("the model was built without model.tokens")
    return out.tokens
