"""What a picture looks like: simple scores that find pictures which are not what the data set says.

*Chest.* A picture, shrunk to 24 x 24 and its pixels replaced by their ranks, is correlated with the mean of 48
phantoms, in four turns. The largest correlation in size is the chest score; below CHEST it is not called a frontal
chest film. From SURE on, a turn that beats upright by TURN, or a negative that beats all positives by NEGATIVE, is
told. Edges of one grey are cut off before.

*Text.* Thin bright or dark strokes on their surroundings (top hat of REACH pixels, STEP grey levels) are split into
connected pieces; pieces of a letter's form that stand side by side on one line are counted. LETTERS in a row are text:
"L", "PA" and arrows are not.

Thresholds were set on phantoms and on one half of the sample radiographs, and measured on the other
half (docs/checks.md has the numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.images.letterbox import resize_by_area
from place_cxr.images.read import CONSTANT_IMAGE_CODE, is_constant_image, read_scaled_image_and_size

MIN_CHEST_SCORE, SURE_CHEST_SCORE, TURN_MARGIN, NEGATIVE_MARGIN = 0.2, 0.3, 0.2, 0.1
MIN_GRAY_LEVELS = (
    32  # of 256: fewer between the 1st and the 99th percentile is a picture that was scaled wrongly
)
FLAT_EDGE_LEVELS = 24  # grey levels within which a whole row or column of pixels is an edge
STROKE_WINDOW, STROKE_CONTRAST, MIN_LETTERS = 9, 60, 5
MEASURE_SIDE = 512  # pixels of the long side, up to twice as many, at which text is looked for
THUMB_SIZE = 32
_GRID = 24
_PHANTOMS, _PHANTOM_SIZE = 48, 64
_SHORTEST, _TALLEST = 6, 40  # pixels of a letter
_PIECES = 600  # more letter-like pieces than this are a texture


@dataclass(frozen=True, slots=True)
class ImageStats:
    """Upright ``height`` and ``width``; grey ``levels`` in use; ``count_letters`` in the longest
    line; ``thumb`` [32, 32].

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


def measure_file(path: Path | str, template: NDArray[np.float32]) -> ImageStats:
    """Look at one file; ``template`` is ``chest_template()``. Raises what ``read_image`` does,
    PL-D105 if constant.
    """
    image, (height, width) = read_scaled_image_and_size(path, MEASURE_SIDE)
    if is_constant_image(image):
        raise PlaceError(
            "shows nothing, all pixels are equal",
            code=CONSTANT_IMAGE_CODE,
            file=path,
            fix="leave it out",
        )

    return measure_image(image, height, width, template)


def measure_image(
    image: NDArray[np.uint8], height: int, width: int, template: NDArray[np.float32]
) -> ImageStats:
    """Look at a decoded picture; ``height`` and ``width`` are those of the original."""
    image = _shrink_whole(image)
    scores = chest_scores(image, template)
    chest = float(np.abs(scores).max())
    is_chest = chest >= SURE_CHEST_SCORE
    negative = bool(is_chest and (-scores).max() - scores.max() > NEGATIVE_MARGIN)
    dark, bright = np.percentile(image, (1, 99))

    return ImageStats(
        height,
        width,
        int(bright - dark),
        chest,
        _best_turn(-scores if negative else scores) if is_chest else 0,
        negative,
        count_letters(image),
        resize_by_area(image, THUMB_SIZE, THUMB_SIZE).astype(
            np.float16
        ),  # half the memory: a large set has many
    )


@cache
def chest_template() -> NDArray[np.float32]:
    """The mean of 48 phantoms [24, 24], as ranks from -1 to 1."""
    from place_cxr.phantom import make_study

    images = [make_study(0, index, _PHANTOM_SIZE).image for index in range(_PHANTOMS)]
    return _ranks(
        np.mean([resize_by_area(_trim_edges(image), _GRID, _GRID) for image in images], axis=0)
    )


def chest_scores(image: NDArray[Any], template: NDArray[np.float32]) -> NDArray[np.float64]:
    """Correlation of a picture's ranks with the template as it is and turned by 90, 180 and 270
    degrees.
    """
    ranks = _ranks(resize_by_area(_trim_edges(image), _GRID, _GRID))
    norm = float(np.linalg.norm(ranks) * np.linalg.norm(template))
    return np.array([float((ranks * np.rot90(template, turn)).sum()) / norm for turn in range(4)])


def _trim_edges(image: NDArray[Any]) -> NDArray[Any]:
    """Without edges of one grey: bars that only make a picture square say nothing about it."""
    rows, columns = (np.flatnonzero(np.ptp(image, axis=axis) > FLAT_EDGE_LEVELS) for axis in (1, 0))
    if len(rows) < _GRID or len(columns) < _GRID:
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _best_turn(scores: NDArray[np.float64]) -> int:
    best = int(scores.argmax())
    return best if scores[best] - scores[0] > TURN_MARGIN else 0


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    order = np.argsort(np.argsort(values, axis=None, kind="stable"), kind="stable")
    return (order.reshape(values.shape) * (2 / (values.size - 1)) - 1).astype(np.float32)


def _shrink_whole(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A long side under twice SIDE pixels, by whole factors."""
    factor = max(1, max(image.shape) // MEASURE_SIDE)
    if factor == 1:
        return image
    height, width = (side // factor for side in image.shape)
    blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def count_letters(image: NDArray[np.uint8]) -> int:
    """How many letter-like pieces the longest line of text in a picture has, white on dark or dark
    on white.
    """
    if min(image.shape) < 4 * STROKE_WINDOW:
        return 0
    return max(_longest_line(_top_hat(gray) > STROKE_CONTRAST) for gray in (image, 255 - image))


def _top_hat(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is brighter than its surroundings and less than REACH pixels wide."""
    low = _running_extreme(_running_extreme(gray, np.minimum).T, np.minimum).T
    opened = _running_extreme(_running_extreme(low, np.maximum).T, np.maximum).T
    return gray - np.minimum(opened, gray)


def _running_extreme(gray: NDArray[np.uint8], extreme: np.ufunc) -> NDArray[np.uint8]:
    """Minimum or maximum over REACH rows, by doubling the window: some passes over memory instead
    of REACH.
    """
    half = STROKE_WINDOW // 2
    result = np.pad(gray, ((half, half), (0, 0)), mode="edge")
    window = 1
    while window < STROKE_WINDOW:
        step = min(window, STROKE_WINDOW - window)
        result = extreme(result[:-step], result[step:])
        window += step

    return result


def _longest_line(strokes: NDArray[np.bool_]) -> int:
    from scipy import ndimage

    pieces, number = ndimage.label(strokes, structure=np.ones((3, 3)))
    if number < MIN_LETTERS:
        return 0

    boxes = np.array([(y.start, y.stop, x.start, x.stop) for y, x in ndimage.find_objects(pieces)])
    area = np.bincount(pieces.ravel())[1:]
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    is_letter = (
        (height >= _SHORTEST)
        & (height <= _TALLEST)
        & (width <= 1.3 * height)
        & (area >= 0.15 * height * width)
    )
    boxes = boxes[is_letter][np.argsort(boxes[is_letter][:, 2])]  # from left to right
    if not MIN_LETTERS <= len(boxes) <= _PIECES:
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
