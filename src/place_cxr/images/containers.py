"""Image files as bytes: how they start, what they are called, and whether their end is there."""

from __future__ import annotations

import struct
import zlib

IMAGE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
FORMAT_SUFFIXES = {
    "PNG": {".png"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "TIFF": {".tif", ".tiff"},
    "BMP": {".bmp"},
    "WEBP": {".webp"},
}
MAGIC_BYTES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"BM": "BMP",
    b"RIFF": "WEBP",
}


def is_image_complete(data: bytes, kind: str) -> bool:
    """Whether the end of the file is there. Decoders stop at the last pixel and do not miss it;
    that of WEBP does.

    Raises ValueError where a PNG's checksum is wrong, struct.error where a TIFF's directory lies
    outside the file.
    """
    if kind == "JPEG":
        end = data.rfind(b"\xff\xd9")
        return end >= 0 and data.find(b"\xff\xda", end) < 0  # no scan begins behind the end mark
    if kind == "PNG":
        return _is_png_complete(data)
    if kind == "BMP":
        return len(data) >= int.from_bytes(data[2:6], "little")
    if kind == "TIFF" and 42 in data[2:4]:  # its directory lies last; 43 is a BigTIFF
        order = "<" if data.startswith(b"II") else ">"
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (fields,) = struct.unpack_from(f"{order}H", data, start)
        return len(data) >= int(start) + 2 + 12 * int(fields) + 4
    return True


def jpeg_header(data: bytes) -> bytes:
    """What lies before the first scan of a JPEG: the segments that may hold EXIF or an index of
    frames.

    All of ``data`` where its segments cannot be followed.
    """
    position = 2
    while (
        position + 4 <= len(data) and data[position] == 0xFF and 0xC0 <= data[position + 1] <= 0xFE
    ):
        if data[position + 1] == 0xDA:
            return data[:position]
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return data


def _is_png_complete(data: bytes) -> bool:
    """Pillow does not look at the checksum of pixel data, so all are checked, up to the end chunk."""
    view, start = memoryview(data), 8
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if end + 4 > len(data):
            return False
        if int.from_bytes(data[end : end + 4], "big") != zlib.crc32(view[start + 4 : end]):
            raise ValueError("a chunk's checksum is wrong")
        if data[start + 4 : start + 8] == b"IEND":
            return True
        start = end + 4
    return False
