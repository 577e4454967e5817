"""The detector grid and the projection of tubes on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Grid:
    """``size`` by ``size`` square pixels over ``fov`` mm, whose top left corner is at (``left``, ``top``) mm."""

    size: int
    fov: float
    left: float
    top: float

    @property
    def step(self) -> float:
        """Pixel pitch, mm."""
        return self.fov / self.size

    @property
    def x(self) -> Map:
        """Pixel centres along a row, mm, [1, size]."""
        return _centres(self.size)[None, :] * np.float32(self.fov) + np.float32(self.left)

    @property
    def y(self) -> Map:
        """Pixel centres along a column, mm, [size, 1]."""
        return _centres(self.size)[:, None] * np.float32(self.fov) + np.float32(self.top)

    def zeros(self) -> Map:
        """An empty map of lengths, mm."""
        return np.zeros((self.size, self.size), np.float32)


@lru_cache(maxsize=8)
def _centres(size: int) -> Map:
    return ((np.arange(size) + 0.5) / size).astype(np.float32)


def half_ellipse(u: Map) -> Map:
    """Half chord of the unit circle at distance ``u`` from its centre, 0 outside."""
    return np.sqrt(np.maximum(1 - u * u, 0))


def ramp(value: Map, width: float) -> Map:
    """0 below ``-width / 2``, 1 above ``width / 2``, linear between: an edge blurred over ``width``."""
    return np.clip(value * np.float32(1 / width) + np.float32(0.5), 0, 1)


def path(points: NDArray[np.floating], radii: NDArray[np.floating] | float) -> Map:
    """Segments ``x0 y0 r0 x1 y1 r1`` [n-1, 6] along ``points`` [n, 2] of ``radii`` [n], mm."""
    joined = np.concatenate([points, np.broadcast_to(np.reshape(radii, (-1, 1)), (len(points), 1))], axis=1)
    return np.concatenate([joined[:-1], joined[1:]], axis=1).astype(np.float32)


def tubes(grid: Grid, segments: NDArray[np.floating]) -> Map:
    """Length of the rays inside round tubes, mm: the exact mean over each pixel's width of the chord.

    ``segments`` [n, 6] are ``x0 y0 r0 x1 y1 r1`` in mm. Where several lie on a pixel the longest chord counts, so that
    the joints of one curve do not add up. Tubes thinner than a pixel keep their area, hence their contrast falls with
    the pixel's size as on a detector.
    """
    out = np.zeros(grid.size * grid.size, np.float32)
    if len(segments) == 0:
        return out.reshape(grid.size, grid.size)
    step = grid.step
    segments = np.asarray(segments, np.float32)
    reach = np.maximum(np.abs(segments[:, 3] - segments[:, 0]), np.abs(segments[:, 4] - segments[:, 1])) / 2
    half = np.ceil((reach + np.maximum(segments[:, 2], segments[:, 5])) / step + 1).astype(np.int64)
    # Patches of like size go together: a long thin tube must not cost every short one a large patch.
    bucket = np.ceil(np.log2(np.maximum(half, 3)) * 2).astype(np.int64)
    for value in np.unique(bucket):
        chosen = bucket == value
        _tube_patches(grid, segments[chosen], int(half[chosen].max()), out)
    return out.reshape(grid.size, grid.size)


def _tube_patches(grid: Grid, segments: Map, half: int, out: Map) -> None:
    """Raise ``out`` [size * size] to the chords of ``segments``, each within ``half`` pixels of its middle."""
    step, size = np.float32(grid.step), grid.size
    x0, y0, r0, x1, y1, r1 = (segments[:, k, None, None] for k in range(6))
    offsets = np.arange(-half, half + 1)
    column = np.floor((segments[:, 0] + segments[:, 3]) / 2 / step - grid.left / step).astype(np.int64)
    line = np.floor((segments[:, 1] + segments[:, 4]) / 2 / step - grid.top / step).astype(np.int64)
    column = column[:, None, None] + offsets[None, None, :]
    line = line[:, None, None] + offsets[None, :, None]
    px = (column.astype(np.float32) + np.float32(0.5)) * step + np.float32(grid.left) - x0
    py = (line.astype(np.float32) + np.float32(0.5)) * step + np.float32(grid.top) - y0
    dx, dy = x1 - x0, y1 - y0
    along = np.clip((px * dx + py * dy) / np.maximum(dx * dx + dy * dy, np.float32(1e-6)), 0, 1)
    distance = np.hypot(px - along * dx, py - along * dy)
    radius = r0 + along * (r1 - r0)
    inside = (distance < radius + step / 2) & (column >= 0) & (column < size) & (line >= 0) & (line < size)
    index = (line * size + column)[inside]
    np.maximum.at(out, index, mean_chord(distance[inside], np.broadcast_to(radius, inside.shape)[inside], float(step)))


def mean_chord(distance: Map, radius: Map, width: float) -> Map:
    """Chord of a circle of ``radius`` averaged over a strip of ``width`` centred ``distance`` from its centre."""
    r = np.maximum(radius, np.float32(1e-3))
    low = np.clip((distance - np.float32(width / 2)) / r, -1, 1)
    high = np.clip((distance + np.float32(width / 2)) / r, -1, 1)
    area = high * half_ellipse(high) + np.arcsin(high) - low * half_ellipse(low) - np.arcsin(low)
    return (area * r * r / np.float32(width)).astype(np.float32)


def ellipse_distance(grid: Grid, x: float, y: float, a: float, b: float, degrees: float = 0.0) -> Map:
    """Normalised radius (1 on the edge) of the ellipse at (x, y) with semi-axes a, b turned clockwise on the image."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    px, py = grid.x - np.float32(x), grid.y - np.float32(y)
    u = (px * np.float32(cos) + py * np.float32(sin)) / np.float32(a)
    v = (py * np.float32(cos) - px * np.float32(sin)) / np.float32(b)
    return np.sqrt(u * u + v * v)


def ellipsoid(grid: Grid, x: float, y: float, a: float, b: float, c: float, degrees: float = 0.0) -> Map:
    """Length of the rays along z inside an ellipsoid of semi-axes a, b, c, mm: ``2 c sqrt(1 - r^2)``."""
    return np.float32(2 * c) * half_ellipse(ellipse_distance(grid, x, y, a, b, degrees))
