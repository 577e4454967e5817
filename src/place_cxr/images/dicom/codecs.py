"""Compressed pictures of DICOM files to arrays.

8-bit JPEG is decoded here, by the library that reads JPEG files. All other decoders are native code
that few have attacked so far, and run in a process of their own (``codec_child.py``), kept from one
picture to the next: whatever a file does to it, this process gets an error. Why these decoders:
docs/decisions/0011-dicom.md.
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
    CodestreamHeader,
    has_end_mark,
    parse_jpeg_2000,
    parse_jpeg_header,
)

INSTALL_DICOM_EXTRA = "pip install 'place-cxr[dicom]'"
_GRAY_FROM = ("Gray", "YCbCr", "RGB")
_SECONDS = 0.5  # processor time a picture may take, and as much more as its pixels need
_PIXELS_A_SECOND = 1e6  # a quarter of what the slowest of these decoders does
_EXIT_TIMEOUT = 1.0  # seconds
_BYTES = 192 * 2**20  # memory, and as much more as its pixels need
_BYTES_A_SAMPLE = 14  # JPEG 2000: 4 for work, 4 for the picture, and room

_lock = threading.Lock()
_child: subprocess.Popen[bytes] | None = None
_inherited_children: list[
    subprocess.Popen[bytes] | None
] = []  # a parent's child: it is not ours to wait for or to warn about


def is_codec_installed(codec: str) -> bool:
    """Whether pictures of this kind can be decoded: ``""`` (not compressed) and ``jpeg`` of 8 bits
    always can.
    """
    try:
        return codec in ("", "jpeg") or importlib.util.find_spec("imagecodecs") is not None
    except ValueError:  # sys.modules holds None
        return False


def decode_frame(
    data: bytes, codec: str, syntax: str, shape: tuple[int, int, int], depth: int
) -> NDArray[Any]:
    """Samples [height, width] or [height, width, samples] of one frame, uint8 or uint16; a JPEG of
    8 bits is grey.

    ``shape`` (height, width, samples) and ``depth`` (bytes a sample) are what the DICOM header
    says; a codestream that says otherwise is refused before anything is allocated for it. Signed
    samples come as their bits.

    Raises ValueError for a damaged picture and EOFError where its end is missing; PL-D107 for CMYK;
    PL-E030 where ``syntax``, the name for messages, needs a decoder that is not installed; PL-E031
    where no process can be started.
    """
    height, width, samples = shape
    if codec != "rle":
        if codec == "jpeg-2000":
            frame, data = parse_jpeg_2000(data)
        else:
            frame = parse_jpeg_header(data)
        if (frame.height, frame.width, frame.samples) != shape or frame.bits > 8 * depth:
            raise ValueError("the picture inside has another size")
        if not has_end_mark(data):
            raise EOFError("no end mark")
        if codec == "jpeg" and frame.bits == 8:
            return _decode_baseline_jpeg(data, frame)
    pixels = _decode_in_child(
        data, "jpeg" if codec == "jpeg-lossless" else codec, syntax, shape, depth
    )
    if pixels.shape == (samples, height, width) and samples > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.shape != (shape if samples > 1 else shape[:2]) or pixels.dtype.itemsize > depth:
        raise ValueError("not the samples that the header announced")
    return pixels.astype(f"u{depth}", copy=False)


def _decode_baseline_jpeg(data: bytes, frame: CodestreamHeader) -> NDArray[np.uint8]:
    color_space = simplejpeg.decode_jpeg_header(data)[2]
    if color_space not in _GRAY_FROM:
        raise PlaceError("a CMYK picture", code="PL-D107", fix="save it as MONOCHROME2")
    return np.asarray(simplejpeg.decode_jpeg(data, "GRAY")[:, :, 0])


def _decode_in_child(
    data: bytes, codec: str, syntax: str, shape: tuple[int, int, int], depth: int
) -> NDArray[Any]:
    height, width, samples = shape
    request = {
        "codec": codec,
        "length": len(data),
        "shape": shape,
        "depth": depth,
        "seconds": _SECONDS + height * width * samples / _PIXELS_A_SECOND,
        "bytes": _BYTES + height * width * samples * _BYTES_A_SAMPLE + 2 * len(data),
    }
    if not is_codec_installed(codec if codec != "jpeg" else "jpeg-lossless"):
        raise _missing_decoder_error(syntax)
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
                kind = np.dtype(answer["kind"])
                length = int(np.prod(answer["shape"])) * kind.itemsize
                body = child.stdout.read(length)
        except (OSError, ValueError):
            raise _child_ended_error(_stop_child()) from None
        except BaseException:  # an interrupt: half an answer may be in the pipe
            _stop_child()
            raise
    if answer.get("error") == "missing":
        raise _missing_decoder_error(syntax)
    if "shape" not in answer:
        raise ValueError("it does not decode")
    pixels = np.frombuffer(body, kind).reshape(answer["shape"])
    if pixels.dtype.kind not in "ui":
        raise ValueError("samples that are no whole numbers")
    unsigned: NDArray[Any] = pixels.view(f"u{pixels.dtype.itemsize}")
    # One sample a pixel comes with its axis or without.
    return unsigned[:, :, 0] if unsigned.ndim == 3 and unsigned.shape[-1] == 1 else unsigned


def _missing_decoder_error(syntax: str) -> PlaceError:
    return PlaceError(
        f"{syntax} needs a decoder that is not installed", code="PL-E030", fix=INSTALL_DICOM_EXTRA
    )


def _running_child() -> subprocess.Popen[bytes]:
    """The child of this process, started where there is none or it has died."""
    global _child
    if _child is None or _child.poll() is not None:
        _stop_child()
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
                stderr=subprocess.DEVNULL,  # decoders print comments of the file there
                env=variables,
                start_new_session=True,  # Ctrl-C at the terminal is ours to answer
            )
        except OSError as error:
            problem = f"no decoding process can be started ({error.strerror})"
            raise PlaceError(
                problem, code="PL-E031", fix="free memory, or use fewer workers"
            ) from None
    return _child


def _stop_child() -> int:
    """End the child, if there is one; how it ended: negative by a signal, of the system or ours,
    positive by itself.
    """
    global _child
    if _child is None:
        return 0
    child, _child = _child, None
    for pipe in (child.stdin, child.stdout):
        with suppress(OSError):  # what was still to be written
            assert pipe
            pipe.close()
    try:
        return child.wait(_EXIT_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _child_ended_error(status: int) -> Exception:
    """A signal: the picture was the reason. An exit of its own: the program does not run here at
    all.
    """
    if status > 0:
        problem = "the decoding process does not run"
        return PlaceError(problem, code="PL-E031", fix="look at: place doctor")
    return ValueError("the decoding process ended")


def _forget_inherited_child() -> None:
    """A forked process must not talk into its parent's pipe; it starts a child of its own when it
    needs one.
    """
    global _child, _lock
    _inherited_children.append(_child)
    _child, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_inherited_child)
atexit.register(_stop_child)
