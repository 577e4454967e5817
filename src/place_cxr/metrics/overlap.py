"""How well a region or a heat map agrees with a mask. All arrays of one call have the same height
and width, in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.intervals import Floats

# Fixed in advance: a threshold searched on the test images would flatter the map.
HALF_OF_MAXIMUM = 0.5


@dataclass(frozen=True, slots=True)
class Overlap:
    """One value for each of N pairs. Two empty masks agree and score 1."""

    iou: Floats
    dice: Floats
    both_empty: int  # pairs of two empty masks


def compute_overlap(predicted: ArrayLike, truth: ArrayLike) -> Overlap:
    """Intersection over union, and Dice, of bool masks [N, H, W].

    Raises:
        PlaceError: PL-D223 if shapes disagree.
    """
    first, second = np.asarray(predicted, dtype=bool), np.asarray(truth, dtype=bool)
    _check_shapes(first, second)

    intersection = (first & second).sum((1, 2)).astype(np.float64)
    sizes = first.sum((1, 2)) + second.sum((1, 2))
    empty = sizes == 0

    # The lower bound of 1 pixel only matters where both masks are empty, and there the value is 1.
    iou = np.where(empty, 1.0, intersection / np.maximum(sizes - intersection, 1))
    dice = np.where(empty, 1.0, 2 * intersection / np.maximum(sizes, 1))

    return Overlap(iou, dice, int(empty.sum()))


def pointing_game(heat: ArrayLike, truth: ArrayLike) -> Floats:
    """Is the maximum of a heat map [N, H, W] inside its mask? 1 or 0.

    Where several pixels share the maximum, the fraction of them that is inside. NaN for an empty
    mask: there is nothing to point at. A constant map scores the mask's fraction of the image.

    Raises:
        PlaceError: PL-D223 if shapes disagree, PL-G002 if a heat map is not finite.
    """
    maps, masks = _checked_heat(heat, truth)
    peak = maps == maps.max((1, 2), keepdims=True)
    inside = (peak & masks).sum((1, 2)) / peak.sum((1, 2))

    return np.where(masks.any((1, 2)), inside, np.nan)


def above_half_maximum(heat: ArrayLike) -> NDArray[np.bool_]:
    """The region of a non-negative heat map [N, H, W] that reaches half of its maximum; empty where
    the map is 0.
    """
    maps = np.asarray(heat)
    top = maps.max((1, 2), keepdims=True)
    return np.asarray((maps >= HALF_OF_MAXIMUM * top) & (top > 0))


def heat_overlap(heat: ArrayLike, truth: ArrayLike) -> Overlap:
    """Overlap of the mask with the region above half of the heat map's maximum."""
    maps, masks = _checked_heat(heat, truth)
    return compute_overlap(above_half_maximum(maps), masks)


def _checked_heat(heat: ArrayLike, truth: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    maps, masks = np.asarray(heat, dtype=np.float64), np.asarray(truth, dtype=bool)
    _check_shapes(maps, masks)
    bad = np.flatnonzero(~np.isfinite(maps).all((1, 2)))
    if len(bad):
        raise PlaceError(
            f"{len(bad)} heat maps are NaN or infinite, first row {bad[0]}", code="PL-G002"
        )

    return maps, masks


def _check_shapes(first: NDArray[np.generic], second: NDArray[np.generic]) -> None:
    if first.ndim != 3 or first.shape != second.shape:
        raise PlaceError(
            f"maps {first.shape} and masks {second.shape} differ in size", code="PL-D223"
        )
