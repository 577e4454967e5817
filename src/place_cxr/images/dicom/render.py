"""From stored values of a radiograph to the grey image that a reader is shown.

The order is DICOM's: modality table or rescale, VOI table or window, inversion. All is computed on
a table of the values that a sample's bits can hold, 65,536 at most; each pixel is then one look-up
in it. Bits above or below the stored ones, where old files keep overlays, have no effect.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.images.dicom.display_parameters import (
    DisplayParameters,
    LookupTable,
    SampleLayout,
)

_CHUNK = 2**16  # pixels looked up at a time: NumPy widens their index to 8 bytes first
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as for images of other formats
_PARTIAL = (16, 235)  # black and white of YBR_PARTIAL_422, of 255


def render_gray(
    pixels: NDArray[Any], layout: SampleLayout, display: DisplayParameters
) -> NDArray[np.float32]:
    """One-channel ``pixels``, unsigned as they lie in the file, to float32 [height, width] in
    [0, 1], 0 black. Padding is black.

    Without a window or a table, values are divided by the largest number of as many bits as they
    use, as in ``images/read.py``. Where that is undefined (negative values, a slope other than 1
    and -1), the darkest value is black and the brightest is white.

    Raises PL-D106 where slope and intercept make numbers that are not finite.
    """
    stored = layout.values()
    low, high = display.padding or (1, 0)
    padded = (stored >= low) & (stored <= high)
    # Padding may use bits that no pixel of the picture has: 65535 in an image of 12 bits.
    whole = layout.whole_samples()
    padded |= (whole >= low) & (whole <= high)
    used = _used_patterns(pixels, len(stored)) & ~padded
    values, whole_numbers = _apply_modality(stored, display.modality, used)

    if isinstance(display.voi, LookupTable):
        gray = display.voi.look_up(values, used) / display.voi.top
    elif display.voi is not None:
        gray = display.voi.look_up(values)
    else:
        black, white = _black_and_white(values[used], whole_numbers, layout.bits)
        gray = np.clip((values - black) / (white - black), 0, 1)

    # Padding last: in MONOCHROME1 the inversion would make a low padding value white.
    if display.inverted:
        gray = 1 - gray
    gray[padded] = 0
    return _look_up(gray, pixels)


def render_palette(
    pixels: NDArray[Any],
    layout: SampleLayout,
    red_green_blue: tuple[LookupTable, LookupTable, LookupTable],
) -> NDArray[np.float32]:
    """As ``render_gray``, for PALETTE COLOR: the luma of the three tables."""
    stored = layout.values()
    # Some files announce 16 bits and hold entries of 8 bits in 16-bit words.
    largest = max(int(table.entries.max()) for table in red_green_blue)
    white = 255 if largest < 256 else 65535

    gray = sum(
        weight * table.look_up(stored) for weight, table in zip(_LUMA, red_green_blue, strict=True)
    )
    return _look_up(np.asarray(gray) / white, pixels)


def render_color(
    pixels: NDArray[Any], layout: SampleLayout, photometric: str
) -> NDArray[np.float32]:
    """As ``render_gray``, for samples [height, width, 3] in RGB or YBR.

    The luma of YBR is its first channel.
    """
    levels = layout.values() / (2**layout.bits - 1)
    if photometric.startswith("YBR_FULL"):
        return _look_up(levels, pixels[:, :, 0])

    if photometric.startswith("YBR_PARTIAL"):
        black, white = (level / 255 for level in _PARTIAL)
        return _look_up(np.clip((levels - black) / (white - black), 0, 1), pixels[:, :, 0])

    gray = np.zeros(pixels.shape[:2], np.float32)
    for channel, weight in enumerate(_LUMA):
        gray += _look_up(levels * weight, pixels[:, :, channel])
    return np.clip(gray, 0, 1, out=gray)


def _apply_modality(
    stored: NDArray[np.int64],
    modality: LookupTable | tuple[float, float],
    used: NDArray[np.bool_],
) -> tuple[NDArray[Any], bool]:
    """Modality values of the stored values, and whether they are whole numbers; ``used`` marks
    the stored values that occur.
    """
    if isinstance(modality, LookupTable):
        return modality.look_up(stored, used), True

    slope, intercept = modality
    with np.errstate(over="ignore"):
        values = stored * slope + intercept

    if not np.isfinite(values).all():
        problem = "RescaleSlope and RescaleIntercept make numbers that are not finite"
        raise PlaceError(problem, code="PL-D106", fix="export it again")
    return values, abs(slope) == 1


def _used_patterns(pixels: NDArray[Any], patterns: int) -> NDArray[np.bool_]:
    """Which of the bit patterns occur in the image, bool [patterns]."""
    used = np.zeros(patterns, np.bool_)
    flat = pixels.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        used[flat[start : start + _CHUNK]] = True
    return used


def _black_and_white(values: NDArray[Any], whole_numbers: bool, bits: int) -> tuple[float, float]:
    """Black and white where the file states neither; ``values`` are those that the image uses."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if low < 0 or not whole_numbers:
        return low, high if high > low else low + 1

    # White is all ones in the bits that the values use, but in no fewer than 8 (or ``bits``).
    return 0.0, float(max(2 ** min(bits, 8), 2 ** int(np.ceil(high)).bit_length()) - 1)


def _look_up(table: NDArray[Any], pixels: NDArray[Any]) -> NDArray[np.float32]:
    """The table's entry for each pixel, float32 of the shape of ``pixels``."""
    table = table.astype(np.float32)
    flat = pixels.reshape(-1)
    gray = np.empty(flat.size, np.float32)
    for start in range(0, flat.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        np.take(table, flat[chunk], out=gray[chunk], mode="clip")
    return gray.reshape(pixels.shape)
