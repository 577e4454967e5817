"""Compressed frames of DICOM files to arrays.

8-bit JPEG is decoded in this process, by the library that reads JPEG files. The other decoders are
native code that has seen few attacks. They run in a child process (``codec_child.py``), which is
kept from one image to the next: a file that crashes it is an error here and no more.
docs/decisions/0011-dicom.md says why these decoders.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.images.dicom.codestreams import (
    has_end_mark,
    parse_jpeg_2000,
    parse_jpeg_header,
)

INSTALL_DICOM_EXTRA = "pip install 'place-cxr[dicom]'"
_GRAY_FROM = ("Gray", "YCbCr", "RGB")
_EXIT_TIMEOUT = 1.0  # seconds

# What one image may cost in the child: a base, and more for each of its samples.
_BASE_SECONDS = 0.5  # of processor time
_SAMPLES_PER_SECOND = 1e6  # a quarter of the speed of the slowest of these decoders
_BASE_BYTES = 192 * 2**20
_BYTES_PER_SAMPLE = 14  # JPEG 2000 needs 4 for work and 4 for the image; the rest is reserve

_lock = threading.Lock()
_child: subprocess.Popen[bytes] | None = None
# A forked process keeps its parent's child here: were the object freed, it would warn that the
# child still runs.
_inherited_children: list[subprocess.Popen[bytes] | None] = []


def is_codec_installed(codec: str) -> bool:
    """Whether ``codec`` can be decoded; "" (not compressed) and 8-bit ``jpeg`` always can."""
    try:
        return codec in ("", "jpeg") or importlib.util.find_spec("imagecodecs") is not None
    except ValueError:  # sys.modules holds None
        return False


def decode_frame(
    data: bytes, codec: str, syntax: str, shape: tuple[int, int, int], depth: int
) -> NDArray[Any]:
    """Samples [height, width] or [height, width, samples] of one frame, uint8 or uint16.

    ``shape`` (height, width, samples) and ``depth`` (bytes a sample) come from the DICOM header; a
    codestream with other numbers is refused before memory is allocated for it. ``syntax`` is the
    name of the transfer syntax for messages. An 8-bit JPEG is returned as grey. Signed samples are
    returned as their bits, unsigned.

    Raises ValueError for a damaged frame, EOFError where its end is missing, PL-D107 for CMYK,
    PL-E030 where the decoder is not installed, PL-E031 where the child does not start.
    """
    height, width, samples = shape

    if codec != "rle":
        if codec == "jpeg-2000":
            frame, data = parse_jpeg_2000(data)
        else:
            frame = parse_jpeg_header(data)

        if (frame.height, frame.width, frame.samples) != shape or frame.bits > 8 * depth:
            raise ValueError("the codestream has another size")
        if not has_end_mark(data):
            raise EOFError("no end mark")
        if codec == "jpeg" and frame.bits == 8:
            return _decode_baseline_jpeg(data)

    child_codec = "jpeg" if codec == "jpeg-lossless" else codec
    pixels = _decode_in_child(data, child_codec, syntax, shape, depth)

    # Some decoders return the samples as planes.
    if pixels.shape == (samples, height, width) and samples > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.shape != (shape if samples > 1 else shape[:2]) or pixels.dtype.itemsize > depth:
        raise ValueError("not the samples that the header announced")
    return pixels.astype(f"u{depth}", copy=False)


def _decode_baseline_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Grey [height, width] of an 8-bit JPEG. Raises PL-D107 for CMYK."""
    color_space = simplejpeg.decode_jpeg_header(data)[2]
    if color_space not in _GRAY_FROM:
        raise PlaceError("a CMYK image", code="PL-D107", fix="save it as MONOCHROME2")
    return np.asarray(simplejpeg.decode_jpeg(data, "GRAY")[:, :, 0])


def _decode_in_child(
    data: bytes, codec: str, syntax: str, shape: tuple[int, int, int], depth: int
) -> NDArray[Any]:
    """Unsigned samples of one frame, decoded in the child process; arguments and errors as
    ``decode_frame``.
    """
    if not is_codec_installed(codec if codec != "jpeg" else "jpeg-lossless"):
        raise _missing_decoder_error(syntax)

    sample_count = shape[0] * shape[1] * shape[2]
    request = {
        "codec": codec,
        "length": len(data),
        "shape": shape,
        "depth": depth,
        "seconds": _BASE_SECONDS + sample_count / _SAMPLES_PER_SECOND,
        "bytes": _BASE_BYTES + sample_count * _BYTES_PER_SAMPLE + 2 * len(data),
    }
    answer, body = _send_request(request, data)

    if answer.get("error") == "missing":
        raise _missing_decoder_error(syntax)
    if "shape" not in answer:
        raise ValueError("it does not decode")
    pixels = np.frombuffer(body, np.dtype(answer["dtype"])).reshape(answer["shape"])
    if pixels.dtype.kind not in "ui":
        raise ValueError("samples that are no whole numbers")

    # Decoders return one sample a pixel with or without its axis.
    unsigned: NDArray[Any] = pixels.view(f"u{pixels.dtype.itemsize}")
    return unsigned[:, :, 0] if unsigned.ndim == 3 and unsigned.shape[-1] == 1 else unsigned


def _send_request(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """The child's answer and its pixels, b"" where it reports an error.

    Raises ValueError where the child dies over ``data``, PL-E031 where it does not start.
    """
    # One lock for the whole exchange: answers carry no number that would tell two threads apart.
    with _lock:
        child = _running_child()
        assert child.stdin and child.stdout

        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.write(data)
            child.stdin.flush()

            answer = json.loads(child.stdout.readline())
            body = b""
            if "shape" in answer:
                item_size = np.dtype(answer["dtype"]).itemsize
                body = child.stdout.read(int(np.prod(answer["shape"])) * item_size)
        except (OSError, ValueError):
            raise _child_ended_error(_stop_child()) from None
        except BaseException:  # an interrupt: half an answer may be in the pipe
            _stop_child()
            raise

    return answer, body


def _missing_decoder_error(syntax: str) -> PlaceError:
    return PlaceError(
        f"{syntax} needs a decoder that is not installed", code="PL-E030", fix=INSTALL_DICOM_EXTRA
    )


def _running_child() -> subprocess.Popen[bytes]:
    """The child of this process, started where none runs."""
    global _child
    if _child is None or _child.poll() is not None:
        _stop_child()

        # The child imports imagecodecs from where this process would: -P leaves out its own folder.
        paths = os.pathsep.join(path for path in sys.path if path)
        variables = {
            **os.environ,
            "PYTHONPATH": paths,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }

        try:
            _child = subprocess.Popen(  # noqa: S603  our own file, no shell
                [sys.executable, "-P", str(Path(__file__).with_name("codec_child.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # decoders print comments of the file
                env=variables,
                start_new_session=True,  # Ctrl-C at the terminal must not reach it
            )
        except OSError as error:
            problem = f"no decoding process can be started ({error.strerror})"
            raise PlaceError(
                problem, code="PL-E031", fix="free memory, or use fewer workers"
            ) from None

    return _child


def _stop_child() -> int:
    """End the child and return its exit status: negative after a signal, 0 where there is none."""
    global _child
    if _child is None:
        return 0
    child, _child = _child, None

    # At the end of its input the child exits by itself.
    for pipe in (child.stdin, child.stdout):
        with suppress(OSError):  # bytes that were still to be written
            assert pipe
            pipe.close()

    try:
        return child.wait(_EXIT_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _child_ended_error(status: int) -> Exception:
    """The error for a child that ended: after a signal, the image is damaged; after an exit of its
    own, the program cannot run on this machine.
    """
    if status > 0:
        problem = "the decoding process does not run"
        return PlaceError(problem, code="PL-E031", fix="look at: place doctor")
    return ValueError("the decoding process ended")


def _forget_inherited_child() -> None:
    """After a fork: do not use the parent's pipes; a new child is started when one is needed."""
    global _child, _lock
    _inherited_children.append(_child)
    _child, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_inherited_child)
atexit.register(_stop_child)
