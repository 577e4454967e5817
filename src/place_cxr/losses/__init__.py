"""Losses: functions of PlaceOutputs, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from place_cxr.core.registry import pick
from place_cxr.core.settings import Settings
from place_cxr.core.tensors import PlaceOutputs
from place_cxr.losses.correlation import correlation_exploration
from place_cxr.losses.instance import instance_alignment
from place_cxr.losses.pathology import pathology_image, pathology_pair, pathology_sentence
from place_cxr.losses.peers import convirt, gloria_global, mgca_instance
from place_cxr.losses.prototype import mgca_prototype
from place_cxr.losses.token import gloria_local, mgca_token

LOSSES: dict[str, Callable[..., Float[Tensor, ""]]] = {
    "instance": instance_alignment,
    "pathology_pair": pathology_pair,
    "pathology_image": pathology_image,
    "pathology_sentence": pathology_sentence,
    "correlation": correlation_exploration,
    "convirt": convirt,
    "gloria_global": gloria_global,
    "gloria_local": gloria_local,
    "mgca_instance": mgca_instance,
    "mgca_token": mgca_token,
    "mgca_prototype": mgca_prototype,
}

_PAIR = frozenset({"image", "text"})
_OBSERVATIONS = frozenset({"visual", "textual"})
# The fields of PlaceOutputs through which a loss teaches: the parts of the model behind the others
# stay untrained.
LOSS_INPUTS: dict[str, frozenset[str]] = {
    "instance": _PAIR | {"scale"},
    "pathology_pair": _OBSERVATIONS,
    "pathology_image": _OBSERVATIONS,
    "pathology_sentence": _OBSERVATIONS,
    "correlation": frozenset({"correlation"}),
    "convirt": _PAIR,
    "gloria_global": _PAIR,
    "gloria_local": frozenset({"tokens"}),
    "mgca_instance": _PAIR,
    "mgca_token": frozenset({"tokens"}),
    "mgca_prototype": _PAIR | {"prototypes"},
}


class LossTerm(Settings):
    """One part of the total loss; a weight of 0 leaves it out."""

    weight: float = 1.0
    options: dict[str, Any] = {}


def total_loss(
    out: PlaceOutputs, terms: Mapping[str, LossTerm]
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The weighted sum, and the unweighted parts for the log."""
    with torch.autocast(out.image.device.type, enabled=False):  # cosines and softmaxes stay in fp32
        parts = {
            name: pick(LOSSES, name, "loss")(out, **term.options)
            for name, term in terms.items()
            if term.weight
        }
    total = out.scale.new_zeros(())
    for name, part in parts.items():
        total = torch.add(total, part, alpha=terms[name].weight)
    return total, parts
