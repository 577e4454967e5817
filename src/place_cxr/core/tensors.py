"""The records that flow through the network, and what works on any tensor of them.

Shape legend: B images (= reports) of a batch, G of the global batch over all ranks, P patches, K
queries, S sentences (padded, masked), L tokens, C encoder width, D shared width, E width of the
correlation head, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.autograd.function import once_differentiable

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Reports as one token sequence each; ``sentence`` says which observation a token belongs
    to.
    """

    ids: Int[Tensor, "B L"]
    mask: Bool[Tensor, "B L"]  # False where a token is padding
    # 0..S-1; -1 for a special token, padding, or a sentence that holds no observation.
    sentence: Int[Tensor, "B L"]
    # Hash of the normalized sentence: equal text, equal key; 0 where there is no s-th sentence.
    sentence_key: Int[Tensor, "B S"]
    report_key: Int[Tensor, "B"]  # hash of the set of sentence keys
    # Positions of the real tokens in [B * L], found on the host: the device need not wait.
    flat: Int[Tensor, "T"] | None = None
    # True where a token continues the word before it; None: nowhere.
    continues: Bool[Tensor, "B L"] | None = None

    @property
    def sentence_mask(self) -> Bool[Tensor, "B S"]:
        """True where a report has an s-th observation."""
        return self.sentence_key != 0


@dataclass(frozen=True, slots=True)
class Batch:
    """B studies on the way from packs to the device; grey uint8, expanded there."""

    row: Int[Tensor, "B"]  # row of the source; logs may name it, as it identifies nobody
    pixels: UInt8[Tensor, "B H W"]
    tokens: Tokens
    uniform: Float[Tensor, "B U"]  # random numbers in [0, 1), a function of (seed, epoch, row)


@dataclass(frozen=True, slots=True)
class Views:
    """Two views of the same pixels with the same geometry: the augmented image that the student
    gets, and the undisturbed one.
    """

    image: Float[Tensor, "B 1 H W"]
    clean: Float[Tensor, "B 1 H W"]


@dataclass(frozen=True, slots=True)
class Features:
    """What an encoder yields. ``grid`` is (rows, columns) of the patches, P = rows * columns, row
    by row.
    """

    pooled: Float[Tensor, "B C"]
    local: Float[Tensor, "B P C2"]
    grid: tuple[int, int]
    # Of the pooled vector to each patch; None where not asked for, or where pooling has no
    # attention.
    attention: Float[Tensor, "B P"] | None = None


@dataclass(frozen=True, slots=True)
class Observations:
    """What one modality says it sees: unit-length rows; False in ``mask`` where a row is
    padding.
    """

    vectors: Float[Tensor, "B N D"]
    mask: Bool[Tensor, "B N"]


@dataclass(frozen=True, slots=True)
class Correlation:
    """Unit-length, centred patch vectors whose inner products are the patch correlations."""

    predicted: Float[Tensor, "B P E"]
    target: Float[Tensor, "B P F"]
    # The prediction given the report of another study; only monitors read it.
    permuted: Float[Tensor, "B P E"] | None = None


@dataclass(frozen=True, slots=True)
class TokenOutputs:
    """Patches and words, each with a vector that is not of unit length: what token-wise methods
    compare.

    The L words have the L positions of a report's tokens; unused positions are padding. The
    attentions are those of the pooled vectors in the last layer, averaged over heads, without
    gradient.
    """

    patches: Float[Tensor, "B P D"]
    words: Float[Tensor, "B L D"]  # the first is [CLS], the last real one [SEP]
    mask: Bool[Tensor, "B L"]  # False where a word is padding
    word_attention: Float[Tensor, "B L"]  # 0 where padded
    patch_attention: Float[Tensor, "B P"] | None  # None where the pooling has no attention


@dataclass(frozen=True, slots=True)
class PlaceOutputs:
    """All that losses may look at."""

    image: Float[Tensor, "B D"]  # unit length
    text: Float[Tensor, "B D"]  # unit length
    scale: Float[Tensor, ""]  # learned inverse temperature of the instance loss
    visual: Observations  # V-PORs, B x K
    attention: Float[Tensor, "B K P"]  # where each query looked; rows sum to 1
    # A V-POR is the sum of the patches, weighted by attention and scaled to unit length.
    patches: Float[Tensor, "B P D"]
    textual: Observations  # T-PORs, B x S
    sentence_key: Int[Tensor, "B S"]
    report_key: Int[Tensor, "B"]
    correlation: Correlation | None
    tokens: TokenOutputs | None = None
    prototypes: Float[Tensor, "N D"] | None = None  # unit length


class _L2Normalize(torch.autograd.Function):
    """As `torch.nn.functional.normalize`, whose gradient alone takes 14 operators."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_(min=eps)
        scaled = vectors / length
        ctx.save_for_backward(scaled, length)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # d(x / |x|): the gradient without its part along the unit vector, divided by the length.
        scaled, length = ctx.saved_tensors
        projection = (grads[0] * scaled).sum(-1, keepdim=True)
        return torch.addcmul(grads[0], scaled, projection, value=-1).div_(length), None


def l2_normalize(vectors: Float[Tensor, "*rows D"], eps: float = 1e-12) -> Float[Tensor, "*rows D"]:
    """Each row scaled to length 1; a row shorter than ``eps`` is divided by ``eps``."""
    return _L2Normalize.apply(vectors, eps)


def move_to_device(record: _R, device: torch.device | str) -> _R:
    """The same record with every tensor on ``device``; records inside it too. From pinned memory
    the host does not wait for the copy.
    """
    non_blocking = torch.device(device).type != "cpu"

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device, non_blocking=non_blocking)
        return move_to_device(value, device) if is_dataclass(value) else value

    # Any dataclass will do, of which the type variable knows nothing.
    names = [field.name for field in fields(record)]  # type: ignore[arg-type]
    return type(record)(**{name: moved(getattr(record, name)) for name in names})
