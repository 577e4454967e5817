"""Distance between the edge of a predicted region and that of the true one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from place_cxr.core.errors import PlaceError


def boundary_distance(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Average symmetric surface distance of two bool masks [H, W], in pixels; NaN where one is
    empty.

    The mean, over the edge pixels of both, of the distance to the nearest edge pixel of the other.
    An edge pixel is one with a neighbour (of four) outside the mask; outside the image is outside.

    Raises:
        PlaceError: PL-D223 if shapes disagree.
    """
    first, second = np.asarray(predicted, dtype=bool), np.asarray(truth, dtype=bool)
    if first.ndim != 2 or first.shape != second.shape:
        raise PlaceError(f"masks {first.shape} and {second.shape} differ in size", code="PL-D223")
    if not (first.any() and second.any()):
        return float("nan")

    window = _window(first | second)
    first_edge, second_edge = _edge(first[window]), _edge(second[window])

    # Distances are pooled over the edge pixels of both masks, so a longer edge weighs more.
    forward = KDTree(second_edge).query(first_edge)[0]
    backward = KDTree(first_edge).query(second_edge)[0]

    return float(np.concatenate([forward, backward]).mean())


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows and columns of the edge pixels [N, 2]."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))


def _window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest window that holds both masks. Nothing outside it is an edge."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
