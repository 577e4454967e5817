"""Simple scores of an image that find images which are not what the data set says.

*Chest.* An image, shrunk to 24 x 24 and its pixels replaced by their ranks, is correlated with the
mean of 48 phantoms in four rotations. The largest absolute correlation is the chest score; an image
below MIN_CHEST_SCORE does not look like a frontal chest radiograph. From SURE_CHEST_SCORE on, two
faults are reported: a rotation that scores TURN_MARGIN above upright, and a negative that scores
NEGATIVE_MARGIN above all positives. Edges of one gray level are cut off before.

*Text.* Thin bright or dark strokes (top hat of STROKE_WINDOW pixels, STROKE_CONTRAST gray levels)
are split into connected pieces; pieces of a letter's shape that stand side by side on one line are
counted. MIN_LETTERS in a row are text: "L", "PA" and arrows are not.

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
# Of 256: with fewer levels between the 1st and the 99th percentile, the image was scaled wrongly.
MIN_GRAY_LEVELS = 32
FLAT_EDGE_LEVELS = 24  # a row or column of pixels within so many gray levels is an edge
STROKE_WINDOW, STROKE_CONTRAST, MIN_LETTERS = 9, 60, 5
MEASURE_SIDE = 512  # pixels of the long side (up to twice as many) of the image that is measured
THUMB_SIZE = 32
_GRID = 24
_PHANTOMS, _PHANTOM_SIZE = 48, 64
_MIN_LETTER_HEIGHT, _MAX_LETTER_HEIGHT = 6, 40  # pixels
_MAX_PIECES = 600  # more letter-like pieces than this are a texture


@dataclass(frozen=True, slots=True)
class ImageStats:
    """Measurements of one image.

    ``height`` and ``width`` of the original, upright; gray ``levels`` in use; ``chest`` score in
    0..1; ``turn`` in quarter turns counter-clockwise (0 where in doubt); ``negative``: whether
    black and white look exchanged; ``letters`` of the longest line of text; ``thumb`` [32, 32].
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
    """Measure the image of a file; ``template`` is ``chest_template()``.

    Raises what ``read_image`` does, and PL-D105 where all pixels are equal.
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
    """Measure a decoded image; ``height`` and ``width`` are those of the original."""
    image = _shrink_whole(image)
    scores = chest_scores(image, template)
    chest = float(np.abs(scores).max())
    is_chest = chest >= SURE_CHEST_SCORE
    negative = bool(is_chest and (-scores).max() - scores.max() > NEGATIVE_MARGIN)
    turn = _best_turn(-scores if negative else scores) if is_chest else 0
    dark, bright = np.percentile(image, (1, 99))

    return ImageStats(
        height=height,
        width=width,
        levels=int(bright - dark),
        chest=chest,
        turn=turn,
        negative=negative,
        letters=count_letters(image),
        # float16: a large data set has many thumbnails in memory.
        thumb=resize_by_area(image, THUMB_SIZE, THUMB_SIZE).astype(np.float16),
    )


@cache
def chest_template() -> NDArray[np.float32]:
    """The mean of 48 phantoms [24, 24], as ranks from -1 to 1."""
    from place_cxr.phantom import make_study

    images = [make_study(0, index, _PHANTOM_SIZE).image for index in range(_PHANTOMS)]
    grids = [resize_by_area(_trim_edges(image), _GRID, _GRID) for image in images]
    return _ranks(np.mean(grids, axis=0))


def chest_scores(image: NDArray[Any], template: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rank correlation of an image with the template, upright and rotated by 90, 180 and 270
    degrees: [4].
    """
    ranks = _ranks(resize_by_area(_trim_edges(image), _GRID, _GRID))
    norm = float(np.linalg.norm(ranks) * np.linalg.norm(template))
    return np.array([float((ranks * np.rot90(template, turn)).sum()) / norm for turn in range(4)])


def _trim_edges(image: NDArray[Any]) -> NDArray[Any]:
    """The image without edges of one gray level, such as bars that make it square."""
    rows, columns = (np.flatnonzero(np.ptp(image, axis=axis) > FLAT_EDGE_LEVELS) for axis in (1, 0))
    if len(rows) < _GRID or len(columns) < _GRID:
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _best_turn(scores: NDArray[np.float64]) -> int:
    # Upright is the first score; another rotation must be clearly better.
    best = int(scores.argmax())
    return best if scores[best] - scores[0] > TURN_MARGIN else 0


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    # The rank of each pixel, scaled to -1..1: independent of brightness and contrast.
    order = np.argsort(np.argsort(values, axis=None, kind="stable"), kind="stable")
    return (order.reshape(values.shape) * (2 / (values.size - 1)) - 1).astype(np.float32)


def _shrink_whole(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image shrunk by a whole factor: its long side is then under 2 * MEASURE_SIDE pixels."""
    factor = max(1, max(image.shape) // MEASURE_SIDE)
    if factor == 1:
        return image
    height, width = (side // factor for side in image.shape)
    blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def count_letters(image: NDArray[np.uint8]) -> int:
    """The letter-like pieces of the longest line of text in an image, white on dark or dark on
    white.
    """
    if min(image.shape) < 4 * STROKE_WINDOW:
        return 0
    return max(_longest_line(_top_hat(gray) > STROKE_CONTRAST) for gray in (image, 255 - image))


def _top_hat(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How much brighter a pixel is than its surroundings, in shapes narrower than the window."""
    # The image minus its opening: the maximum of the minimum over a square window.
    low = _running_extreme(_running_extreme(gray, np.minimum).T, np.minimum).T
    opened = _running_extreme(_running_extreme(low, np.maximum).T, np.maximum).T
    return gray - np.minimum(opened, gray)


def _running_extreme(gray: NDArray[np.uint8], extreme: np.ufunc) -> NDArray[np.uint8]:
    """Minimum or maximum over STROKE_WINDOW rows. The window is doubled in each pass over memory,
    which takes 4 passes instead of 8.
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

    # Pieces of a letter's shape: neither dots nor large, not wide, and not a thin diagonal line.
    boxes = np.array([(y.start, y.stop, x.start, x.stop) for y, x in ndimage.find_objects(pieces)])
    area = np.bincount(pieces.ravel())[1:]
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    is_letter = (
        (height >= _MIN_LETTER_HEIGHT)
        & (height <= _MAX_LETTER_HEIGHT)
        & (width <= 1.3 * height)
        & (area >= 0.15 * height * width)
    )
    boxes = boxes[is_letter][np.argsort(boxes[is_letter][:, 2])]  # from left to right
    if not MIN_LETTERS <= len(boxes) <= _MAX_PIECES:
        return 0

    # Which piece [N, 1] can be followed by which piece [N]: on the same line, of about the same
    # height, close to its right.
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

    # The longest chain that ends in each piece; from left to right, the ones before are known.
    length = np.ones(len(boxes), dtype=np.int64)
    for piece in range(len(boxes)):
        before = length[follows[:, piece]]
        length[piece] = 1 + before.max(initial=0)

    return int(length.max())
