"""Masks of studies: which are known, in the model's view, and as run lengths in a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, Study
from place_cxr.images.masks import load_mask
from place_cxr.tasks.data import EvaluationDataset

_Mask = NDArray[np.bool_]


def is_mask_known(study: Study, name: str) -> bool:
    """Whether it is known where ``name`` is: there is a mask, or the label says it is nowhere."""
    return name in study.masks or study.labels.get(name) == ABSENT


def mask_names(studies: Sequence[Study]) -> list[str]:
    """All names that any study has a mask of, in order of appearance."""
    names: dict[str, None] = {}
    for study in studies:
        names |= dict.fromkeys(study.masks)

    return list(names)


def check_mask_size(mask: _Mask, data: EvaluationDataset, row: int, name: str) -> _Mask:
    """The mask of ``row``, unchanged.

    Raises PlaceError PL-D258 where its size is not that of its image.
    """
    letterbox = data.pack.letterbox(row)
    if mask.shape != (letterbox.height, letterbox.width):
        height, width = mask.shape
        problem = (
            f"a mask of {name} has {width} x {height} pixels, and its picture {letterbox.width} x "
            f"{letterbox.height}"
        )
        raise PlaceError(
            problem,
            code="PL-D258",
            file=data.source,
            fix="draw it on the picture; place data check names the rows",
        )

    return mask


def original_mask(data: EvaluationDataset, row: int, name: str) -> _Mask | None:
    """A mask [H, W] in pixels of the original image.

    It is empty where the label is absent, and None where the mask is not known.
    """
    study = data.studies[row]
    if name in study.masks:
        return check_mask_size(load_mask(study.masks[name]), data, row, name)
    letterbox = data.pack.letterbox(row)

    return (
        np.zeros((letterbox.height, letterbox.width), dtype=bool)
        if is_mask_known(study, name)
        else None
    )


def view_mask(data: EvaluationDataset, row: int, mask: _Mask) -> _Mask:
    """A mask of the original image in the model's view, [V, V].

    A pixel is inside where the mask covers half of it or more.
    """
    letterbox = data.pack.letterbox(row)
    start = (letterbox.size - data.view_size) // 2
    inside = slice(start, start + data.view_size)
    return letterbox.to_square(mask)[inside, inside] >= 128


class MaskCache:
    """Masks [M, V, V] of rows on the model's view, one bit a pixel, each read once."""

    def __init__(self, data: EvaluationDataset, names: Sequence[str]) -> None:
        self._data, self._names = data, tuple(names)
        self._packed: dict[int, NDArray[np.uint8]] = {}

    def __call__(self, rows: Sequence[int]) -> _Mask:
        """Masks [B, M, V, V]; what is not known is empty."""
        size = self._data.view_size
        bits = np.stack([self._row(int(row)) for row in rows])
        flat = np.unpackbits(bits, axis=-1, count=size * size)
        return flat.reshape(len(bits), len(self._names), size, size).astype(bool)

    def _row(self, row: int) -> NDArray[np.uint8]:
        if row not in self._packed:
            size, study = self._data.view_size, self._data.studies[row]
            masks = np.zeros((len(self._names), size * size), dtype=bool)
            for index, name in enumerate(self._names):
                if name in study.masks:
                    mask = check_mask_size(load_mask(study.masks[name]), self._data, row, name)
                    masks[index] = view_mask(self._data, row, mask).ravel()

            self._packed[row] = np.packbits(masks, axis=-1)
        return self._packed[row]


def run_lengths(mask: _Mask) -> list[int]:
    """Lengths of runs of equal pixels, row by row.

    The first run is outside the mask; its length is 0 where the first pixel is inside.
    """
    flat = mask.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [len(flat)]])
    lengths = np.diff(edges).tolist()

    return [0, *lengths] if flat[0] else lengths


def from_run_lengths(lengths: Sequence[int], height: int, width: int) -> _Mask:
    """The mask of `run_lengths`."""
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(height, width)
