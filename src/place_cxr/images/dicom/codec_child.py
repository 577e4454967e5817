"""The process that runs native decoders on bytes of unknown origin; ``codecs.py`` starts it and is
the only one to.

A program of its own, not a module: it is started by its path and imports nothing of this package.
It answers requests on its standard input, a line of JSON and then the bytes, until that is closed.
What a hostile file can reach is this process only, within the time and memory that each request
allows it.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_PAGE_BYTES = resource.getpagesize()
_PADDING_BYTES = 64  # bytes a segment may hold beyond its plane: padding


def _import_imagecodecs() -> Any:
    import imagecodecs  # noqa: TID251

    return imagecodecs


def _preload_decoders() -> None:
    """Import what decodes now: that takes longer than many pictures, and is not what their time is
    allowed for.
    """
    library = _import_imagecodecs()
    for name in ("packbits_decode", "jpeg8_decode", "jpegls_decode", "jpeg2k_decode"):
        getattr(library, name)


def _decode_rle(data: bytes, shape: list[int], depth: int) -> Any:
    """DICOM's own run-length coding: each byte of each sample is a plane, the high byte first."""
    import numpy as np

    height, width, samples = shape
    count, *starts = np.frombuffer(data, "<u4", 16).tolist()
    if count != samples * depth:
        raise ValueError("as many segments as samples times bytes are needed")
    ends = [*starts[1:count], len(data)]
    planes = np.empty((samples, depth, height * width), np.uint8)
    for plane, start, end in zip(planes.reshape(count, -1), starts, ends, strict=False):
        decoded = _import_imagecodecs().packbits_decode(
            data[start:end], out=plane.size + _PADDING_BYTES
        )
        plane[:] = np.frombuffer(decoded, np.uint8, plane.size)
    pixels = planes[:, 0].astype(f"u{depth}")
    for low in range(1, depth):
        pixels = pixels << 8 | planes[:, low]
    return np.moveaxis(pixels.reshape(samples, height, width), 0, -1)


def _decode_jpeg(data: bytes, shape: list[int], depth: int) -> Any:
    return _import_imagecodecs().jpeg8_decode(data)


def _decode_jpeg_ls(data: bytes, shape: list[int], depth: int) -> Any:
    return _import_imagecodecs().jpegls_decode(data)


def _decode_jpeg_2000(data: bytes, shape: list[int], depth: int) -> Any:
    return _import_imagecodecs().jpeg2k_decode(data, numthreads=1)


DECODERS: dict[str, Callable[[bytes, list[int], int], Any]] = {
    "rle": _decode_rle,
    "jpeg": _decode_jpeg,
    "jpeg-ls": _decode_jpeg_ls,
    "jpeg-2000": _decode_jpeg_2000,
}


def main() -> None:
    """Answer until standard input is closed: a line with shape and kind, and the pixels; or a line
    with an error.
    """
    source = sys.stdin.buffer
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library may print is no answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of memory would hold the picture
    with suppress(ImportError):  # each request that needs what is missing will say so
        _preload_decoders()
    while line := source.readline():
        request = json.loads(line)
        data = source.read(request["length"])
        _set_limits(request["seconds"], request["bytes"])
        try:
            pixels = DECODERS[request["codec"]](data, request["shape"], request["depth"])
            answer, body = {"shape": pixels.shape, "kind": pixels.dtype.str}, pixels.tobytes()
        except ImportError:
            answer, body = {"error": "missing"}, b""
        except Exception:
            answer, body = {"error": "damaged"}, b""
        _set_limits(0, 0)
        sink.write(json.dumps(answer).encode() + b"\n")
        sink.write(body)
        sink.flush()


def _set_limits(seconds: float, memory_bytes: int) -> None:
    """Processor time and memory from here on; past the time, the system ends this process. Zeros:
    no limit.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = hard
    if memory_bytes and os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm", encoding="ascii") as file:
            limit = int(file.read().split()[0]) * _PAGE_BYTES + memory_bytes
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main()
