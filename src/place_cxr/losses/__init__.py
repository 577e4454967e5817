"""Losses: functions of PlaceOutputs, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from place_cxr.core.registry import pick
from place_cxr.core.settings import Settings
from place_cxr.core.tensors import PlaceOutputs
from place_cxr.losses.correlation import correlation_exploration
from place_cxr.losses.instance import instance_alignment
from place_cxr.losses.pathology import (
    pathology_image,
    pathology_pair,
    pathology_sentence,
    sentence_similarity,
)
from place_cxr.losses.peers import convirt, gloria_global, mgca_instance
from place_cxr.losses.prototype import mgca_prototype
from place_cxr.losses.token import gloria_local, mgca_token


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss, and what it needs to know of the model.

    ``reads`` are the fields of PlaceOutputs through which it teaches; parts of the model behind the
    other fields stay untrained. ``shares_similarity``: the function takes ``similarity``, so that
    several losses of one batch use one matrix of sentences against images.
    """

    function: Callable[..., Float[Tensor, ""]]
    reads: frozenset[str]
    shares_similarity: bool = False


_PAIR = frozenset({"image", "text"})
_OBSERVATIONS = frozenset({"visual", "textual"})
_TOKENS = frozenset({"tokens"})

LOSSES: dict[str, Loss] = {
    "instance": Loss(instance_alignment, _PAIR | {"scale"}),
    "pathology_pair": Loss(pathology_pair, _OBSERVATIONS, shares_similarity=True),
    "pathology_image": Loss(pathology_image, _OBSERVATIONS, shares_similarity=True),
    "pathology_sentence": Loss(pathology_sentence, _OBSERVATIONS),
    "correlation": Loss(correlation_exploration, frozenset({"correlation"})),
    "convirt": Loss(convirt, _PAIR),
    "gloria_global": Loss(gloria_global, _PAIR),
    "gloria_local": Loss(gloria_local, _TOKENS),
    "mgca_instance": Loss(mgca_instance, _PAIR),
    "mgca_token": Loss(mgca_token, _TOKENS),
    "mgca_prototype": Loss(mgca_prototype, _PAIR | {"prototypes"}),
}


class LossTerm(Settings):
    """One part of the total loss; a weight of 0 leaves it out."""

    weight: float = 1.0
    options: dict[str, Any] = {}


def fields_read(terms: Mapping[str, LossTerm]) -> frozenset[str]:
    """The fields of PlaceOutputs that some active loss reads.

    Raises PlaceError PL-C002 for a name that is not in LOSSES.
    """
    active = [name for name, term in terms.items() if term.weight]
    return frozenset().union(*(pick(LOSSES, name, "loss").reads for name in active))


def total_loss(
    out: PlaceOutputs, terms: Mapping[str, LossTerm]
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The weighted sum, and the unweighted parts for the log."""
    # The similarity of all sentences to all images is the larger part of two PCMA losses. The cache
    # lives as long as this call, so that terms with the same options compute it once.
    similarity = cache(partial(sentence_similarity, out))
    parts: dict[str, Tensor] = {}

    with torch.autocast(out.image.device.type, enabled=False):  # cosines and softmaxes stay in fp32
        for name, term in terms.items():
            if term.weight:
                loss = pick(LOSSES, name, "loss")
                shared = {"similarity": similarity} if loss.shares_similarity else {}
                parts[name] = loss.function(out, **term.options, **shared)

    total = out.scale.new_zeros(())
    for name, part in parts.items():
        total = torch.add(total, part, alpha=terms[name].weight)

    return total, parts
