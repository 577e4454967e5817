"""The process that runs native decoders on bytes of unknown origin; only ``codecs.py`` starts it.

It is a program, not a module: it is started by its path and imports nothing of this package. It
reads requests from standard input, a line of JSON and then the compressed bytes, until that is
closed. A hostile file can reach this process alone, within the time and memory of its request.
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
_PADDING_BYTES = 64  # that an RLE segment may hold after its plane


def _import_imagecodecs() -> Any:
    import imagecodecs  # noqa: TID251

    return imagecodecs


def _preload_decoders() -> None:
    """Import the decoders before the first request: the import takes longer than many images, and
    must not count as an image's time.
    """
    library = _import_imagecodecs()
    # imagecodecs loads each decoder's library on first access to its name.
    for name in ("packbits_decode", "jpeg8_decode", "jpegls_decode", "jpeg2k_decode"):
        getattr(library, name)


def _decode_rle(data: bytes, shape: list[int], depth: int) -> Any:
    """Samples [height, width, samples] of DICOM's RLE (DICOM PS3.5, annex G).

    Each byte of each sample is a segment of its own, the high byte first.
    """
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
    """Answer requests until standard input is closed.

    An answer is a line of JSON with shape and dtype and then the pixels, or a line with an error.
    """
    source = sys.stdin.buffer
    sink = os.fdopen(os.dup(1), "wb")

    # A library may print to standard output; that must not mix with the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the image

    with suppress(ImportError):  # a request that needs the missing decoder gets an error
        _preload_decoders()

    while line := source.readline():
        request = json.loads(line)
        data = source.read(request["length"])

        _set_limits(request["seconds"], request["bytes"])
        try:
            pixels = DECODERS[request["codec"]](data, request["shape"], request["depth"])
            answer, body = {"shape": pixels.shape, "dtype": pixels.dtype.str}, pixels.tobytes()
        except ImportError:
            answer, body = {"error": "missing"}, b""
        except Exception:
            answer, body = {"error": "damaged"}, b""
        _set_limits(0, 0)

        sink.write(json.dumps(answer).encode() + b"\n")
        sink.write(body)
        sink.flush()


def _set_limits(seconds: float, memory_bytes: int) -> None:
    """Limit processor time and memory from now on; zeros lift the limits.

    The system ends this process when the time is over.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)

    # The memory limit counts address space, so what is in use already (statm, in pages) is added.
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = hard
    if memory_bytes and os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm", encoding="ascii") as file:
            limit = int(file.read().split()[0]) * _PAGE_BYTES + memory_bytes
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main()
