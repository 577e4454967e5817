"""Image files as bytes: the signature, the suffix, and whether the file is complete."""

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
    """Whether the end of a file of this format is present.

    Decoders stop at the last pixel and do not report a missing end; only the WEBP decoder does.
    Raises ValueError where a PNG's checksum is wrong, struct.error where a TIFF's directory lies
    outside the file.
    """
    if kind == "JPEG":
        # The last end-of-image marker, with no start of a scan behind it: otherwise it belongs to
        # an embedded thumbnail.
        end = data.rfind(b"\xff\xd9")
        return end >= 0 and data.find(b"\xff\xda", end) < 0

    if kind == "PNG":
        return _is_png_complete(data)

    if kind == "BMP":
        return len(data) >= int.from_bytes(data[2:6], "little")

    # A TIFF (version 42; 43 is a BigTIFF) mostly ends with its directory: a count of fields, 12
    # bytes a field, and the offset of the next directory.
    if kind == "TIFF" and 42 in data[2:4]:
        order = "<" if data.startswith(b"II") else ">"
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (fields,) = struct.unpack_from(f"{order}H", data, start)
        return len(data) >= int(start) + 2 + 12 * int(fields) + 4

    return True


def jpeg_header(data: bytes) -> bytes:
    """The bytes before the first scan of a JPEG: segments that may hold EXIF or an index of frames.

    Returns all of ``data`` where its segments cannot be followed.
    """
    position = 2  # after the start-of-image marker
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:  # start of scan
            return data[:position]
        if not 0xC0 <= marker <= 0xFE:
            return data

        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")

    return data


def _is_png_complete(data: bytes) -> bool:
    """Whether all chunks up to IEND are present. Raises ValueError for a wrong checksum.

    Pillow does not verify the checksums of pixel data.
    """
    view, start = memoryview(data), 8  # after the signature

    while start + 12 <= len(data):
        # A chunk: length of its body (4 bytes), type (4), body, CRC of type and body (4).
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if end + 4 > len(data):
            return False
        if int.from_bytes(data[end : end + 4], "big") != zlib.crc32(view[start + 4 : end]):
            raise ValueError("a chunk's checksum is wrong")

        if data[start + 4 : start + 8] == b"IEND":
            return True
        start = end + 4

    return False
