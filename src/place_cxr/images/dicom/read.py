"""The one place that opens a DICOM file: one radiograph, grey, as a reader is shown it, and a few
facts about it.

A file that is accepted has the 128-byte preamble, one of ``dicom_syntaxes.SYNTAXES``, one frame, 8
or 16 bits a sample, a picture in grey, palette, RGB or YBR, and the modality of a radiograph or
none. Refusals have the codes of ``images.py`` and these:

======  ============================================================================
code    meaning
======  ============================================================================
D110    a DICOM file without a picture: a report, a directory, or numbers as floats
D111    not a radiograph, but another modality
D112    a transfer syntax that is not read
E030    pydicom or a decoder is not installed
E031    no decoding process can be started
======  ============================================================================

Elements that are not in ``_KEYWORDS`` are skipped, and no message holds a value but sizes and words
of the standard. Files that a DICOMDIR or an element names are never followed.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.images.dicom.codecs import INSTALL_DICOM_EXTRA, decode_frame
from place_cxr.images.dicom.codestreams import join_fragments
from place_cxr.images.dicom.display import PALETTE_KEYWORDS, read_display, read_palette
from place_cxr.images.dicom.header import (
    RADIOGRAPH_MODALITIES,
    DicomHeader,
    element_int,
    element_text,
    extract_header,
)
from place_cxr.images.dicom.render import (
    DisplayParameters,
    SampleLayout,
    render_color,
    render_gray,
    render_palette,
)
from place_cxr.images.dicom.syntaxes import TransferSyntax, find_transfer_syntax

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_INFLATED_BYTES = 64 * 2**20  # bytes a deflated data set may have
_MAX_READS = 100_000  # elements are read one by one; a radiograph has hundreds
_MAX_ELEMENT_BYTES = 2**20  # bytes of one element that is looked at: some tables of 65,536 entries
_UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_TAG, _FLOAT_PIXEL_TAGS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
_META_TAGS = [
    0x00020002,
    0x00020010,
]  # of the file meta elements: the class and the transfer syntax
_PYDICOM = re.compile(r"pydicom(\.|$)")
_DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_THREE_SAMPLES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT")
_KEYWORDS = (
    *(
        "Modality",
        "ViewPosition",
        "ImageType",
        "SOPClassUID",
        "BurnedInAnnotation",
        "PatientSex",
        "PatientAge",
    ),
    *(
        "Rows",
        "Columns",
        "NumberOfFrames",
        "SamplesPerPixel",
        "PlanarConfiguration",
        "PhotometricInterpretation",
    ),
    *(
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
    ),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *(f"{stem}{part}" for stem in PALETTE_KEYWORDS for part in ("Descriptor", "Data")),
)


@dataclass(frozen=True, slots=True)
class _ParsedFile:
    """The header up to the pixels, and where in ``body`` their bytes are; ``tag`` 0: there are
    none.
    """

    header: Dataset
    facts: DicomHeader
    syntax: TransferSyntax
    body: bytes
    tag: int
    vr: bytes
    start: int
    length: int


def is_dicom(data: bytes) -> bool:
    """Whether the bytes start as PS3.10 demands. Without the preamble a file is not guessed to be
    DICOM.
    """
    return data[128:132] == b"DICM"


def read_dicom(
    data: bytes, path: Path, check_size: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """Grey picture [height, width] in [0, 1], 0 black, of a DICOM file's bytes; ``path`` is for
    messages only.

    Modality table or rescale, then VOI table or the first window, then inversion for MONOCHROME1;
    see ``displayed.py``. ``check_size(width, height)`` raises where that size is not wanted:
    nothing was allocated yet. Raises PlaceError only.
    """
    with _as_place_errors(path):
        return _decode_image(_parse_file(data), check_size)


def parse_dicom_header(data: bytes, path: Path) -> DicomHeader:
    """What a DICOM file's header says of its picture, which is not decoded. Raises PlaceError only."""
    with _as_place_errors(path):
        return _parse_file(data).facts


@contextmanager
def _as_place_errors(path: Path) -> Iterator[None]:
    """Names the file in a refusal, and turns what libraries raise over hostile bytes into one."""
    try:
        yield
    except PlaceError as error:
        if error.file:
            raise
        raise PlaceError(error.problem, code=error.code, file=path, fix=error.fix) from None
    except EOFError:
        problem = "cut off, the end of the image is missing"
        raise PlaceError(problem, code="PL-D102", file=path, fix="copy it again") from None
    except Exception:
        problem = "damaged, it does not decode"
        raise PlaceError(problem, code="PL-D103", file=path, fix="copy it again") from None


class _CountedReads(io.BytesIO):
    """Bytes that can be read so many times and no more: any nesting of any number of elements costs
    reads.
    """

    left = _MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise PlaceError(
                f"more than {_MAX_READS} elements", code="PL-D104", fix="leave this file out"
            )
        return super().read(size)


def _parse_file(data: bytes) -> _ParsedFile:
    _silence_pydicom()
    try:
        from pydicom.filereader import read_dataset  # noqa: TID251
    except ImportError:
        raise PlaceError(
            "reading DICOM needs an extra", code="PL-E030", fix=INSTALL_DICOM_EXTRA
        ) from None
    source = _CountedReads(data)
    source.seek(132)
    meta = read_dataset(
        source,
        False,
        True,
        stop_when=lambda tag, vr, length: tag >> 16 != 2,
        specific_tags=_META_TAGS,
    )
    syntax = find_transfer_syntax(element_text(meta, "TransferSyntaxUID"))
    body = data
    if syntax.deflated:
        body = _inflate(memoryview(data)[source.tell() :])
        source = _CountedReads(body)
    tags = _wanted_tags()

    def stop(tag: int, vr: str | None, length: int) -> bool:
        if tag in tags and _MAX_ELEMENT_BYTES < length < _UNDEFINED_LENGTH:
            raise PlaceError(
                f"an element of {length} bytes", code="PL-D104", fix="leave this file out"
            )
        return tag == _PIXEL_TAG or tag in _FLOAT_PIXEL_TAGS

    header = read_dataset(
        source, syntax.implicit, syntax.little, stop_when=stop, specific_tags=list(tags)
    )
    position = source.tell()
    if position > len(body) or 0 < len(body) - position < 8:
        raise EOFError("cut off before the pixels")
    if "PixelRepresentation" not in header:
        header.PixelRepresentation = 0  # pydicom asks for it to know which elements are signed
    header_summary = extract_header(header, syntax.name)
    if position == len(body):
        if element_text(meta, "MediaStorageSOPClassUID") == _DICOMDIR_CLASS:
            problem = "a DICOMDIR, which lists other files and holds no picture"
            raise PlaceError(problem, code="PL-D110", fix="name the files themselves")
        return _ParsedFile(header, header_summary, syntax, body, 0, b"", position, 0)
    tag, vr, start, length = _read_element(
        body, position, bool(header.original_encoding[0]), syntax.little
    )
    if tag != _PIXEL_TAG and tag not in _FLOAT_PIXEL_TAGS:
        raise ValueError("the data set ends before its end")
    return _ParsedFile(header, header_summary, syntax, body, tag, vr, start, length)


def _silence_pydicom() -> None:
    """pydicom writes the values that it doubts, a patient's name among them, into its log and its
    warnings.
    """
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    if ("ignore", None, Warning, _PYDICOM, 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PYDICOM.pattern)


@cache
def _wanted_tags() -> frozenset[int]:
    from pydicom.datadict import tag_for_keyword

    return frozenset(int(tag_for_keyword(keyword) or 0) for keyword in _KEYWORDS)


def _inflate(data: memoryview) -> bytes:
    """The data set of a deflated file, up to the limit: 400 kB can hold a gigabyte."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = stream.decompress(data, MAX_INFLATED_BYTES + 1)
    except zlib.error:
        raise ValueError("not deflated") from None
    if len(body) > MAX_INFLATED_BYTES:
        problem = f"deflated, and more than {MAX_INFLATED_BYTES >> 20} MB when inflated"
        raise PlaceError(
            problem, code="PL-D104", fix="export it uncompressed (Explicit VR Little Endian)"
        )
    if not stream.eof:
        raise EOFError("the deflated data end early")
    return body


def _read_element(
    body: bytes, position: int, implicit: bool, little: bool
) -> tuple[int, bytes, int, int]:
    """Tag, VR (b"" where it is implicit), start and length of the value of the element at
    ``position``.
    """
    order: Literal["little", "big"] = "little" if little else "big"
    tag = int.from_bytes(body[position : position + 2], order) << 16 | int.from_bytes(
        body[position + 2 : position + 4], order
    )
    vr = (
        b""
        if implicit or body[position + 4 : position + 6] not in _LONG_VRS
        else body[position + 4 : position + 6]
    )
    start = position + (12 if vr else 8)
    return tag, vr, start, int.from_bytes(body[start - 4 : start], order)


def _decode_image(file: _ParsedFile, check_size: Callable[[int, int], None]) -> NDArray[np.float32]:
    header, header_summary = file.header, file.facts
    if file.tag != _PIXEL_TAG:
        content = "pixels as floats" if file.tag else "no pixel data"
        class_note = f" ({header_summary.sop_class})" if header_summary.sop_class else ""
        raise PlaceError(f"{content}{class_note}", code="PL-D110", fix="leave this file out")
    if header_summary.modality and header_summary.modality not in RADIOGRAPH_MODALITIES:
        problem = f"Modality is {header_summary.modality}, not one of a radiograph ({', '.join(RADIOGRAPH_MODALITIES)})"
        raise PlaceError(problem, code="PL-D111", fix="leave this file out")
    if header_summary.frames > 1:
        raise PlaceError(
            f"{header_summary.frames} frames, expected 1",
            code="PL-D109",
            fix="save one frame alone",
        )
    height, width = element_int(header, "Rows"), element_int(header, "Columns")
    check_size(width, height)
    layout, samples = _read_layout(header), element_int(header, "SamplesPerPixel", 1)
    photometric = element_text(header, "PhotometricInterpretation")
    if samples != (1 if photometric in _ONE_SAMPLE else 3 if photometric in _THREE_SAMPLES else 0):
        accepted = ", ".join((*_ONE_SAMPLE, *_THREE_SAMPLES))
        problem = f"{samples} samples a pixel and a PhotometricInterpretation that do not make one of {accepted}"
        raise PlaceError(problem, code="PL-D107", fix="export it as MONOCHROME2")
    shape, depth = (height, width, samples), layout.allocated // 8
    if file.syntax.codec:
        if file.length != _UNDEFINED_LENGTH:
            raise ValueError("compressed, but not in fragments")
        frame = join_fragments(file.body, file.start)
        pixels = decode_frame(frame, file.syntax.codec, file.syntax.name, shape, depth)
    else:
        pixels = _read_uncompressed(file, shape, depth, photometric)
    if samples == 3:
        eight_bits = SampleLayout(8, 8, 7, False)
        return (
            render_color(pixels, layout, photometric)
            if pixels.ndim == 3
            else render_gray(pixels, eight_bits, DisplayParameters())
        )
    if photometric == "PALETTE COLOR":
        return render_palette(pixels, layout, read_palette(header, little=file.syntax.little))
    return render_gray(
        pixels, layout, read_display(header, layout, photometric, little=file.syntax.little)
    )


def _read_layout(header: Dataset) -> SampleLayout:
    allocated = element_int(header, "BitsAllocated")
    if allocated not in (8, 16):
        problem = f"{allocated} bits allocated, 8 or 16 are read"
        raise PlaceError(problem, code="PL-D107", fix="export it with 16 bits allocated")
    bits = element_int(header, "BitsStored", allocated)
    high = element_int(header, "HighBit", bits - 1)
    if not 0 < bits <= high + 1 <= allocated:
        problem = f"{bits} bits stored up to bit {high} do not fit in {allocated}"
        raise PlaceError(problem, code="PL-D103", fix="export it again")
    return SampleLayout(allocated, bits, high, element_int(header, "PixelRepresentation") == 1)


def _read_uncompressed(
    file: _ParsedFile, shape: tuple[int, int, int], depth: int, photometric: str
) -> NDArray[Any]:
    """Pixels that are not compressed, as [height, width] or [height, width, 3]."""
    height, width, samples = shape
    halved = photometric.endswith("_422")  # two pixels share their colour: Y Y Cb Cr
    need = height * width * (2 if halved else samples) * depth
    if file.length == _UNDEFINED_LENGTH:
        raise ValueError("in fragments, but not compressed")
    if file.start + need > len(file.body):
        raise EOFError("pixels are missing")
    if file.length < need or (halved and width % 2):
        problem = f"PixelData has {file.length} bytes, Rows and Columns need {need}"
        raise PlaceError(problem, code="PL-D103", fix="export it again")
    if depth == 2:
        flat = np.frombuffer(
            file.body, "<u2" if file.syntax.little else ">u2", need // 2, file.start
        )
    elif file.syntax.little or file.vr == b"OB":
        flat = np.frombuffer(file.body, "u1", need, file.start)
    else:  # bytes stand in words of 16 bits, the second one first
        words = np.frombuffer(
            file.body, ">u2", min(need + 1, len(file.body) - file.start) // 2, file.start
        )
        flat = words.astype("<u2").view("u1")[:need]
    if halved:
        return np.ascontiguousarray(flat.reshape(height, width // 2, 4)[:, :, :2]).reshape(
            height, width, 1
        )
    if samples == 1:
        return flat.reshape(height, width)
    if element_int(file.header, "PlanarConfiguration", 0) == 1:
        return np.moveaxis(flat.reshape(samples, height, width), 0, -1)
    return flat.reshape(shape)
