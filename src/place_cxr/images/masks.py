"""Masks that a table holds as run lengths (SIIM-ACR), and the one way to load any mask of a study.

The published format is a list of pairs "gap length". A gap is counted from the end of the previous
run, and pixels are counted down the columns. A run past the last pixel is cut, as in the published
decoder.
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
    """A study's mask [height, width], True inside, from its file or its run lengths.

    Raises PL-D1xx for a file that cannot be read, PL-D230 for bad run lengths.
    """
    return decode_run_lengths(mask) if isinstance(mask, RunLengths) else read_mask(mask)


def decode_run_lengths(mask: RunLengths) -> NDArray[np.bool_]:
    """The mask [height, width]. Raises PL-D230 for a text that is not pairs of numbers >= 0."""
    size = mask.height * mask.width
    edges = np.zeros(size + 1, dtype=np.int64)

    # +1 where a run starts and -1 where it ends: the running sum counts the runs over each pixel.
    for text in mask.texts:
        gaps, lengths = _parse_pairs(text)
        ends = np.minimum(np.cumsum(gaps + lengths), size)
        starts = np.minimum(np.cumsum(gaps + lengths) - lengths, size)
        np.add.at(edges, starts, 1)
        np.add.at(edges, ends, -1)

    inside = np.cumsum(edges[:size]) > 0
    return inside.reshape(mask.width, mask.height).T


def _parse_pairs(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Gaps and lengths, int64 [n] each."""
    try:
        numbers = np.array([int(word) for word in text.split()], dtype=np.int64)
    except (ValueError, OverflowError):
        _refuse("is not numbers")

    if len(numbers) % 2:
        _refuse("has a gap without a length")
    if len(numbers) and (numbers.min() < 0 or numbers.max() > np.iinfo(np.int32).max):
        _refuse("has a number below 0 or beyond any image")

    return numbers[::2], numbers[1::2]


def _refuse(problem: str) -> NoReturn:
    raise PlaceError(
        f"a run-length mask {problem}", code="PL-D230", fix="copy the table again"
    ) from None
