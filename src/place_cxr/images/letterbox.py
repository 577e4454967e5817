"""A picture in a square and back: the one geometry between original pixels and what a model sees.

The long side becomes the square's side, the short side is cut to a whole number of pixels, and the
rest is black, an odd pixel of it to the right or below (the image reading of MGCA, Wang et al.
2022, arXiv:2210.06044).
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

    Points and boxes are in continuous pixel coordinates, origin at the outer corner of the top left
    pixel.
    """

    height: int
    width: int
    size: int

    @property
    def scale(self) -> float:
        """Square pixels per original pixel along the long side; the short side's differs by less
        than one pixel.
        """
        return self.size / max(self.height, self.width)

    @property
    def inner_h(self) -> int:
        """Rows of the square that the picture fills."""
        return max(1, self.height * self.size // max(self.height, self.width))

    @property
    def inner_w(self) -> int:
        """Columns of the square that the picture fills."""
        return max(1, self.width * self.size // max(self.height, self.width))

    @property
    def top(self) -> int:
        """Black rows above the picture."""
        return (self.size - self.inner_h) // 2

    @property
    def left(self) -> int:
        """Black columns left of the picture."""
        return (self.size - self.inner_w) // 2

    def to_square(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Picture as uint8 [size, size], each pixel the mean of the area it covers.

        ``image`` is [height, width], or the same picture decoded smaller: uint8, bool, or float in
        [0, 1]. Raises PL-D108 where its shape is not that of this picture.
        """
        self._check_shape(image)
        values = (
            image
            if image.dtype == np.uint8
            else np.asarray(image, dtype=np.float32) * np.float32(255)
        )
        square = np.zeros((self.size, self.size), dtype=np.uint8)
        inner = resize_by_area(values, self.inner_h, self.inner_w)
        rows, columns = self._inside()
        square[rows, columns] = np.rint(np.clip(inner, 0, 255)).astype(np.uint8)
        return square

    def box_to_square(self, box: BoxCorners) -> BoxCorners:
        """``(x0, y0, x1, y1)`` of the original in pixels of the square."""
        x, y = self.inner_w / self.width, self.inner_h / self.height
        x0, y0, x1, y1 = box
        return x0 * x + self.left, y0 * y + self.top, x1 * x + self.left, y1 * y + self.top

    def box_to_original(self, box: BoxCorners) -> BoxCorners:
        """``(x0, y0, x1, y1)`` of the square in pixels of the original, cut at its edges."""
        x, y = self.width / self.inner_w, self.height / self.inner_h
        x0, x1 = (
            min(max((value - self.left) * x, 0.0), float(self.width)) for value in (box[0], box[2])
        )
        y0, y1 = (
            min(max((value - self.top) * y, 0.0), float(self.height)) for value in (box[1], box[3])
        )
        return x0, y0, x1, y1

    def map_to_original(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Map [size, size] as float32 [height, width], bilinear; what lies on the black edges is
        dropped first.
        """
        if values.shape != (self.size, self.size):
            raise PlaceError(
                f"a map {values.shape} for a square of {self.size}",
                code="PL-D108",
                fix="pass the whole square",
            )
        inner = np.ascontiguousarray(values[self._inside()], dtype=np.float32)
        resized = Image.fromarray(inner).resize(
            (self.width, self.height), Image.Resampling.BILINEAR
        )
        return np.asarray(resized, dtype=np.float32)

    def _inside(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.inner_h), slice(self.left, self.left + self.inner_w)

    def _check_shape(self, image: NDArray[Any]) -> None:
        """A decoder that scales rounds each side up, so a side may be off by one pixel of the
        smaller picture.
        """
        fits = image.ndim == 2 and abs(
            image.shape[0] * self.width - image.shape[1] * self.height
        ) < max(self.height, self.width)
        if not fits:
            problem = f"a picture {image.shape} for a letterbox of {self.height} x {self.width}"
            raise PlaceError(
                problem, code="PL-D108", fix="build the letterbox from this picture's size"
            )


def resize_by_area(values: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """[n, m] to [height, width], each pixel the mean of the area it covers, in the units of
    ``values``.
    """
    return _mean_rows(_mean_rows(values, height).T, width).T


def _mean_rows(values: NDArray[Any], count: int) -> NDArray[np.float32]:
    """[n, m] to [count, m]: row i is the mean over rows [i, i + 1) * n / count, parts of rows
    counted in part.
    """
    n = values.shape[0]
    edges = np.arange(count + 1) * (n / count)
    first = np.floor(edges[:-1]).astype(np.int64)
    result = np.zeros((count, values.shape[1]), dtype=np.float32)
    for tap in range(int(np.ceil(n / count)) + 1):
        row = first + tap
        weight = np.clip(np.minimum(edges[1:], row + 1) - np.maximum(edges[:-1], row), 0, None) * (
            count / n
        )
        result += values[np.minimum(row, n - 1)] * weight[:, None].astype(np.float32)
    return result
