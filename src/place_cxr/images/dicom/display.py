"""What a DICOM header says of showing its pixels: tables, window, padding, palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from place_cxr.core.errors import PlaceError
from place_cxr.images.dicom.header import numbers, text, values
from place_cxr.images.dicom.render import Display, Layout, Lut, Window

if TYPE_CHECKING:
    from pydicom import Dataset

PALETTE = tuple(f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue"))


def display_of(header: Dataset, layout: Layout, photometric: str, *, little: bool) -> Display:
    """How a one-channel picture is to be shown; ``little``: byte order of its tables. Raises PL-D103."""
    modality = values(header, "ModalityLUTSequence")[:1]
    slope = numbers(header, "RescaleSlope")[:1] or [1.0]
    intercept = numbers(header, "RescaleIntercept")[:1] or [0.0]
    voi = values(header, "VOILUTSequence")[:1]
    padding = numbers(header, "PixelPaddingValue")[:1]
    if padding:
        padding += numbers(header, "PixelPaddingRangeLimit")[:1] or padding
        # Written as unsigned in files of signed pixels, by some.
        padding = [value - 2**16 if layout.signed and value >= 2**15 else value for value in padding]
    return Display(
        modality=_lut(modality[0], "LUT", little) if modality else (slope[0], intercept[0]),
        voi=_lut(voi[0], "LUT", little) if voi else _window(header),
        padding=(int(min(padding)), int(max(padding))) if padding else None,
        inverted=photometric == "MONOCHROME1",
    )


def _window(header: Dataset) -> Window | None:
    """The first window, the one to be shown first; None where there is none that has a width."""
    centers, widths = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    if not centers or not widths or widths[0] <= 0:
        return None
    return Window(centers[0], widths[0], text(header, "VOILUTFunction") or "LINEAR")


def palette_of(header: Dataset, *, little: bool) -> tuple[Lut, Lut, Lut]:
    """The tables of PALETTE COLOR for red, green and blue. Raises PL-D103; segmented tables are not read."""
    red, green, blue = (_lut(header, stem, little) for stem in PALETTE)
    return red, green, blue


def _lut(item: Dataset, stem: str, little: bool) -> Lut:
    """The table in the elements ``stem`` + Descriptor and Data."""
    descriptor = numbers(item, f"{stem}Descriptor")
    if len(descriptor) != 3 or not 0 < descriptor[2] <= 16:
        raise _no_table(f"{stem}Descriptor")
    size, first, bits = (int(value) for value in descriptor)
    size = size % 2**16 or 2**16
    words = _words(values(item, f"{stem}Data"), little)
    if words.size < size and bits <= 8:  # two entries of 8 bits in a word
        words = words.astype("<u2").view("u1").astype("u2")
    if words.size < size:
        raise _no_table(f"{stem}Data")
    return Lut(first, words[:size].astype(np.uint16), bits)


def _words(found: list[Any], little: bool) -> Any:
    """Numbers of 16 bits, from numbers or from bytes as they lie in the file."""
    if len(found) == 1 and isinstance(found[0], bytes):
        return np.frombuffer(found[0], "<u2" if little else ">u2", len(found[0]) // 2)
    return np.array([int(value) & 0xFFFF for value in found], np.uint16)


def _no_table(keyword: str) -> PlaceError:
    return PlaceError(f"{keyword} makes no table", code="PL-D103", fix="export it again")
