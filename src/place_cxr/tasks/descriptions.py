"""One pass over a split: all that the tasks read, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from place_cxr.core.records import Study
from place_cxr.core.tensors import move_to_device
from place_cxr.data.loader import tokens_of
from place_cxr.text.tokenizer import EncodedReports

_Float32Array = NDArray[np.float32]
ViewTransform = Callable[
    [Tensor], Tensor
]  # uint8 [B, S, S] of a pack -> float [B, 1, V, V] for the model
_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class PhraseEmbeddings:
    """Prompts as the model sees them: R phrases, each one report of one sentence."""

    vector: _Float32Array  # [R, D]
    observation: _Float32Array  # [R, D]


@dataclass(frozen=True, slots=True)
class StudyEmbeddings:
    """N studies of one split as the model describes them. Vectors are of unit length, except
    ``pooled``.
    """

    rows: NDArray[np.int64]  # [N] rows of the source
    studies: tuple[Study, ...]
    pooled: _Float32Array  # [N, C]
    instance_image: _Float32Array  # [N, D]
    instance_text: _Float32Array  # [N, D]
    visual: _Float32Array  # [N, K, D] V-PORs
    attention: _Float32Array  # [N, K, P] where each query looked
    patches: NDArray[np.float16]  # [N, P, D] what each patch says
    grid: tuple[int, int]
    places: NDArray[
        np.float16
    ]  # [N, Q, D] the last map, place by place, in the space of the instance vectors
    places_grid: tuple[int, int]
    textual: _Float32Array  # [N, S, D] T-PORs
    textual_mask: NDArray[np.bool_]  # [N, S]
    report_key: NDArray[np.int64]  # [N]

    def subset(self, rows: NDArray[np.int64]) -> StudyEmbeddings:
        """These ``rows`` of the source alone, in this order; each is one of ours."""
        if np.array_equal(rows, self.rows):
            return self
        order = np.argsort(self.rows)
        positions = order[np.searchsorted(self.rows, rows, sorter=order)]

        def of(value: Any) -> Any:
            return value[positions] if isinstance(value, np.ndarray) else value

        selected = {field.name: of(getattr(self, field.name)) for field in fields(self)}

        return StudyEmbeddings(
            **{**selected, "studies": tuple(self.studies[position] for position in positions)}
        )

    @property
    def patients(self) -> list[str]:
        """Patient of each row, "" where unknown."""
        return [study.patient for study in self.studies]


@torch.no_grad()
def embed_studies(
    model: Any,
    pixels: Any,
    reports: EncodedReports,
    rows: NDArray[np.int64],
    studies: Sequence[Study],
    *,
    view: ViewTransform,
    device: torch.device | str = "cpu",
    batch_size: int = _BATCH_SIZE,
) -> StudyEmbeddings:
    """Describe the images and reports of ``rows``; ``pixels`` uint8 [*, S, S] and ``studies`` cover
    the whole source.

    The model is put in evaluation mode and left there.
    """
    model.eval()
    order = np.asarray(rows, dtype=np.int64)
    images: list[tuple[NDArray[Any], ...]] = []
    texts: list[tuple[NDArray[Any], ...]] = []
    grid = places_grid = (0, 0)

    for batch in _split_batches(order, batch_size):
        image = model.describe_image(view(torch.from_numpy(np.asarray(pixels[batch])).to(device)))
        text = model.describe_text(move_to_device(tokens_of(reports, batch, trim=True), device))
        grid, places_grid = image.grid, image.places_grid
        image_vectors = (image.pooled, image.vector, image.observations.vectors, image.attention)
        images.append(
            (
                *map(_to_float32, image_vectors),
                _to_float16(image.patches),
                _to_float16(image.places),
            )
        )
        text_vectors = (text.vector, text.observations.vectors)
        texts.append((*map(_to_float32, text_vectors), text.observations.mask.cpu().numpy()))

    pooled, vector, visual, attention, patches, places = (
        np.concatenate(x) for x in zip(*images, strict=True)
    )
    text_vector, textual, mask = (np.concatenate(x) for x in zip(*texts, strict=True))

    return StudyEmbeddings(
        rows=order,
        studies=tuple(studies[row] for row in order),
        pooled=pooled,
        instance_image=vector,
        instance_text=text_vector,
        visual=visual,
        attention=attention,
        patches=patches,
        grid=grid,
        places=places,
        places_grid=places_grid,
        textual=textual,
        textual_mask=mask,
        report_key=np.asarray(reports.report_key[order]).astype(np.int64),
    )


@torch.no_grad()
def embed_pooled(
    model: Any,
    pixels: Any,
    rows: NDArray[np.int64],
    *,
    view: ViewTransform,
    device: torch.device | str = "cpu",
    batch_size: int = _BATCH_SIZE,
) -> _Float32Array:
    """Only the image encoder's pooled vectors [N, C]: what a linear probe reads of a training
    split.
    """
    model.eval()
    order = np.asarray(rows, dtype=np.int64)
    parts = [
        _to_float32(
            model.image_encoder(view(torch.from_numpy(np.asarray(pixels[batch])).to(device))).pooled
        )
        for batch in _split_batches(order, batch_size)
    ]

    return np.concatenate(parts)


@torch.no_grad()
def embed_phrases(
    model: Any,
    tokenize: Callable[[Sequence[str]], EncodedReports],
    phrases: Sequence[str],
    *,
    device: torch.device | str = "cpu",
) -> PhraseEmbeddings:
    """Describe prompts; ``tokenize`` makes of each phrase a report of one observation."""
    model.eval()
    reports = tokenize(list(phrases))
    texts = [
        model.describe_text(move_to_device(tokens_of(reports, batch, trim=True), device))
        for batch in _split_batches(np.arange(len(phrases)), _BATCH_SIZE)
    ]

    return PhraseEmbeddings(
        np.concatenate([_to_float32(t.vector) for t in texts]),
        np.concatenate([_to_float32(t.observations.vectors[:, 0]) for t in texts]),
    )


def _split_batches(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _to_float16(tensor: Tensor) -> NDArray[np.float16]:
    return _to_float32(tensor).astype(np.float16)


def _to_float32(tensor: Tensor) -> _Float32Array:
    return tensor.float().cpu().numpy()
