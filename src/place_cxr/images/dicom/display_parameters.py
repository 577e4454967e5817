"""How the pixels of a DICOM file are to be displayed, as its header states it.

Records for the sample layout, tables and windows, and the functions that read them from a header.
``render.py`` applies them to pixels. Sections (C.x) are those of DICOM PS3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.images.dicom.header import (
    element_int,
    element_numbers,
    element_numbers_or_none,
    element_text,
    element_values,
)

if TYPE_CHECKING:
    from pydicom import Dataset

PALETTE_STEMS = tuple(f"{color}PaletteColorLookupTable" for color in ("Red", "Green", "Blue"))


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """How a sample lies in its bytes: ``bits`` of ``allocated`` (8 or 16); ``high_bit`` is the
    number of the highest of them.
    """

    allocated: int
    bits: int
    high_bit: int
    signed: bool

    def whole_samples(self) -> NDArray[np.int64]:
        """As ``values``, but of all allocated bits, those above and below the stored ones too."""
        return SampleLayout(
            self.allocated, self.allocated, self.allocated - 1, self.signed
        ).values()

    def values(self) -> NDArray[np.int64]:
        """The stored value of each of the 2^allocated bit patterns, int64 [2^allocated]."""
        patterns = np.arange(2**self.allocated)
        values = (patterns >> (self.high_bit + 1 - self.bits)) & (2**self.bits - 1)
        if not self.signed:
            return values

        # Two's complement: the upper half of the patterns are the negative values.
        return np.where(values >= 2 ** (self.bits - 1), values - 2**self.bits, values)


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table of the file: ``entries`` [n] of ``bits`` bits.

    The first entry is for the value ``first`` and all below it, the last entry for all above.
    """

    first: int
    entries: NDArray[np.uint16]
    bits: int

    def look_up(
        self, values: NDArray[Any], used: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """The entry of each value, of the same shape; ``used`` marks the values that occur."""
        first = self._first_for(values if used is None or not used.any() else values[used])
        index = np.clip(np.rint(values) - first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[index].astype(np.float64)

    def _first_for(self, values: NDArray[Any]) -> int:
        """``first`` in the sign of the values: its 16 bits may be written as US or as SS whatever
        the sign of the values, so the table that lies closest to them is meant.
        """
        middle = (float(values.min()) + float(values.max())) / 2 - len(self.entries) / 2
        return min(
            (self.first, self.first - 2**16, self.first + 2**16),
            key=lambda first: abs(first - middle),
        )

    @property
    def top(self) -> int:
        """White: the largest number of ``bits`` bits. Where the entries need fewer or more bits
        than that, their number is wrong, and the largest entry is white.
        """
        largest = int(self.entries.max())
        return 2**self.bits - 1 if largest.bit_length() == self.bits else max(largest, 1)


@dataclass(frozen=True, slots=True)
class IntensityWindow:
    """A window (C.11.2.1.2, C.11.2.1.3): ``width`` > 0, in modality units.

    ``function`` is LINEAR, LINEAR_EXACT or SIGMOID.
    """

    center: float
    width: float
    function: str

    def look_up(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Grey of each value, 0 black to 1 white."""
        # The numbers of a file may be enormous; the clip turns an overflow into black or white.
        with np.errstate(over="ignore"):
            return self._look_up(values)

    def _look_up(self, values: NDArray[Any]) -> NDArray[np.float64]:
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.center) / self.width, -60, 60)))

        # LINEAR is defined for widths from 1. For a narrower one LINEAR_EXACT is used.
        if self.function == "LINEAR" and self.width >= 1:
            return np.clip((values - (self.center - 0.5)) / max(self.width - 1, 1e-9) + 0.5, 0, 1)

        return np.clip((values - self.center) / self.width + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class DisplayParameters:
    """How a one-channel image is to be displayed.

    ``modality`` is a table, or slope and intercept. ``padding`` holds the first and the last stored
    value that mean "no image here". ``inverted`` is MONOCHROME1: the lowest value is white.
    """

    modality: LookupTable | tuple[float, float] = (1.0, 0.0)
    voi: LookupTable | IntensityWindow | None = None
    padding: tuple[int, int] | None = None
    inverted: bool = False


def read_sample_layout(header: Dataset) -> SampleLayout:
    """The layout of one sample. Raises PL-D107 for other than 8 or 16 bits allocated, PL-D103 for
    numbers that contradict each other.
    """
    allocated = element_int(header, "BitsAllocated")
    if allocated not in (8, 16):
        problem = f"{allocated} bits allocated, 8 or 16 are read"
        raise PlaceError(problem, code="PL-D107", fix="export it with 16 bits allocated")

    bits = element_int(header, "BitsStored", allocated)
    high_bit = element_int(header, "HighBit", bits - 1)
    if not 0 < bits <= high_bit + 1 <= allocated:
        problem = f"{bits} bits stored up to bit {high_bit} do not fit in {allocated}"
        raise PlaceError(problem, code="PL-D103", fix="export it again")

    signed = element_int(header, "PixelRepresentation") == 1
    return SampleLayout(allocated, bits, high_bit, signed)


def read_display_parameters(
    header: Dataset, layout: SampleLayout, photometric: str, *, little: bool
) -> DisplayParameters:
    """The display parameters of a one-channel image; ``little`` is the byte order of its tables.

    Raises PL-D103 for a table that cannot be read.
    """
    modality = element_values(header, "ModalityLUTSequence")[:1]
    slope = element_numbers(header, "RescaleSlope")[:1] or [1.0]
    intercept = element_numbers(header, "RescaleIntercept")[:1] or [0.0]
    # The first table that is one: some files leave an empty item in front.
    tables = [item for item in element_values(header, "VOILUTSequence") if "LUTDescriptor" in item]

    padding = element_numbers(header, "PixelPaddingValue")[:1]
    if padding:
        padding += element_numbers(header, "PixelPaddingRangeLimit")[:1] or padding
        padding = [_in_sign_of(layout, value) for value in padding]

    return DisplayParameters(
        modality=_read_table(modality[0], "LUT", little) if modality else (slope[0], intercept[0]),
        voi=_read_table(tables[0], "LUT", little) if tables else _read_window(header),
        padding=(int(min(padding)), int(max(padding))) if padding else None,
        inverted=photometric == "MONOCHROME1",
    )


def _in_sign_of(layout: SampleLayout, value: float) -> float:
    """A 16-bit number of the file, which may be written as US or as SS, in the pixels' sign."""
    if layout.signed:
        return value - 2**16 if value >= 2**15 else value
    return value + 2**16 if value < 0 else value


def read_palette(header: Dataset, *, little: bool) -> tuple[LookupTable, LookupTable, LookupTable]:
    """The red, green and blue table of PALETTE COLOR. Raises PL-D103, also for segmented tables."""
    red, green, blue = (_read_table(header, stem, little) for stem in PALETTE_STEMS)
    return red, green, blue


def _read_window(header: Dataset) -> IntensityWindow | None:
    """The first window, which is the default view (C.11.2.1.2), of those that have a center and a
    width above 0; None where there is none.
    """
    centers = element_numbers_or_none(header, "WindowCenter")
    widths = element_numbers_or_none(header, "WindowWidth")
    function = element_text(header, "VOILUTFunction") or "LINEAR"

    # Numbers belong together by their place; one list may be shorter than the other.
    for center, width in zip(centers, widths, strict=False):
        if center is not None and width is not None and width > 0:
            return IntensityWindow(center, width, function)

    return None


def _read_table(item: Dataset, stem: str, little: bool) -> LookupTable:
    """The table in the elements ``stem`` + Descriptor and ``stem`` + Data."""
    descriptor = element_numbers(item, f"{stem}Descriptor")
    if len(descriptor) != 3 or not 0 < descriptor[2] <= 16:
        raise _bad_table_error(f"{stem}Descriptor")

    size, first, bits = (int(value) for value in descriptor)
    size = size % 2**16 or 2**16  # 0 stands for 65,536 (C.11.1.1)
    words = _to_uint16(element_values(item, f"{stem}Data"), little)

    # Tables of 8 bits may hold two entries in each 16-bit word.
    if words.size < size and bits <= 8:
        words = words.astype("<u2").view("u1").astype("u2")
    if words.size < size:
        raise _bad_table_error(f"{stem}Data")

    return LookupTable(first, words[:size].astype(np.uint16), bits)


def _to_uint16(elements: list[Any], little: bool) -> Any:
    """16-bit numbers, from numbers or from bytes as they lie in the file."""
    if len(elements) == 1 and isinstance(elements[0], bytes):
        return np.frombuffer(elements[0], "<u2" if little else ">u2", len(elements[0]) // 2)
    return np.array([int(value) & 0xFFFF for value in elements], np.uint16)


def _bad_table_error(keyword: str) -> PlaceError:
    return PlaceError(f"{keyword} makes no table", code="PL-D103", fix="export it again")
