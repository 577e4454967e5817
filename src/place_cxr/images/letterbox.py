"""The letterbox: an image in a square and back, the one map between original and model pixels.

The long side becomes the side of the square. The short side is scaled alike and rounded down to
whole pixels. The rest is black and split evenly; an odd pixel of it lies to the right or below
(MGCA, Wang et al. 2022, arXiv:2210.06044).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from place_cxr.core.errors import PlaceError

BoxCorners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Original ``height`` and ``width`` and the side ``size`` of the square, all in pixels.

    Boxes are in continuous pixel coordinates; the origin is the outer corner of the top left pixel.
    """

    height: int
    width: int
    size: int

    @property
    def scale(self) -> float:
        """Square pixels per original pixel along the long side.

        Along the short side the result differs by less than one pixel.
        """
        return self.size / max(self.height, self.width)

    @property
    def inner_h(self) -> int:
        """Rows of the square that the image fills."""
        return max(1, self.height * self.size // max(self.height, self.width))

    @property
    def inner_w(self) -> int:
        """Columns of the square that the image fills."""
        return max(1, self.width * self.size // max(self.height, self.width))

    @property
    def top(self) -> int:
        """Black rows above the image."""
        return (self.size - self.inner_h) // 2

    @property
    def left(self) -> int:
        """Black columns left of the image."""
        return (self.size - self.inner_w) // 2

    def to_square(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """The image as uint8 [size, size]; each pixel is the mean of the area that it covers.

        ``image`` is [height, width], or the same image decoded smaller: uint8, bool, or float in
        [0, 1]. Raises PL-D108 for a shape of other proportions.
        """
        self._check_shape(image)
        values = image
        if image.dtype != np.uint8:
            values = np.asarray(image, dtype=np.float32) * np.float32(255)

        square = np.zeros((self.size, self.size), dtype=np.uint8)
        inner = resize_by_area(values, self.inner_h, self.inner_w)
        rows, columns = self._inner_slices()
        square[rows, columns] = np.rint(np.clip(inner, 0, 255)).astype(np.uint8)
        return square

    def box_to_square(self, box: BoxCorners) -> BoxCorners:
        """``(x0, y0, x1, y1)`` of the original in pixels of the square."""
        scale_x, scale_y = self.inner_w / self.width, self.inner_h / self.height
        x0, y0, x1, y1 = box

        return (
            x0 * scale_x + self.left,
            y0 * scale_y + self.top,
            x1 * scale_x + self.left,
            y1 * scale_y + self.top,
        )

    def box_to_original(self, box: BoxCorners) -> BoxCorners:
        """``(x0, y0, x1, y1)`` of the square in pixels of the original, clipped at its edges."""
        scale_x, scale_y = self.width / self.inner_w, self.height / self.inner_h
        x0, y0, x1, y1 = box

        return (
            _clip((x0 - self.left) * scale_x, self.width),
            _clip((y0 - self.top) * scale_y, self.height),
            _clip((x1 - self.left) * scale_x, self.width),
            _clip((y1 - self.top) * scale_y, self.height),
        )

    def map_to_original(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """A map [size, size] as float32 [height, width], interpolated bilinearly.

        Values on the black margins are dropped first. Raises PL-D108 for another shape.
        """
        if values.shape != (self.size, self.size):
            raise PlaceError(
                f"a map {values.shape} for a square of {self.size}",
                code="PL-D108",
                fix="pass the whole square",
            )

        inner = np.ascontiguousarray(values[self._inner_slices()], dtype=np.float32)
        resized = Image.fromarray(inner).resize(
            (self.width, self.height), Image.Resampling.BILINEAR
        )
        return np.asarray(resized, dtype=np.float32)

    def _inner_slices(self) -> tuple[slice, slice]:
        """Rows and columns of the square that the image fills."""
        return slice(self.top, self.top + self.inner_h), slice(self.left, self.left + self.inner_w)

    def _check_shape(self, image: NDArray[Any]) -> None:
        """Raise PL-D108 unless ``image`` is [h, w] with the proportions of the original."""
        fits = image.ndim == 2
        if fits:
            # h / height = w / width, up to one pixel of the smaller image: a decoder that scales
            # down rounds each side up.
            mismatch = abs(image.shape[0] * self.width - image.shape[1] * self.height)
            fits = mismatch < max(self.height, self.width)

        if not fits:
            problem = f"an image {image.shape} for a letterbox of {self.height} x {self.width}"
            raise PlaceError(
                problem, code="PL-D108", fix="build the letterbox from this image's size"
            )


def resize_by_area(values: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """[n, m] to float32 [height, width], in the units of ``values``.

    Each pixel is the mean of the area that it covers.
    """
    # The mean over an area is a mean along rows and one along columns.
    return _mean_rows(_mean_rows(values, height).T, width).T


def _mean_rows(values: NDArray[Any], count: int) -> NDArray[np.float32]:
    """[n, m] to float32 [count, m]: row i is the mean over rows [i, i + 1) * n / count.

    A row that lies in part in this interval counts in proportion.
    """
    n = values.shape[0]
    edges = np.arange(count + 1) * (n / count)
    first = np.floor(edges[:-1]).astype(np.int64)
    result = np.zeros((count, values.shape[1]), dtype=np.float32)

    # Tap k adds the k-th input row under each output row, weighted by the length of their overlap.
    for tap in range(int(np.ceil(n / count)) + 1):
        row = first + tap
        overlap = np.clip(np.minimum(edges[1:], row + 1) - np.maximum(edges[:-1], row), 0, None)
        weight = (overlap * (count / n)).astype(np.float32)
        result += values[np.minimum(row, n - 1)] * weight[:, None]

    return result


def _clip(value: float, high: int) -> float:
    return min(max(value, 0.0), float(high))
