"""What a picture looks like: simple scores that find pictures which are not what the data set says.

*Chest.* A picture, shrunk to 24 x 24 and its pixels replaced by their ranks, is correlated with the mean of 48
phantoms, in four turns. The largest correlation in size is the chest score; below CHEST it is not called a frontal
chest film. From SURE on, a turn that beats upright by TURN, or a negative that beats all positives by NEGATIVE, is
told. Edges of one grey are cut off before.

*Text.* Thin bright or dark strokes on their surroundings (top hat of REACH pixels, STEP grey levels) are split into
connected pieces; pieces of a letter's form that stand side by side on one line are counted. LETTERS in a row are text:
"L", "PA" and arrows are not.

Thresholds were set on phantoms and on one half of the sample radiographs, and measured on the other half
(docs/checks.md has the numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.images.letterbox import shrink
from place_cxr.images.read import CONSTANT, decode_with_size, is_constant

CHEST, SURE, TURN, NEGATIVE = 0.2, 0.3, 0.2, 0.1
LEVELS = 32  # of 256: fewer between the 1st and the 99th percentile is a picture that was scaled wrongly
FLAT = 24  # grey levels within which a whole row or column of pixels is an edge
REACH, STEP, LETTERS = 9, 60, 5
SIDE = 512  # pixels of the long side, up to twice as many, at which text is looked for
THUMB = 32
_GRID = 24
_PHANTOMS, _PHANTOM_SIZE = 48, 64
_SHORTEST, _TALLEST = 6, 40  # pixels of a letter
_PIECES = 600  # more letter-like pieces than this are a texture


@dataclass(frozen=True, slots=True)
class Look:
    """Upright ``height`` and ``width``; grey ``levels`` in use; ``letters`` in the longest line; ``thumb`` [32, 32].

    ``chest`` in 0..1, ``turn`` in quarter turns counter-clockwise (0 where in doubt), ``negative``
    whether black and white look exchanged.
    """

    height: int
    width: int
    levels: int
    chest: float
    turn: int
    negative: bool
    letters: int
    thumb: NDArray[np.float16]


def look(path: Path | str, template: NDArray[np.float32]) -> Look:
    """Look at one file; ``template`` is ``chest_template()``. Raises what ``read_image`` does, PL-D105 if constant."""
    picture, (height, width) = decode_with_size(path, SIDE)
    if is_constant(picture):
        raise PlaceError("shows nothing, all pixels are equal", code=CONSTANT, file=path, fix="leave it out")
    return see(picture, height, width, template)


def see(picture: NDArray[np.uint8], height: int, width: int, template: NDArray[np.float32]) -> Look:
    """Look at a decoded picture; ``height`` and ``width`` are those of the original."""
    picture = _halved(picture)
    scores = chest_scores(picture, template)
    chest = float(np.abs(scores).max())
    seen = chest >= SURE
    negative = bool(seen and (-scores).max() - scores.max() > NEGATIVE)
    dark, bright = np.percentile(picture, (1, 99))
    return Look(
        height,
        width,
        int(bright - dark),
        chest,
        _turn(-scores if negative else scores) if seen else 0,
        negative,
        letters(picture),
        shrink(picture, THUMB, THUMB).astype(np.float16),  # half the memory: a large set has many
    )


@cache
def chest_template() -> NDArray[np.float32]:
    """The mean of 48 phantoms [24, 24], as ranks from -1 to 1."""
    from place_cxr.phantom import make_study

    images = [make_study(0, index, _PHANTOM_SIZE).image for index in range(_PHANTOMS)]
    return _ranks(np.mean([shrink(_trimmed(image), _GRID, _GRID) for image in images], axis=0))


def chest_scores(picture: NDArray[Any], template: NDArray[np.float32]) -> NDArray[np.float64]:
    """Correlation of a picture's ranks with the template as it is and turned by 90, 180 and 270 degrees."""
    ranks = _ranks(shrink(_trimmed(picture), _GRID, _GRID))
    norm = float(np.linalg.norm(ranks) * np.linalg.norm(template))
    return np.array([float((ranks * np.rot90(template, turn)).sum()) / norm for turn in range(4)])


def _trimmed(picture: NDArray[Any]) -> NDArray[Any]:
    """Without edges of one grey: bars that only make a picture square say nothing about it."""
    rows, columns = (np.flatnonzero(np.ptp(picture, axis=axis) > FLAT) for axis in (1, 0))
    if len(rows) < _GRID or len(columns) < _GRID:
        return picture
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _turn(scores: NDArray[np.float64]) -> int:
    best = int(scores.argmax())
    return best if scores[best] - scores[0] > TURN else 0


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    order = np.argsort(np.argsort(values, axis=None, kind="stable"), kind="stable")
    return (order.reshape(values.shape) * (2 / (values.size - 1)) - 1).astype(np.float32)


def _halved(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A long side under twice SIDE pixels, by whole factors."""
    factor = max(1, max(picture.shape) // SIDE)
    if factor == 1:
        return picture
    height, width = (side // factor for side in picture.shape)
    blocks = picture[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def letters(picture: NDArray[np.uint8]) -> int:
    """How many letter-like pieces the longest line of text in a picture has, white on dark or dark on white."""
    if min(picture.shape) < 4 * REACH:
        return 0
    return max(_longest_line(_top_hat(grey) > STEP) for grey in (picture, 255 - picture))


def _top_hat(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is brighter than its surroundings and less than REACH pixels wide."""
    low = _running(_running(grey, np.minimum).T, np.minimum).T
    opened = _running(_running(low, np.maximum).T, np.maximum).T
    return grey - np.minimum(opened, grey)


def _running(grey: NDArray[np.uint8], extreme: np.ufunc) -> NDArray[np.uint8]:
    """Minimum or maximum over REACH rows, by doubling the window: some passes over memory instead of REACH."""
    half = REACH // 2
    found = np.pad(grey, ((half, half), (0, 0)), mode="edge")
    window = 1
    while window < REACH:
        step = min(window, REACH - window)
        found = extreme(found[:-step], found[step:])
        window += step
    return found


def _longest_line(strokes: NDArray[np.bool_]) -> int:
    from scipy import ndimage

    pieces, number = ndimage.label(strokes, structure=np.ones((3, 3)))
    if number < LETTERS:
        return 0
    boxes = np.array([(y.start, y.stop, x.start, x.stop) for y, x in ndimage.find_objects(pieces)])
    area = np.bincount(pieces.ravel())[1:]
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    formed = (height >= _SHORTEST) & (height <= _TALLEST) & (width <= 1.3 * height) & (area >= 0.15 * height * width)
    boxes = boxes[formed][np.argsort(boxes[formed][:, 2])]  # from left to right
    if not LETTERS <= len(boxes) <= _PIECES:
        return 0
    height, middle = boxes[:, 1] - boxes[:, 0], (boxes[:, 0] + boxes[:, 1]) / 2
    smaller = np.minimum(height[:, None], height)
    gap = boxes[:, 2] - boxes[:, 3, None]  # from the right edge of one to the left edge of the next
    follows = (
        (np.abs(middle[:, None] - middle) <= 0.3 * smaller)
        & (np.maximum(height[:, None], height) <= 1.5 * smaller)
        & (gap > -0.2 * smaller)
        & (gap <= smaller)
        & (boxes[:, 2] > boxes[:, 2, None])
    )
    length = np.ones(len(boxes), dtype=np.int64)
    for piece in range(len(boxes)):
        before = length[follows[:, piece]]
        length[piece] = 1 + before.max(initial=0)
    return int(length.max())
