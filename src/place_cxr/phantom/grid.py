"""The detector grid and the projection of tubes on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[Any]  # float32 [rows, columns]; the stubs of numpy widen mixed arithmetic
BoolMap = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Grid:
    """``size`` by ``size`` square pixels over ``fov`` mm, whose top left corner is at (``left``,
    ``top``) mm.
    """

    size: int
    fov: float
    left: float
    top: float

    @property
    def step(self) -> float:
        """Pixel pitch, mm."""
        return self.fov / self.size

    @property
    def x(self) -> FloatMap:
        """Pixel centers along a row, mm, [1, size]."""
        return _centers(self.size)[None, :] * np.float32(self.fov) + np.float32(self.left)

    @property
    def y(self) -> FloatMap:
        """Pixel centers along a column, mm, [size, 1]."""
        return _centers(self.size)[:, None] * np.float32(self.fov) + np.float32(self.top)

    def zeros(self) -> FloatMap:
        """An empty map of lengths, mm."""
        return np.zeros((self.size, self.size), np.float32)


@lru_cache(maxsize=8)
def _centers(size: int) -> FloatMap:
    return ((np.arange(size) + 0.5) / size).astype(np.float32)


def half_ellipse(u: FloatMap) -> FloatMap:
    """Half chord of the unit circle at distance ``u`` from its center, 0 outside."""
    return np.sqrt(np.maximum(1 - u * u, 0))


def ramp(value: FloatMap, width: float) -> FloatMap:
    """A blurred edge: 0 below ``-width / 2``, 1 above ``width / 2``, linear between."""
    return np.clip(value * np.float32(1 / width) + np.float32(0.5), 0, 1)


def path_segments(points: NDArray[np.floating], radii: NDArray[np.floating] | float) -> FloatMap:
    """Segments ``x0 y0 r0 x1 y1 r1`` [n-1, 6] along ``points`` [n, 2] of ``radii`` [n], mm."""
    joined = np.concatenate(
        [points, np.broadcast_to(np.reshape(radii, (-1, 1)), (len(points), 1))], axis=1
    )
    return np.concatenate([joined[:-1], joined[1:]], axis=1).astype(np.float32)


def smooth_curve(points: np.ndarray, count: int) -> np.ndarray:
    """A Catmull-Rom curve through ``points`` [n, 2], sampled at ``count`` points."""
    # A mirrored point at each end gives the first and last piece their neighbors.
    ends = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, len(points) - 1, count)
    i = np.minimum(t.astype(np.int64), len(points) - 2)
    f = (t - i)[:, None]

    a, b, c, d = ends[i], ends[i + 1], ends[i + 2], ends[i + 3]
    return 0.5 * (
        2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - 3 * c + d - a) * f**3
    )


def project_tubes(grid: Grid, segments: NDArray[np.floating]) -> FloatMap:
    """Length of the rays inside round tubes, mm: the exact mean of the chord over each pixel.

    ``segments`` [n, 6] are ``x0 y0 r0 x1 y1 r1`` in mm. Where several lie on a pixel the longest
    chord counts, so that the joints of one curve do not add up. Tubes thinner than a pixel keep
    their area, so their contrast falls with the pixel size, as on a detector.
    """
    out = np.zeros(grid.size * grid.size, np.float32)
    if len(segments) == 0:
        return out.reshape(grid.size, grid.size)

    # Half the edge, in pixels, of the patch that holds each segment.
    step = grid.step
    segments = np.asarray(segments, np.float32)
    reach = (
        np.maximum(np.abs(segments[:, 3] - segments[:, 0]), np.abs(segments[:, 4] - segments[:, 1]))
        / 2
    )
    half = np.ceil((reach + np.maximum(segments[:, 2], segments[:, 5])) / step + 1).astype(np.int64)

    # Patches of similar size are computed together: one long tube must not give every short one a
    # large patch.
    bucket = np.ceil(np.log2(np.maximum(half, 4)) * 1.5).astype(np.int64)
    for value in np.unique(bucket):
        in_bucket = bucket == value
        _tube_patches(grid, segments[in_bucket], int(half[in_bucket].max()), out)

    return out.reshape(grid.size, grid.size)


def _tube_patches(grid: Grid, segments: FloatMap, half: int, out: FloatMap) -> None:
    """Raise ``out`` [size * size] to the chords of ``segments``.

    A segment reaches at most ``half`` pixels from its middle.
    """
    step, size = np.float32(grid.step), grid.size
    x0, y0, r0, x1, y1, r1 = (segments[:, k, None] for k in range(6))

    # [n, 2 half + 1]: columns and lines of each patch, and their distance from the first end, mm.
    offsets = np.arange(-half, half + 1)
    column = np.floor(((x0 + x1) / 2 - grid.left) / step).astype(np.int64) + offsets
    line = np.floor(((y0 + y1) / 2 - grid.top) / step).astype(np.int64) + offsets
    px = (column.astype(np.float32) + np.float32(0.5)) * step + np.float32(grid.left) - x0
    py = (line.astype(np.float32) + np.float32(0.5)) * step + np.float32(grid.top) - y0
    dx, dy = x1 - x0, y1 - y0
    length = np.maximum(dx * dx + dy * dy, np.float32(1e-6))

    # [n, lines, columns]: the point of each segment nearest to each pixel (0 to 1), then the square
    # of the distance to it. In place, because these arrays are the largest.
    along = (px * dx / length)[:, None, :] + (py * dy / length)[:, :, None]
    np.maximum(along, 0, out=along)
    np.minimum(along, 1, out=along)
    square = px[:, None, :] - along * dx[:, None]
    square *= square
    aside = py[:, :, None] - along * dy[:, None]
    aside *= aside
    square += aside

    # Only pixels that a tube reaches go on.
    reach = np.maximum(r0, r1) + step / 2
    on_film = ((column >= 0) & (column < size))[:, None, :] & ((line >= 0) & (line < size))[
        :, :, None
    ]
    covered = np.flatnonzero((square < (reach * reach)[:, None]) & on_film)

    width = len(offsets)
    segment, pixel = covered // (width * width), covered % (width * width)
    index = (
        line.ravel()[segment * width + pixel // width] * size
        + column.ravel()[segment * width + pixel % width]
    )
    radius = r0.ravel()[segment] + along.ravel()[covered] * (r1 - r0).ravel()[segment]
    np.maximum.at(out, index, mean_chord(np.sqrt(square.ravel()[covered]), radius, float(step)))


def mean_chord(distance: FloatMap, radius: FloatMap, width: float) -> FloatMap:
    """Chord of a circle, averaged over a strip of ``width`` at ``distance`` from its center.

    From the integral of the chord, 2 sqrt(1 - u^2): u sqrt(1 - u^2) + arcsin(u).
    """
    r = np.maximum(radius, np.float32(1e-3))
    low = np.clip((distance - np.float32(width / 2)) / r, -1, 1)
    high = np.clip((distance + np.float32(width / 2)) / r, -1, 1)
    area = high * half_ellipse(high) + np.arcsin(high) - low * half_ellipse(low) - np.arcsin(low)
    return (area * r * r / np.float32(width)).astype(np.float32)


def ellipse_distance(
    grid: Grid,
    x: float,
    y: float,
    a: float,
    b: float,
    degrees: float = 0.0,
    *,
    paired: bool = False,
) -> FloatMap:
    """Normalized radius of an ellipse: 0 at its center (x, y), 1 on its edge.

    Semi-axes a, b, turned clockwise on the image. ``paired`` adds the mirror image about x = 0.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    px, py = (np.abs(grid.x) if paired else grid.x) - np.float32(x), grid.y - np.float32(y)
    if degrees == 0.0:
        return np.sqrt((px / np.float32(a)) ** 2 + (py / np.float32(b)) ** 2)

    u = px * np.float32(cos / a) + py * np.float32(sin / a)
    v = py * np.float32(cos / b) - px * np.float32(sin / b)
    u *= u
    v *= v
    u += v
    return np.sqrt(u, out=u)


def project_ellipsoid(
    grid: Grid,
    x: float,
    y: float,
    a: float,
    b: float,
    c: float,
    degrees: float = 0.0,
    *,
    paired: bool = False,
) -> FloatMap:
    """Length of the rays inside an ellipsoid of semi-axes a, b, c, mm: ``2 c sqrt(1 - r^2)``."""
    return np.float32(2 * c) * half_ellipse(
        ellipse_distance(grid, x, y, a, b, degrees, paired=paired)
    )


def project_capsule_pair(
    grid: Grid, x0: float, y0: float, r0: float, x1: float, y1: float, r1: float
) -> FloatMap:
    """Length in one wide tube and its mirror image about x = 0, mm.

    Unlike ``project_tubes`` it computes every pixel, for tubes that may fill the image.
    """
    px, py, dx, dy = np.abs(grid.x) - np.float32(x0), grid.y - np.float32(y0), x1 - x0, y1 - y0
    along = np.clip(
        px * np.float32(dx / (dx * dx + dy * dy)) + py * np.float32(dy / (dx * dx + dy * dy)), 0, 1
    )
    square = (px - along * np.float32(dx)) ** 2 + (py - along * np.float32(dy)) ** 2
    radius = np.float32(r0) + along * np.float32(r1 - r0)
    return 2 * np.sqrt(np.maximum(radius * radius - square, 0))
