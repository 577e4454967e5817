"""The decoding process: its answers, and that its crashes, hangs and memory do not reach ours."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.images.dicom import codecs
from place_cxr.images.dicom.codestreams import (
    CodestreamHeader,
    has_end_mark,
    join_fragments,
    parse_jpeg_2000,
    parse_jpeg_header,
)
from tests.images import dicoms
from tests.images.dicoms import encode_frame, sample_image

PIXELS = sample_image()
SHAPE = (*PIXELS.shape, 1)


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    codecs._stop_child()


def decode(
    codec: str = "jpeg-2000", syntax: str = dicoms.JPEG_2000, pixels: np.ndarray = PIXELS
) -> np.ndarray:
    return codecs.decode_frame(encode_frame(pixels, syntax), codec, "JPEG 2000", SHAPE, 2)


def test_one_process_serves_many_images() -> None:
    for codec, syntax in (
        ("jpeg-2000", dicoms.JPEG_2000),
        ("jpeg-ls", dicoms.JPEG_LS),
        ("rle", dicoms.RLE),
    ):
        assert np.array_equal(decode(codec, syntax), PIXELS)
        child = codecs._child
    with pytest.raises(ValueError, match="decode"):
        codecs.decode_frame(
            encode_frame(PIXELS, dicoms.JPEG_LS)[:-400] + b"\xff\xd9",
            "jpeg-ls",
            "JPEG-LS",
            SHAPE,
            2,
        )
    assert np.array_equal(decode(), PIXELS)
    assert child is not None and codecs._child is child and child.poll() is None


@pytest.mark.fault("X8")
def test_a_decoder_that_dies_or_hangs_is_a_damaged_image(monkeypatch: pytest.MonkeyPatch) -> None:
    decode()
    assert codecs._child is not None
    os.kill(codecs._child.pid, signal.SIGKILL)  # between images: nobody notices
    codecs._child.wait()
    assert np.array_equal(decode(), PIXELS)

    os.kill(codecs._child.pid, signal.SIGSTOP)  # in the middle of one
    later = threading.Timer(0.2, os.kill, (codecs._child.pid, signal.SIGKILL))
    later.start()
    with pytest.raises(ValueError, match="ended"):
        decode()
    later.join()
    assert np.array_equal(decode(), PIXELS)

    with monkeypatch.context() as patch:
        patch.setattr(codecs, "_BASE_SECONDS", 0.001)
        patch.setattr(codecs, "_SAMPLES_PER_SECOND", 1e10)
        large = np.random.default_rng(0).integers(0, 4096, (600, 600)).astype(np.uint16)
        with pytest.raises(ValueError, match="ended"):
            codecs.decode_frame(
                encode_frame(large, dicoms.JPEG_2000), "jpeg-2000", "JPEG 2000", (600, 600, 1), 2
            )
    assert np.array_equal(decode(), PIXELS)


def test_starting_is_not_what_the_time_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image has no less time than the next ones."""
    monkeypatch.setattr(codecs, "_BASE_SECONDS", 0.03)
    for _ in range(2):
        assert np.array_equal(decode(), PIXELS)


@pytest.mark.fault("X8")
def test_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    side = 2048
    large = np.zeros((side, side), np.uint16)
    data = encode_frame(large, dicoms.JPEG_LS)
    decode("jpeg-ls", dicoms.JPEG_LS)
    monkeypatch.setattr(codecs, "_BASE_BYTES", 2**20)
    monkeypatch.setattr(codecs, "_BYTES_PER_SAMPLE", 0)
    with pytest.raises(ValueError, match="decode"):
        codecs.decode_frame(data, "jpeg-ls", "JPEG-LS", (side, side, 1), 2)
    monkeypatch.undo()
    assert np.array_equal(
        codecs.decode_frame(data, "jpeg-ls", "JPEG-LS", (side, side, 1), 2), large
    )


def test_a_program_that_does_not_run_is_no_damaged_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PlaceError) as error:
        decode()
    assert error.value.code == "PL-E031"
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(PlaceError) as error:
        decode()
    assert error.value.code == "PL-E031"


def test_a_forked_process_has_a_child_of_its_own() -> None:
    script = (
        "import os, numpy as np\n"
        "from tests.images.test_codecs import PIXELS, decode\n"
        "assert np.array_equal(decode(), PIXELS)\n"
        "other = os.fork()\n"
        "mine = PIXELS if other else PIXELS[::-1].copy()\n"
        "same = all(np.array_equal(decode(pixels=mine), mine) for _ in range(20))\n"
        "if not other: os._exit(0 if same else 1)\n"
        "assert same and os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0\n"
    )
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_headers_of_codestreams() -> None:
    for syntax, bits in ((dicoms.JPEG_12, 12), (dicoms.JPEG_SV1, 12), (dicoms.JPEG_LS, 12)):
        header = parse_jpeg_header(encode_frame(PIXELS, syntax))
        assert (header.height, header.width, header.samples) == SHAPE
        assert bits <= header.bits <= 16
        assert has_end_mark(encode_frame(PIXELS, syntax)) and not has_end_mark(
            encode_frame(PIXELS, syntax)[:-2]
        )
    for syntax in (dicoms.JPEG_2000, dicoms.HTJ2K):
        data = encode_frame(PIXELS, syntax)
        header, bare = parse_jpeg_2000(b"\0\0\0\x0cjP  boxes" + data)
        assert (header.height, header.width, header.samples, bare) == (*SHAPE, data)
    color = np.zeros((64, 70, 3), np.uint8)
    assert parse_jpeg_header(
        b"\xff\xd8\xff\xff" + encode_frame(color, dicoms.JPEG)[3:]
    ) == CodestreamHeader(64, 70, 3, 8)
    for wrong in (b"", b"\xff\xd8", b"\xff\xd8\xff\xc0", b"\xff\xd8\xff\xe0\0\0\xff", bytes(99)):
        with pytest.raises((ValueError, struct.error)):
            parse_jpeg_header(wrong)
    with pytest.raises(ValueError, match="marker"):
        parse_jpeg_2000(bytes(5000) + encode_frame(PIXELS, dicoms.JPEG_2000))


def test_fragments() -> None:
    item, end = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0" + bytes(4)
    table, one, two = item + bytes(4), item + b"\x02\0\0\0ab", item + b"\x04\0\0\0cdef"
    assert join_fragments(b"x" + table + one + two + end, 1) == b"abcdef"
    assert join_fragments(table + one + two, 0) == b"abcdef"
    for cut in (table + one + two[:-1], table, b"", table + end):
        with pytest.raises(EOFError):
            join_fragments(cut, 0)
    assert join_fragments(table + one + b"something", 0) == b"ab"  # bytes that start none end them
