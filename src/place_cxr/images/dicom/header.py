"""Values of a DICOM header by keyword, and the few of them that are kept.

A vendor, or a mistake, can put a person's name into any element. So a message names the keyword and
never the value, and a text is kept only where it is one of the words listed here or a name of the
standard.
"""

from __future__ import annotations

import re
from collections.abc import MutableSequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from place_cxr.core.errors import PlaceError

if TYPE_CHECKING:
    from pydicom import Dataset

RADIOGRAPH_MODALITIES = ("CR", "DX", "DR", "RG", "RF", "XA", "SC", "OT")
# Defined terms of DICOM PS3.3: Modality (C.7.3.1.1.1), ViewPosition (C.8.7.5.1.1),
# ImageType (C.7.6.1.1.2), PhotometricInterpretation (C.7.6.3.1.2), PatientSex (C.7.1.1).
# fmt: off
_MODALITIES = frozenset((
    *RADIOGRAPH_MODALITIES,
    "AU", "BI", "CT", "DG", "DOC", "ECG", "EM", "EPS", "ES", "FID", "GM", "HD", "IO", "IVOCT",
    "IVUS", "KO", "LS", "MG", "MR", "NM", "OCT", "OP", "OPT", "PLAN", "PR", "PT", "PX", "REG",
    "RESP", "RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD", "RTSTRUCT", "RWV", "SEG", "SM", "SR", "TG",
    "US", "XC",
))
_VIEWS = frozenset((
    "AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "LAT",
    "LATERAL",
))
_IMAGE_TYPES = frozenset((
    "ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "SAVE", "SCREEN", "SCREEN SAVE", "SCREENSHOT",
    "POST_PROCESSED", "MIP", "SUBTRACTION", "LOCALIZER", "PROJECTION", "BONE", "SOFT_TISSUE",
))
_PHOTOMETRICS = frozenset((
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422",
    "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "HSV", "ARGB", "CMYK", "XYB",
))
_SEXES = frozenset(("M", "F", "O"))
# fmt: on
UNLISTED_WORD = "OTHER"  # kept in place of a word that is not listed
_YEARS_PER_UNIT = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_SECONDARY_CAPTURE = "Secondary Capture"


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """What is kept of a DICOM header: nothing that names a person, a place or a date.

    An empty text or None means that the header does not state it. ``frames``, ``rows``,
    ``columns`` and ``bits`` (stored ones) are the header's claims, not checked against the pixels;
    ``age`` is in years.
    """

    modality: str
    view: str
    photometric: str
    image_type: tuple[str, ...]
    sop_class: str
    transfer_syntax: str
    rows: int
    columns: int
    frames: int
    bits: int
    burned_in: bool | None
    sex: str
    age: float | None

    @property
    def burned_in_reason(self) -> str:
        """Why the pixels may hold letters, maybe a name (fault P4); "" where no element says so."""
        if self.burned_in:
            return "BurnedInAnnotation is YES"
        if any("SAVE" in word or "SCREEN" in word for word in self.image_type):
            return "ImageType is a saved screen"
        if self.modality == "US":
            return "Modality is US"
        if self.burned_in is None and (
            self.modality == "SC" or self.sop_class.startswith(_SECONDARY_CAPTURE)
        ):
            return "a secondary capture that does not say it has none"
        return ""


def extract_header(header: Dataset, syntax: str) -> DicomHeader:
    """The record of a header; ``syntax`` is the name of its transfer syntax.

    Raises PL-D103 where an element cannot be read.
    """
    image_type = tuple(
        _listed_word(str(word).strip().upper(), _IMAGE_TYPES)
        for word in element_values(header, "ImageType")
    )

    return DicomHeader(
        modality=_listed_word(element_text(header, "Modality"), _MODALITIES),
        view=_listed_word(element_text(header, "ViewPosition"), _VIEWS),
        photometric=_listed_word(element_text(header, "PhotometricInterpretation"), _PHOTOMETRICS),
        image_type=image_type,
        sop_class=_sop_class(element_text(header, "SOPClassUID")),
        transfer_syntax=syntax,
        rows=element_int(header, "Rows", 0),
        columns=element_int(header, "Columns", 0),
        frames=element_int(header, "NumberOfFrames", 1),
        bits=element_int(header, "BitsStored", element_int(header, "BitsAllocated", 0)),
        burned_in={"YES": True, "NO": False}.get(element_text(header, "BurnedInAnnotation")),
        sex=_listed_word(element_text(header, "PatientSex"), _SEXES),
        age=_age_in_years(element_text(header, "PatientAge")),
    )


def element_values(header: Dataset, keyword: str) -> list[Any]:
    """All values of an element, [] where it is absent or empty.

    Raises PL-D103 where it cannot be read.
    """
    # pydicom decodes a value on access, so damaged bytes raise here, with exceptions of many types.
    try:
        value = header.get(keyword)
        if isinstance(value, MutableSequence):
            return list(value)
    except Exception:
        raise _unreadable_error(keyword) from None

    return [] if value is None or value == "" else [value]


def element_numbers(header: Dataset, keyword: str) -> list[float]:
    """All values of an element as finite numbers. Raises PL-D103."""
    numbers = element_numbers_or_none(header, keyword)
    floats = [number for number in numbers if number is not None]
    if len(floats) < len(numbers):
        raise _unreadable_error(keyword)
    return floats


def element_numbers_or_none(header: Dataset, keyword: str) -> list[float | None]:
    """All values of an element as finite numbers, None for an empty one among several.

    Raises PL-D103.
    """
    try:
        numbers = [
            float(value) if str(value).strip(" \0") else None
            for value in element_values(header, keyword)
        ]
    except (TypeError, ValueError, OverflowError):
        raise _unreadable_error(keyword) from None

    if not all(number is None or np.isfinite(number) for number in numbers):
        raise _unreadable_error(keyword)
    return numbers


def element_int(header: Dataset, keyword: str, default: int | None = None) -> int:
    """The first value as a whole number. Raises PL-D103 where there is none and no default."""
    floats = element_numbers(header, keyword)
    if not floats:
        if default is None:
            raise PlaceError(f"{keyword} is missing", code="PL-D103", fix="export it again")
        return default

    if floats[0] != int(floats[0]):
        raise _unreadable_error(keyword)
    return int(floats[0])


def element_text(header: Dataset, keyword: str) -> str:
    """The first value in upper case, without blanks around it; "" where there is none."""
    elements = element_values(header, keyword)
    return str(elements[0]).strip(" \0").upper() if elements else ""


def _unreadable_error(keyword: str) -> PlaceError:
    return PlaceError(f"{keyword} has no readable value", code="PL-D103", fix="export it again")


def _listed_word(word: str, listed: frozenset[str]) -> str:
    """``word`` where it is listed or empty, else OTHER."""
    return word if word in listed or not word else UNLISTED_WORD


def _sop_class(uid: str) -> str:
    """The name of a SOP class in the standard; "" for no class, OTHER for a private one."""
    from pydicom.uid import UID

    parsed = UID(uid)
    return parsed.name if parsed.type == "SOP Class" else UNLISTED_WORD if uid else ""


def _age_in_years(age: str) -> float | None:
    """Years of an age string such as ``045Y`` (VR AS); None for any other text."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", age)
    return float(match[1]) * _YEARS_PER_UNIT[match[2]] if match else None
