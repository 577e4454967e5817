"""Stored values of a radiograph to the grey picture that a reader is shown: modality, window,
inversion, scale.

Everything is decided on a table of all values that a pixel's bits can hold, 65,536 at most; the
picture is then one look-up a pixel. Bits above or below the stored ones (old files keep overlays
there) fall out on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError

_CHUNK = 2**16  # pixels looked up at a time: NumPy widens the numbers to 8 bytes first
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as for pictures of other formats
_PARTIAL = (16, 235)  # black and white of YBR_PARTIAL_422, of 255


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """How a sample lies in its bytes: ``bits`` of ``allocated`` (8 or 16), the highest of them
    being ``high_bit``.
    """

    allocated: int
    bits: int
    high_bit: int
    signed: bool

    def values(self) -> NDArray[np.int64]:
        """What each of the 2^allocated patterns of bits stands for."""
        values = (np.arange(2**self.allocated) >> (self.high_bit + 1 - self.bits)) & (
            2**self.bits - 1
        )
        return (
            np.where(values >= 2 ** (self.bits - 1), values - 2**self.bits, values)
            if self.signed
            else values
        )


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table of the file: ``entries`` [n] of ``bits`` bits; the first answers to ``first`` and all
    below it.
    """

    first: int
    entries: NDArray[np.uint16]
    bits: int

    def look_up(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """An entry for each value; the last one answers to all above."""
        # Some files write a negative start as its unsigned twin, which no value would reach.
        first = self.first - 2**16 if 2**15 <= self.first > values.max() else self.first
        index = np.clip(np.rint(values) - first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[index].astype(np.float64)

    @property
    def top(self) -> int:
        """White: what ``bits`` can hold, or what the entries need where a file promises too little."""
        return 2 ** max(self.bits, int(self.entries.max()).bit_length()) - 1


@dataclass(frozen=True, slots=True)
class IntensityWindow:
    """DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3; ``function`` is LINEAR, LINEAR_EXACT or SIGMOID,
    ``width`` > 0.
    """

    center: float
    width: float
    function: str

    def look_up(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Black 0 to white 1."""
        with np.errstate(over="ignore"):
            return self._look_up(values)

    def _look_up(self, values: NDArray[Any]) -> NDArray[np.float64]:
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.center) / self.width, -60, 60)))
        if (
            self.function == "LINEAR" and self.width >= 1
        ):  # narrower, it is not defined and the exact one is meant
            return np.clip((values - (self.center - 0.5)) / max(self.width - 1, 1e-9) + 0.5, 0, 1)
        return np.clip((values - self.center) / self.width + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class DisplayParameters:
    """What a file says of showing one-channel pixels. ``padding``: first and last stored value that
    is no picture.
    """

    modality: LookupTable | tuple[float, float] = (1.0, 0.0)  # or slope and intercept
    voi: LookupTable | IntensityWindow | None = None
    padding: tuple[int, int] | None = None
    inverted: bool = False  # MONOCHROME1: the lowest value is white


def render_gray(
    pixels: NDArray[Any], layout: SampleLayout, display: DisplayParameters
) -> NDArray[np.float32]:
    """[height, width] in [0, 1], 0 black, of unsigned ``pixels`` as they lie in the file. Padding
    is black.

    Without a window or table, values are divided by the largest number of as many bits as they use,
    as a picture file's are (``images.py``). Where that says nothing (negative values, a slope other
    than 1 and -1), the darkest is black and the brightest white.
    """
    stored = layout.values()
    low, high = display.padding or (1, 0)
    padded = (stored >= low) & (stored <= high)
    values: NDArray[Any]
    if isinstance(display.modality, LookupTable):
        values, whole_numbers = display.modality.look_up(stored), True
    else:
        slope, intercept = display.modality
        with np.errstate(over="ignore"):
            values, whole_numbers = stored * slope + intercept, abs(slope) == 1
        if not np.isfinite(values).all():
            problem = "RescaleSlope and RescaleIntercept make numbers that are not finite"
            raise PlaceError(problem, code="PL-D106", fix="export it again")
    if isinstance(display.voi, LookupTable):
        gray = display.voi.look_up(values) / display.voi.top
    elif display.voi is not None:
        gray = display.voi.look_up(values)
    else:
        black, white = _black_and_white(
            values[_used_patterns(pixels, len(stored)) & ~padded], whole_numbers, layout.bits
        )
        gray = np.clip((values - black) / (white - black), 0, 1)
    if display.inverted:
        gray = 1 - gray
    gray[padded] = 0
    return _look_up(gray, pixels)


def render_palette(
    pixels: NDArray[Any],
    layout: SampleLayout,
    red_green_blue: tuple[LookupTable, LookupTable, LookupTable],
) -> NDArray[np.float32]:
    """As ``render_gray``, of PALETTE COLOR."""
    stored = layout.values()
    # Entries of 8 bits stand in 16-bit words of some files that promise 16.
    white = 255 if max(int(lut.entries.max()) for lut in red_green_blue) < 256 else 65535
    gray = sum(
        weight * lut.look_up(stored) for weight, lut in zip(_LUMA, red_green_blue, strict=True)
    )
    return _look_up(np.asarray(gray) / white, pixels)


def render_color(
    pixels: NDArray[Any], layout: SampleLayout, photometric: str
) -> NDArray[np.float32]:
    """As ``render_gray``, of samples [height, width, 3] in RGB or YBR; the luma of YBR is its first
    channel.
    """
    steps = layout.values() / (2**layout.bits - 1)
    if photometric.startswith("YBR_FULL"):
        return _look_up(steps, pixels[:, :, 0])
    if photometric.startswith("YBR_PARTIAL"):
        black, white = (level / 255 for level in _PARTIAL)
        return _look_up(np.clip((steps - black) / (white - black), 0, 1), pixels[:, :, 0])
    gray = np.zeros(pixels.shape[:2], np.float32)
    for channel, weight in enumerate(_LUMA):
        gray += _look_up(steps * weight, pixels[:, :, channel])
    return np.clip(gray, 0, 1, out=gray)


def _used_patterns(pixels: NDArray[Any], patterns: int) -> NDArray[np.bool_]:
    """Which patterns of bits occur in the picture."""
    used = np.zeros(patterns, np.bool_)
    flat = pixels.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        used[flat[start : start + _CHUNK]] = True
    return used


def _black_and_white(values: NDArray[Any], whole_numbers: bool, bits: int) -> tuple[float, float]:
    """What is black and what is white where the file does not say; ``values`` are those in the
    picture.
    """
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if low < 0 or not whole_numbers:
        return low, high if high > low else low + 1
    return 0.0, float(max(2 ** min(bits, 8), 2 ** int(np.ceil(high)).bit_length()) - 1)


def _look_up(table: NDArray[Any], pixels: NDArray[Any]) -> NDArray[np.float32]:
    table = table.astype(np.float32)
    flat = pixels.reshape(-1)
    gray = np.empty(flat.size, np.float32)
    for start in range(0, flat.size, _CHUNK):
        np.take(table, flat[start : start + _CHUNK], out=gray[start : start + _CHUNK], mode="clip")
    return gray.reshape(pixels.shape)
