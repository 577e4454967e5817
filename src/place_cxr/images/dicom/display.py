"""What a DICOM header says of showing its pixels: tables, window, padding, palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from place_cxr.core.errors import PlaceError
from place_cxr.images.dicom.header import element_numbers, element_text, element_values
from place_cxr.images.dicom.render import (
    DisplayParameters,
    IntensityWindow,
    LookupTable,
    SampleLayout,
)

if TYPE_CHECKING:
    from pydicom import Dataset

PALETTE_KEYWORDS = tuple(f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue"))


def read_display(
    header: Dataset, layout: SampleLayout, photometric: str, *, little: bool
) -> DisplayParameters:
    """How a one-channel picture is to be shown; ``little``: byte order of its tables. Raises
    PL-D103.
    """
    modality = element_values(header, "ModalityLUTSequence")[:1]
    slope = element_numbers(header, "RescaleSlope")[:1] or [1.0]
    intercept = element_numbers(header, "RescaleIntercept")[:1] or [0.0]
    voi = element_values(header, "VOILUTSequence")[:1]
    padding = element_numbers(header, "PixelPaddingValue")[:1]
    if padding:
        padding += element_numbers(header, "PixelPaddingRangeLimit")[:1] or padding
        # Written as unsigned in files of signed pixels, by some.
        padding = [
            value - 2**16 if layout.signed and value >= 2**15 else value for value in padding
        ]
    return DisplayParameters(
        modality=_read_lut(modality[0], "LUT", little) if modality else (slope[0], intercept[0]),
        voi=_read_lut(voi[0], "LUT", little) if voi else _read_window(header),
        padding=(int(min(padding)), int(max(padding))) if padding else None,
        inverted=photometric == "MONOCHROME1",
    )


def _read_window(header: Dataset) -> IntensityWindow | None:
    """The first window, the one to be shown first; None where there is none that has a width."""
    centers, widths = (
        element_numbers(header, "WindowCenter"),
        element_numbers(header, "WindowWidth"),
    )
    if not centers or not widths or widths[0] <= 0:
        return None
    return IntensityWindow(
        centers[0], widths[0], element_text(header, "VOILUTFunction") or "LINEAR"
    )


def read_palette(header: Dataset, *, little: bool) -> tuple[LookupTable, LookupTable, LookupTable]:
    """The tables of PALETTE COLOR for red, green and blue. Raises PL-D103; segmented tables are not
    read.
    """
    red, green, blue = (_read_lut(header, stem, little) for stem in PALETTE_KEYWORDS)
    return red, green, blue


def _read_lut(item: Dataset, stem: str, little: bool) -> LookupTable:
    """The table in the elements ``stem`` + Descriptor and Data."""
    descriptor = element_numbers(item, f"{stem}Descriptor")
    if len(descriptor) != 3 or not 0 < descriptor[2] <= 16:
        raise _bad_table_error(f"{stem}Descriptor")
    size, first, bits = (int(value) for value in descriptor)
    size = size % 2**16 or 2**16
    words = _to_uint16(element_values(item, f"{stem}Data"), little)
    if words.size < size and bits <= 8:  # two entries of 8 bits in a word
        words = words.astype("<u2").view("u1").astype("u2")
    if words.size < size:
        raise _bad_table_error(f"{stem}Data")
    return LookupTable(first, words[:size].astype(np.uint16), bits)


def _to_uint16(elements: list[Any], little: bool) -> Any:
    """Numbers of 16 bits, from numbers or from bytes as they lie in the file."""
    if len(elements) == 1 and isinstance(elements[0], bytes):
        return np.frombuffer(elements[0], "<u2" if little else ">u2", len(elements[0]) // 2)
    return np.array([int(value) & 0xFFFF for value in elements], np.uint16)


def _bad_table_error(keyword: str) -> PlaceError:
    return PlaceError(f"{keyword} makes no table", code="PL-D103", fix="export it again")
