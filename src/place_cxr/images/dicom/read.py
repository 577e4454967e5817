"""The one place that opens a DICOM file: the grey image of a radiograph, and a header summary.

A file is read if it has the 128-byte preamble or plainly starts with elements, a transfer syntax
of ``syntaxes.py`` (uncompressed little endian where none is named), one frame, 8 or 16 bits
allocated a sample, a grey, palette, RGB or YBR image, and the modality of a radiograph
or none. Refusals have the codes of ``images/read.py`` and these:

======  ============================================================================
code    meaning
======  ============================================================================
D110    a DICOM file without an image: a report, a directory, or pixels as floats
D111    not a radiograph, but another modality
D112    a transfer syntax that is not read
E030    pydicom or a decoder is not installed
E031    the decoding process does not start
======  ============================================================================

Elements that are not in ``_KEYWORDS`` are skipped. A message holds sizes and words of the standard,
never another value of the file. Files that a DICOMDIR or an element names are not opened.
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
from place_cxr.images.dicom.display_parameters import (
    PALETTE_STEMS,
    DisplayParameters,
    SampleLayout,
    read_display_parameters,
    read_palette,
    read_sample_layout,
)
from place_cxr.images.dicom.header import (
    RADIOGRAPH_MODALITIES,
    DicomHeader,
    element_int,
    element_text,
    extract_header,
)
from place_cxr.images.dicom.render import render_color, render_gray, render_palette
from place_cxr.images.dicom.syntaxes import TransferSyntax, find_transfer_syntax

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_INFLATED_BYTES = 64 * 2**20  # of a deflated data set
_MAX_READS = 100_000  # elements are read one by one; a radiograph has hundreds
_MAX_ELEMENT_BYTES = 2**20  # of one element that is read: a few tables of 65,536 entries fit
_DATA_START = 132  # 128 bytes of preamble and "DICM" (DICOM PS3.10, 7.1)
_PLAIN_ELEMENTS = 3  # as many sound elements at the start make a file without preamble a DICOM
_UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_TAG, _FLOAT_PIXEL_TAGS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")  # their length has 4 bytes, not 2
_OTHER_LONG_VRS = (b"SQ", b"UT", b"UC", b"UR")  # that pixels cannot have
_META_TAGS = [0x00020002, 0x00020010]  # the storage class and the transfer syntax
_PYDICOM = re.compile(r"pydicom(\.|$)")
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_THREE_SAMPLES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT")
_EIGHT_BITS = SampleLayout(8, 8, 7, False)

# fmt: off
_KEYWORDS = (
    # the summary of the header
    "Modality", "ViewPosition", "ImageType", "SOPClassUID", "BurnedInAnnotation",
    "PatientSex", "PatientAge",
    # the shape of the image
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration",
    "PhotometricInterpretation",
    # the layout of a sample
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
    # how stored values are displayed
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    *(f"{stem}Descriptor" for stem in PALETTE_STEMS),
    *(f"{stem}Data" for stem in PALETTE_STEMS),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class _ParsedFile:
    """The elements before the pixels, and where the value of the pixel element lies in ``body``.

    ``tag``, ``vr``, ``start`` and ``length`` are those of the pixel element; ``tag`` is 0 where the
    file has none.
    """

    header: Dataset
    header_summary: DicomHeader
    syntax: TransferSyntax
    body: bytes
    tag: int
    vr: bytes
    start: int
    length: int


def is_dicom(data: bytes) -> bool:
    """Whether the bytes start as DICOM PS3.10 demands, or plainly with elements of a data set."""
    return _find_data_start(data) is not None


def _find_data_start(data: bytes) -> int | None:
    """Where the first element lies; None where the bytes are no DICOM.

    Exports may lack the 128 bytes of preamble, or "DICM" too, or the file meta elements as well.
    """
    if data[128:132] == b"DICM":
        return _DATA_START
    start = 4 if data[:4] == b"DICM" else 0
    return start if _starts_with_elements(data, start) else None


def _starts_with_elements(data: bytes, position: int) -> bool:
    """Whether little-endian elements follow one another from ``position``: the first is of group
    2 or 8, tags rise, and values lie within the file.
    """
    last_tag = 0
    for _ in range(_PLAIN_ELEMENTS):
        group = int.from_bytes(data[position : position + 2], "little")
        tag = group << 16 | int.from_bytes(data[position + 2 : position + 4], "little")
        vr = data[position + 4 : position + 6]

        # Lengths: 2 bytes after a short VR, else 4, which after a long VR stand behind two zeros.
        start = position + (12 if vr in _LONG_VRS or vr in _OTHER_LONG_VRS else 8)
        length_bytes = data[position + 6 if vr in _SHORT_VRS else start - 4 : start]
        length = int.from_bytes(length_bytes, "little")

        if tag <= last_tag or (not last_tag and group not in (2, 8)):
            return False
        if length == _UNDEFINED_LENGTH:  # of a sequence: its end is not looked for
            return last_tag > 0
        if start + length > len(data):
            return False
        position, last_tag = start + length, tag

    return True


def read_dicom(
    data: bytes, path: Path, check_size: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """Grey image of a DICOM file's bytes, float32 [height, width] in [0, 1], 0 black.

    ``path`` is used in messages only. ``check_size(width, height)`` raises for a size that is not
    wanted; it is called before memory for pixels is allocated. ``render.py`` has the order of the
    grey transforms. Raises PlaceError only.
    """
    with _as_place_errors(path):
        return _decode_image(_parse_file(data), check_size)


def parse_dicom_header(data: bytes, path: Path) -> DicomHeader:
    """The summary of a DICOM file's header; pixels are not decoded. Raises PlaceError only."""
    with _as_place_errors(path):
        return _parse_file(data).header_summary


@contextmanager
def _as_place_errors(path: Path) -> Iterator[None]:
    """Add the file to a PlaceError, and turn whatever libraries raise on bad bytes into one."""
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
    """Bytes that can be read ``_MAX_READS`` times: nested elements cannot cost unlimited time."""

    left = _MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise PlaceError(
                f"more than {_MAX_READS} elements", code="PL-D104", fix="leave this file out"
            )
        return super().read(size)


def _parse_file(data: bytes) -> _ParsedFile:
    read_dataset = _import_read_dataset()
    source = _CountedReads(data)
    data_start = _find_data_start(data)
    source.seek(_DATA_START if data_start is None else data_start)

    # Group 2, the file meta elements, is always explicit little endian (DICOM PS3.10, 7.1).
    meta = read_dataset(
        source,
        False,
        True,
        stop_when=lambda tag, vr, length: tag >> 16 != 2,
        specific_tags=_META_TAGS,
    )
    syntax_uid = element_text(meta, "TransferSyntaxUID")
    is_guessed = not syntax_uid and data_start != _DATA_START
    # Without a name of the encoding: pydicom tells implicit from explicit by the first element.
    syntax = find_transfer_syntax(_EXPLICIT_LITTLE if is_guessed else syntax_uid)

    body = data
    if syntax.deflated:
        body = _inflate(memoryview(data)[source.tell() :])
        source = _CountedReads(body)

    header = read_dataset(
        source,
        syntax.implicit,
        syntax.little,
        stop_when=_stop_at_pixels,
        specific_tags=list(_wanted_tags()),
    )
    position = source.tell()
    if position > len(body) or 0 < len(body) - position < 8:
        raise EOFError("cut off before the pixels")

    if "PixelRepresentation" not in header:
        header.PixelRepresentation = 0  # pydicom needs it to decode elements that may be signed
    summary = extract_header(header, syntax.name)

    if position == len(body):
        if element_text(meta, "MediaStorageSOPClassUID") == _DICOMDIR_CLASS:
            problem = "a DICOMDIR, which lists other files and holds no image"
            raise PlaceError(problem, code="PL-D110", fix="name the files themselves")
        return _ParsedFile(header, summary, syntax, body, 0, b"", position, 0)

    # pydicom may have found another encoding than the transfer syntax promises.
    implicit = bool(header.original_encoding[0])
    tag, vr, start, length = _read_element(body, position, implicit, syntax.little)
    if tag != _PIXEL_TAG and tag not in _FLOAT_PIXEL_TAGS:
        raise ValueError("the data set ends before the end of the file")
    if is_guessed and length == _UNDEFINED_LENGTH:
        raise PlaceError(
            "compressed pixels, and TransferSyntaxUID is missing",
            code="PL-D112",
            fix="export it as a DICOM file with its file meta elements",
        )
    return _ParsedFile(header, summary, syntax, body, tag, vr, start, length)


def _import_read_dataset() -> Callable[..., Dataset]:
    """pydicom's reader of one data set. Raises PL-E030 where pydicom is not installed."""
    _silence_pydicom()
    try:
        from pydicom.filereader import read_dataset  # noqa: TID251
    except ImportError:
        raise PlaceError(
            "reading DICOM needs an extra", code="PL-E030", fix=INSTALL_DICOM_EXTRA
        ) from None
    return read_dataset


def _stop_at_pixels(tag: int, vr: str | None, length: int) -> bool:
    """Whether pydicom stops before this element. Raises PL-D104 for a wanted one too long."""
    if tag in _wanted_tags() and _MAX_ELEMENT_BYTES < length < _UNDEFINED_LENGTH:
        raise PlaceError(f"an element of {length} bytes", code="PL-D104", fix="leave this file out")
    return tag == _PIXEL_TAG or tag in _FLOAT_PIXEL_TAGS


def _silence_pydicom() -> None:
    """Silence pydicom: its log and its warnings quote odd values, which may be a patient's name."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    if ("ignore", None, Warning, _PYDICOM, 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PYDICOM.pattern)


@cache
def _wanted_tags() -> frozenset[int]:
    """The tags of ``_KEYWORDS``."""
    from pydicom.datadict import tag_for_keyword

    return frozenset(int(tag_for_keyword(keyword) or 0) for keyword in _KEYWORDS)


def _inflate(data: memoryview) -> bytes:
    """The data set of a deflated file. There is a limit: 400 kB can inflate to a gigabyte."""
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
    """Tag, VR, start and length of the value of the element at ``position`` (DICOM PS3.5, 7.1).

    VR is b"" where the encoding is implicit, or the VR is none that pixels may have.
    """
    order: Literal["little", "big"] = "little" if little else "big"
    group = int.from_bytes(body[position : position + 2], order)
    number = int.from_bytes(body[position + 2 : position + 4], order)

    vr = body[position + 4 : position + 6]
    if implicit or vr not in _LONG_VRS:
        vr = b""

    start = position + (12 if vr else 8)
    return group << 16 | number, vr, start, int.from_bytes(body[start - 4 : start], order)


def _decode_image(file: _ParsedFile, check_size: Callable[[int, int], None]) -> NDArray[np.float32]:
    """The grey image [height, width] of a file. All checks come before the pixels are decoded."""
    _check_content(file)
    header, syntax = file.header, file.syntax
    height, width = element_int(header, "Rows"), element_int(header, "Columns")
    check_size(width, height)

    layout = read_sample_layout(header)
    samples = element_int(header, "SamplesPerPixel", 1)
    photometric = element_text(header, "PhotometricInterpretation")
    _check_color_model(photometric, samples)

    shape, depth = (height, width, samples), layout.allocated // 8
    if syntax.codec:
        if file.length != _UNDEFINED_LENGTH:
            raise ValueError("compressed, but not in fragments")
        frame = join_fragments(file.body, file.start)
        pixels = decode_frame(frame, syntax.codec, syntax.name, shape, depth)
    else:
        pixels = _read_uncompressed(file, shape, depth, photometric)

    if samples == 3:
        if pixels.ndim == 3:
            return render_color(pixels, layout, photometric)
        # The 8-bit JPEG decoder returns the luma as [height, width].
        return render_gray(pixels, _EIGHT_BITS, DisplayParameters())

    if photometric == "PALETTE COLOR":
        return render_palette(pixels, layout, read_palette(header, little=syntax.little))

    display = read_display_parameters(header, layout, photometric, little=syntax.little)
    return render_gray(pixels, layout, display)


def _check_content(file: _ParsedFile) -> None:
    """Raise PL-D110 for a file without whole-number pixels, PL-D111 for another modality than a
    radiograph's, PL-D109 for several frames.
    """
    summary = file.header_summary
    if file.tag != _PIXEL_TAG:
        content = "pixels as floats" if file.tag else "no pixel data"
        class_note = f" ({summary.sop_class})" if summary.sop_class else ""
        raise PlaceError(f"{content}{class_note}", code="PL-D110", fix="leave this file out")

    if summary.modality and summary.modality not in RADIOGRAPH_MODALITIES:
        accepted = ", ".join(RADIOGRAPH_MODALITIES)
        problem = f"Modality is {summary.modality}, not one of a radiograph ({accepted})"
        raise PlaceError(problem, code="PL-D111", fix="leave this file out")

    if summary.frames > 1:
        problem = f"{summary.frames} frames, expected 1"
        raise PlaceError(problem, code="PL-D109", fix="save one frame alone")


def _check_color_model(photometric: str, samples: int) -> None:
    """Raise PL-D107 for a color model without a grey image, or with another number of samples."""
    expected = 1 if photometric in _ONE_SAMPLE else 3 if photometric in _THREE_SAMPLES else 0
    if samples != expected:
        accepted = ", ".join((*_ONE_SAMPLE, *_THREE_SAMPLES))
        problem = (
            f"{samples} samples a pixel and a PhotometricInterpretation that do not make "
            f"one of {accepted}"
        )
        raise PlaceError(problem, code="PL-D107", fix="export it as MONOCHROME2")


def _read_uncompressed(
    file: _ParsedFile, shape: tuple[int, int, int], depth: int, photometric: str
) -> NDArray[Any]:
    """Pixels that are not compressed, as [height, width] or [height, width, channels]."""
    height, width, samples = shape
    halved = photometric.endswith("_422")  # two pixels share their color: Y Y Cb Cr
    need = height * width * (2 if halved else samples) * depth

    if file.length == _UNDEFINED_LENGTH:
        raise ValueError("in fragments, but not compressed")
    if file.start + need > len(file.body):
        raise EOFError("pixels are missing")
    if file.length < need or (halved and width % 2):
        problem = f"PixelData has {file.length} bytes, Rows and Columns need {need}"
        raise PlaceError(problem, code="PL-D103", fix="export it again")

    flat = _flat_samples(file, need, depth)
    if halved:
        luma = flat.reshape(height, width // 2, 4)[:, :, :2]
        return np.ascontiguousarray(luma).reshape(height, width, 1)

    if samples == 1:
        return flat.reshape(height, width)

    if element_int(file.header, "PlanarConfiguration", 0) == 1:
        return np.moveaxis(flat.reshape(samples, height, width), 0, -1)
    return flat.reshape(shape)


def _flat_samples(file: _ParsedFile, byte_count: int, depth: int) -> NDArray[Any]:
    """The samples in ``byte_count`` bytes, uint8 or uint16 [n], in the order of the file."""
    body, start, little = file.body, file.start, file.syntax.little
    if depth == 2:
        return np.frombuffer(body, "<u2" if little else ">u2", byte_count // 2, start)

    if little or file.vr == b"OB":
        return np.frombuffer(body, "u1", byte_count, start)

    # Big endian OW: bytes lie in 16-bit words, the second one first. An odd count needs one more.
    word_count = min(byte_count + 1, len(body) - start) // 2
    words = np.frombuffer(body, ">u2", word_count, start)
    return words.astype("<u2").view("u1")[:byte_count]
