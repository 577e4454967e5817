"""Compressed pixels of a DICOM file as bytes: their fragments, and the header of a codestream."""

from __future__ import annotations

import struct
from dataclasses import dataclass

# Item and sequence delimiter of encapsulated pixels (DICOM PS3.5, A.4).
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
# Start-of-frame markers: C0 to CF of JPEG (T.81, table B.1), of which C4, C8 and CC are no frames,
# and F7 of JPEG-LS (T.87).
_FRAME_MARKERS = frozenset({0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_J2K_START = b"\xff\x4f\xff\x51"  # start of codestream, then the size marker (T.800, A.4)
_JP2_HEADER = 4096  # bytes; a codestream wrapped in JP2 boxes starts within them


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """Header of a codestream: size in pixels, samples a pixel, bits a sample."""

    height: int
    width: int
    samples: int
    bits: int


def join_fragments(data: bytes, start: int) -> bytes:
    """The codestream of the one frame in ``data``; its fragments begin at ``start``.

    The first fragment is the offset table, which one frame does not need. Whole fragments end at
    the first bytes that start none: the delimiter, or whatever a writer put in its place. Whether
    the codestream is whole, its decoder tells. Raises EOFError where a fragment is cut off or
    missing, ValueError for bytes that are no fragment.
    """
    view, parts = memoryview(data), []

    while start + 8 <= len(data) and data[start : start + 4] == _ITEM:
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        start += 8 + length
        if start > len(data):
            raise EOFError("a fragment is cut off")
        parts.append(view[start - length : start])

    if len(parts) < 2:
        if start + 8 <= len(data) and data[start : start + 4] != _END:
            raise ValueError("not a fragment")
        raise EOFError("no fragment")
    return b"".join(parts[1:])


def parse_jpeg_header(data: bytes) -> CodestreamHeader:
    """Header of a JPEG of any process, or of a JPEG-LS.

    Raises ValueError or struct.error where there is none.
    """
    position = 2  # after the start-of-image marker
    while data[:2] == b"\xff\xd8" and position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _FRAME_MARKERS:
            bits, height, width, samples = struct.unpack_from(">BHHB", data, position + 4)
            return CodestreamHeader(height, width, samples, bits)
        else:
            # A segment's length counts its own two bytes, so it is at least 2.
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))

    raise ValueError("no frame header")


def parse_jpeg_2000(data: bytes) -> tuple[CodestreamHeader, bytes]:
    """Header of a JPEG 2000 or HTJ2K, and the codestream without the JP2 boxes around it.

    Raises as ``parse_jpeg_header``.
    """
    start = data.find(_J2K_START, 0, _JP2_HEADER)
    if start < 0:
        raise ValueError("no size marker")

    # The size segment (T.800, A.5.1): corners of the image on the reference grid, then for each
    # component its bits less one, with the sign in the highest bit.
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    bits = max(data[start + 42 + 3 * sample] & 127 for sample in range(samples)) + 1

    return CodestreamHeader(bottom - top, right - left, samples, bits), data[start:]


def has_end_mark(data: bytes) -> bool:
    """Whether the end mark is present; it is the same in all codecs but RLE.

    Without this check a cut image would pass: some decoders fill the missing part with grey and
    report no error. The coded data cannot contain these two bytes; padding may follow them.
    """
    return data.rfind(b"\xff\xd9", max(0, len(data) - 64)) >= 0
