"""Compressed pictures inside a DICOM file as bytes: their fragments, and what their own headers say
of the size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_FRAME_MARKERS = frozenset(
    {0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
)  # F7: JPEG-LS; C4, C8, CC are no frames
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_HEADER = 4096  # bytes in which the codestream starts, where a file wraps it in JP2 boxes


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """What a codestream's header says: size in pixels, samples a pixel, bits a sample."""

    height: int
    width: int
    samples: int
    bits: int


def join_fragments(data: bytes, start: int) -> bytes:
    """The one frame in the fragments that start at ``start`` with the offset table, which is not
    needed for one.

    A missing end mark is no fault where all fragments are whole. Raises EOFError where one is cut
    off, ValueError where something else than a fragment stands.
    """
    view, parts = memoryview(data), []
    while start + 8 <= len(data) and data[start : start + 4] != _END:
        if data[start : start + 4] != _ITEM:
            raise ValueError("not a fragment")
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        start += 8 + length
        if start > len(data):
            raise EOFError("a fragment is cut off")
        parts.append(view[start - length : start])
    if len(parts) < 2:
        raise EOFError("no fragment")
    return b"".join(parts[1:])


def parse_jpeg_header(data: bytes) -> CodestreamHeader:
    """Header of a JPEG of any process, or of a JPEG-LS. Raises ValueError or struct.error where
    there is none.
    """
    position = 2
    while data[:2] == b"\xff\xd8" and position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _FRAME_MARKERS:
            bits, height, width, samples = struct.unpack_from(">BHHB", data, position + 4)
            return CodestreamHeader(height, width, samples, bits)
        else:
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    raise ValueError("no frame header")


def parse_jpeg_2000(data: bytes) -> tuple[CodestreamHeader, bytes]:
    """Header of a JPEG 2000 or HTJ2K, and the bare codestream without boxes around it. Raises as
    ``parse_jpeg_header``.
    """
    start = data.find(_J2K_START, 0, _JP2_HEADER)
    if start < 0:
        raise ValueError("no size marker")
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    bits = max(data[start + 42 + 3 * sample] & 127 for sample in range(samples)) + 1
    return CodestreamHeader(bottom - top, right - left, samples, bits), data[start:]


def has_end_mark(data: bytes) -> bool:
    """Whether the end mark is there, the same in all but RLE. Some decoders paint what is missing
    grey and say nothing.

    Inside the data no such two bytes can stand; a few bytes of padding may follow them.
    """
    return data.rfind(b"\xff\xd9", max(0, len(data) - 64)) >= 0
