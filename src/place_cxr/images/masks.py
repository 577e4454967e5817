"""Masks that stand in a table as run lengths (SIIM-ACR), and the one way to load any mask of a
study.

The published form: pairs "gap length", gaps counted from the end of the run before, pixels counted
down the columns. A run that leaves the picture is cut, as the published decoder does.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import RunLengths
from place_cxr.images.read import read_mask


def load_mask(mask: Path | RunLengths) -> NDArray[np.bool_]:
    """A study's mask [height, width], True inside: read from its file, or decoded. Raises PL-D1xx,
    PL-D230.
    """
    return decode_run_lengths(mask) if isinstance(mask, RunLengths) else read_mask(mask)


def decode_run_lengths(mask: RunLengths) -> NDArray[np.bool_]:
    """The mask [height, width]. Raises PL-D230 for a text that is no pairs of numbers from 0."""
    size = mask.height * mask.width
    edges = np.zeros(size + 1, dtype=np.int64)
    for text in mask.texts:
        gaps, lengths = _parse_pairs(text)
        ends = np.minimum(np.cumsum(gaps + lengths), size)
        starts = np.minimum(np.cumsum(gaps + lengths) - lengths, size)
        np.add.at(edges, starts, 1)
        np.add.at(edges, ends, -1)
    inside = np.cumsum(edges[:size]) > 0
    return inside.reshape(mask.width, mask.height).T


def encode_run_lengths(mask: NDArray[np.bool_]) -> str:
    """The text of one mask [height, width]; empty for an empty mask."""
    column_first = np.concatenate([[False], mask.T.ravel(), [False]])
    changes = np.flatnonzero(column_first[1:] != column_first[:-1])
    starts, ends = changes[::2], changes[1::2]
    gaps = starts - np.concatenate([[0], ends[:-1]]) if len(starts) else starts
    return " ".join(f"{gap} {length}" for gap, length in zip(gaps, ends - starts, strict=True))


def _parse_pairs(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        numbers = np.array([int(word) for word in text.split()], dtype=np.int64)
    except (ValueError, OverflowError):
        _refuse("is not numbers")
    if len(numbers) % 2:
        _refuse("has a gap without a length")
    if len(numbers) and (numbers.min() < 0 or numbers.max() > np.iinfo(np.int32).max):
        _refuse("has a number below 0 or beyond any picture")
    return numbers[::2], numbers[1::2]


def _refuse(problem: str) -> NoReturn:
    raise PlaceError(
        f"a run-length mask {problem}", code="PL-D230", fix="copy the table again"
    ) from None
