"""Image files: faults I1 to I10 on synthetic files, and the sample files."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin

from place_cxr.core.errors import PlaceError
from place_cxr.images import read as read_module
from place_cxr.images.containers import jpeg_header
from place_cxr.images.letterbox import Letterbox
from place_cxr.images.read import (
    CONSTANT_IMAGE_CODE,
    ImageLimits,
    is_constant_image,
    read_image,
    read_mask,
    read_scaled_image,
)

H, W = 96, 80
REAL = os.environ.get("PLACE_TEST_DATA", "")
needs_real = pytest.mark.skipif(
    not REAL, reason="PLACE_TEST_DATA is unset: no sample data on this machine"
)


@pytest.fixture(autouse=True)
def _fresh_warnings() -> None:
    read_module._warned.clear()


def sample_image(height: int = H, width: int = W) -> NDArray[np.uint8]:
    """Smooth and not symmetric under any turn."""
    y, x = np.mgrid[0:height, 0:width]
    return np.rint(
        40 + 90 * x / width + 60 * y / height + 40 * np.exp(-((x - 20) ** 2 + (y - 30) ** 2) / 200)
    ).astype(np.uint8)


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(sample_image())).save(buffer, kind, **options)
    return buffer.getvalue()


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def code_of(path: Path, read: Callable[[Path], object] = read_image) -> str:
    with pytest.raises(PlaceError) as error:
        read(path)
    return error.value.code


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb(width: int, height: int) -> bytes:
    """A valid 8-bit grey PNG of zeros."""
    packer = zlib.compressobj(9)
    rows = b"\0" * (width + 1) * 50
    body = b"".join(packer.compress(rows) for _ in range(height // 50)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_gray_is_exact(tmp_path: Path, kind: str) -> None:
    result = read_image(write(tmp_path, f"a.{kind.lower()}", encoded(kind)))
    assert result.dtype == np.float32
    assert np.array_equal(np.rint(result * 255), sample_image())


@pytest.mark.fault("I1")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"just some text", "starts with 'just'"),
        (b"<html><body>", "starts with '<htm'"),
        (b"PK\x03\x04" + b"0" * 50, "starts with 'PK"),
        (b"\x93NUMPY\x01\x00", "NUM"),
        (b"\x08\0\x05\0CS\x0a\0ISO_IR 100", "preamble"),
        (b"%PDF-1.7", "%PDF"),
    ],
)
def test_not_an_image(tmp_path: Path, data: bytes, words: str) -> None:
    path = write(tmp_path, "a.png", data)
    for read in (read_image, lambda p: read_scaled_image(p, 32)):
        with pytest.raises(PlaceError, match="a.png") as error:
            read(path)
        assert error.value.code == "PL-D101"
        assert words in str(error.value)


@pytest.mark.fault("I1")
@pytest.mark.parametrize("kind", ["GIF", "PPM", "TGA", "ICO"])
def test_other_formats_are_refused(tmp_path: Path, kind: str) -> None:
    assert code_of(write(tmp_path, "a.png", encoded(kind))) == "PL-D101"


@pytest.mark.fault("I1")
def test_content_decides_and_the_name_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "a.jpg", encoded("PNG"))
    assert np.array_equal(np.rint(read_image(path) * 255), sample_image())
    assert "does not end as its content says" in caplog.text and "a.jpg" not in caplog.text
    caplog.clear()
    assert read_scaled_image(write(tmp_path, "b.png", encoded("JPEG")), 40).shape == (48, 40)
    assert "does not end as its content says" in caplog.text
    caplog.clear()
    read_image(write(tmp_path, "C.PNG", encoded("PNG")))
    assert not caplog.text


@pytest.mark.fault("I1")
def test_warnings_of_one_kind_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(12):
        read_image(write(tmp_path, f"{number}.jpg", encoded("PNG")))
    assert len(caplog.records) == 5
    assert "not shown" in caplog.records[-1].getMessage()


@pytest.mark.fault("I2")
@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_cut_file_is_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    options: dict[str, object],
    foreign: bool,
) -> None:
    data = encoded(kind, **options)
    read_image(write(tmp_path, "whole", data))
    for keep in (10, len(data) // 4, len(data) // 2, len(data) - 20, len(data) - 2):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", foreign)
        path = write(tmp_path, "cut", data[:keep])
        assert code_of(path) in ("PL-D101", "PL-D102", "PL-D103"), keep
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", foreign)
        assert code_of(path, lambda p: read_scaled_image(p, 32)) in (
            "PL-D101",
            "PL-D102",
            "PL-D103",
        ), keep


@pytest.mark.fault("I2")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"restart_marker_rows": 1}),
        ("BMP", {}),
        ("WEBP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_the_last_bytes_count_even_where_all_pixels_are_there(
    tmp_path: Path, kind: str, options: dict[str, object]
) -> None:
    noise = np.random.default_rng(3)
    for _ in range(25):
        pixels = noise.integers(0, 255, noise.integers(16, 90, 2)).astype(np.uint8)
        data = encoded(kind, Image.fromarray(pixels), **options)
        for cut in (1, 2):
            path = write(tmp_path, "cut", data[:-cut])
            assert code_of(path) in ("PL-D101", "PL-D102", "PL-D103")
            assert code_of(path, lambda p: read_scaled_image(p, 16)) in (
                "PL-D101",
                "PL-D102",
                "PL-D103",
            )


@pytest.mark.fault("I2")
def test_bytes_after_the_end_do_no_harm(tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG"):
        whole = read_image(write(tmp_path, "a", encoded(kind)))
        assert np.array_equal(read_image(write(tmp_path, "b", encoded(kind) + b"\0" * 300)), whole)


@pytest.mark.fault("I3")
def test_a_flipped_bit_in_a_png_is_an_error(tmp_path: Path) -> None:
    data, picks = encoded("PNG"), random.Random(1)
    for _ in range(50):
        changed = bytearray(data)
        changed[picks.randrange(8, len(data))] ^= 1 << picks.randrange(8)
        code_of(write(tmp_path, "a.png", bytes(changed)))


@pytest.mark.fault("I3")
def test_only_our_error_leaves_a_mutated_file(tmp_path: Path) -> None:
    picks, refused = random.Random(2), 0
    seeds = [
        encoded("PNG"),
        encoded("JPEG"),
        encoded("JPEG", progressive=True),
        encoded("TIFF"),
        encoded("TIFF", compression="tiff_lzw"),
        encoded("WEBP"),
        encoded("BMP"),
        encoded("JPEG", Image.fromarray(sample_image()).convert("CMYK")),
    ]
    for number in range(400):
        changed = bytearray(seeds[number % len(seeds)])
        for _ in range(picks.choice([1, 3, 10])):
            changed[picks.randrange(min(len(changed), picks.choice([64, 600, 10**6])))] = (
                picks.randrange(256)
            )
        if picks.random() < 0.3:
            del changed[picks.randrange(len(changed)) :]
        path = write(tmp_path, "a", bytes(changed))
        for read in (read_image, lambda p: read_scaled_image(p, 40)):
            try:
                result = read(path)
                assert result.ndim == 2
            except PlaceError as error:
                refused += 1
                assert error.code.startswith("PL-D10")
    assert refused > 100


@pytest.mark.fault("I4")
def test_bombs_are_refused_from_the_header(tmp_path: Path) -> None:
    names = [str(write(tmp_path, f"{side}.png", bomb(side, side))) for side in (13_300, 30_000)]
    names.append(str(write(tmp_path, "long.png", bomb(16_400, 100))))
    script = (
        "import json,resource,sys,time\n"
        "from PIL import Image\n"
        "from place_cxr.images.read import read_image, read_scaled_image\n"
        "from place_cxr.core.errors import PlaceError\n"
        "Image.preinit()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before, worst, codes = peak(), 0.0, []\n"
        "for path in sys.argv[1:]:\n"
        "    for read in (read_image, lambda p: read_scaled_image(p, 256)):\n"
        "        start = time.process_time()\n"
        "        try: read(path)\n"
        "        except PlaceError as error: codes.append(error.code)\n"
        "        worst = max(worst, time.process_time() - start)\n"
        "print(json.dumps([codes, worst, (peak() - before) / 1024]))\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, *names], capture_output=True, text=True, check=True
    )
    codes, seconds, megabytes = json.loads(child.stdout)
    assert codes == ["PL-D104"] * 6
    assert seconds < 0.05  # 20 ms promised; other work may share the core
    assert megabytes < 50


@pytest.mark.fault("I4")
def test_limits_hold_for_every_way_in(tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP"):
        path = write(tmp_path, f"a.{kind.lower()}", encoded(kind))
        for limits in (
            ImageLimits(pixels=H * W - 1),
            ImageLimits(side=H - 1),
            ImageLimits(file_bytes=path.stat().st_size - 1),
        ):
            assert code_of(path, lambda p, limits=limits: read_image(p, limits=limits)) == "PL-D104"
            assert (
                code_of(path, lambda p, limits=limits: read_scaled_image(p, 32, limits=limits))
                == "PL-D104"
            )
        read_image(path, limits=ImageLimits(pixels=H * W, side=H, file_bytes=path.stat().st_size))


@pytest.mark.fault("I5")
def test_narrow_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("PNG", "JPEG"):
        for height, width in ((1, 1), (1, 200), (200, 7)):
            path = write(tmp_path, "a", encoded(kind, Image.fromarray(sample_image(height, width))))
            assert code_of(path) == code_of(path, lambda p: read_scaled_image(p, 32)) == "PL-D105"
    assert read_image(
        write(tmp_path, "a.png", encoded("PNG", Image.fromarray(sample_image(640, 8))))
    ).shape == (640, 8)
    assert "under 64" in caplog.text


@pytest.mark.fault("I5")
def test_constant_images_load_and_are_known(tmp_path: Path) -> None:
    for value in (0, 128, 255):
        path = write(tmp_path, "a.png", encoded("PNG", Image.new("L", (W, H), value)))
        result = read_image(path)
        assert np.isfinite(result).all()
        assert is_constant_image(result) and is_constant_image(read_scaled_image(path, 32))
    for high in (0, 7000):
        flat = np.full((H, W), high, dtype=np.uint16)
        assert is_constant_image(
            read_image(write(tmp_path, "a.png", encoded("PNG", Image.fromarray(flat))))
        )
    signed = Image.fromarray(np.full((H, W), -3, dtype=np.int32))
    assert is_constant_image(read_image(write(tmp_path, "a.tif", encoded("TIFF", signed))))
    for low in range(255):
        levels = np.array([[low, low + 1]], dtype=np.uint8)
        assert is_constant_image(levels) and is_constant_image(
            levels.astype(np.float32) / np.float32(255)
        )
        assert low > 253 or not is_constant_image(
            np.array([[low, low + 2]], dtype=np.float32) / np.float32(255)
        )
    assert not is_constant_image(sample_image()) and not is_constant_image(sample_image() / 255)
    assert CONSTANT_IMAGE_CODE == "PL-D105"


def ramp(top: float, kind: str) -> Image.Image:
    values = np.linspace(0, top, 256 * 64).reshape(64, 256)
    return Image.fromarray(values.astype(kind))


@pytest.mark.fault("I6")
@pytest.mark.parametrize(
    ("form", "kind", "top", "white"),
    [
        ("PNG", "uint16", 65535, 1.0),
        ("PNG", "uint16", 4095, 1.0),
        ("PNG", "uint16", 1023, 1.0),
        ("PNG", "uint16", 3000, 3000 / 4095),
        ("PNG", "uint16", 200, 200 / 255),
        ("TIFF", "uint16", 65535, 1.0),
        ("TIFF", "int32", 65535, 1.0),
        ("TIFF", "int32", 2**31 - 1, 1.0),
        ("TIFF", "float32", 1.0, 1.0),
        ("TIFF", "float32", 0.5, 0.5),
        ("TIFF", "float32", 4095.0, 1.0),
    ],
)
def test_deep_pixels_are_scaled_not_clipped(
    tmp_path: Path, form: str, kind: str, top: float, white: float
) -> None:
    result = read_image(
        write(tmp_path, f"a.{form.lower()}", encoded(form, ramp(top, kind)))
    ).ravel()
    assert (np.diff(result) >= 0).all()
    assert result[0] == 0
    assert result[-1] == pytest.approx(white, abs=1e-6)
    levels = len(np.unique(np.rint(result * 255)))
    assert levels >= (250 if white == 1 else int(white * 255))


@pytest.mark.fault("I6")
def test_signed_and_inverted_and_unusable_deep_pixels(tmp_path: Path) -> None:
    signed = Image.fromarray(np.linspace(-1000, 3000, 64 * 64).reshape(64, 64).astype("int32"))
    result = read_image(write(tmp_path, "a.tif", encoded("TIFF", signed))).ravel()
    assert result[0] == 0 and result[-1] == 1 and (np.diff(result) >= 0).all()

    white_is_zero = encoded("TIFF", ramp(65535, "uint16"), tiffinfo={262: 0})
    result = read_image(write(tmp_path, "b.tif", white_is_zero)).ravel()
    assert result[0] == 1 and result[-1] == 0 and (np.diff(result) <= 0).all()

    for bad in (np.nan, np.inf):
        values = np.zeros((64, 64), dtype=np.float32)
        values[3, 3] = bad
        assert (
            code_of(write(tmp_path, "c.tif", encoded("TIFF", Image.fromarray(values)))) == "PL-D106"
        )


@pytest.mark.fault("I7")
def test_every_color_model_is_the_same_gray(tmp_path: Path) -> None:
    gray = Image.fromarray(sample_image())
    opaque = Image.new("L", gray.size, 255)
    forms = {
        "L.png": encoded("PNG", gray),
        "RGB.png": encoded("PNG", gray.convert("RGB")),
        "LA.png": encoded("PNG", Image.merge("LA", (gray, opaque))),
        "RGBA.png": encoded("PNG", Image.merge("RGBA", (gray, gray, gray, opaque))),
        "P.png": encoded("PNG", gray.convert("P")),
        "CMYK.jpg": encoded("JPEG", gray.convert("CMYK"), quality=98),
        "CMYK.tif": encoded("TIFF", gray.convert("CMYK")),
        "YCbCr.jpg": encoded("JPEG", gray.convert("RGB"), quality=98),
        "L.webp": encoded("WEBP", gray, lossless=True),
        "L.bmp": encoded("BMP", gray),
    }
    for name, data in forms.items():
        error = np.abs(read_image(write(tmp_path, name, data)) * 255 - sample_image())
        assert error.mean() < 1.0, name
        assert error.max() <= 4, name
        assert (
            np.abs(read_scaled_image(tmp_path / name, H).astype(float) - sample_image()).mean()
            < 1.5
        ), name


@pytest.mark.fault("I7")
def test_luma_weights_and_one_bit(tmp_path: Path) -> None:
    for color, gray in (((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)):
        path = write(tmp_path, "a.png", encoded("PNG", Image.new("RGB", (W, H), color)))
        assert np.rint(read_image(path) * 255).max() == gray
    bits = sample_image() > 120
    result = read_image(write(tmp_path, "b.png", encoded("PNG", Image.fromarray(bits))))
    assert np.array_equal(result, bits.astype(np.float32))


@pytest.mark.fault("I7")
def test_alpha_lies_on_black(tmp_path: Path) -> None:
    gray = Image.fromarray(sample_image())
    alpha = np.full((H, W), 255, dtype=np.uint8)
    alpha[:, :30], alpha[:, 30:40] = 0, 128
    cover = Image.fromarray(alpha)
    expected = sample_image() * (alpha / 255)
    for form in (Image.merge("LA", (gray, cover)), Image.merge("RGBA", (gray, gray, gray, cover))):
        result = read_image(write(tmp_path, "a.png", encoded("PNG", form))) * 255
        assert np.abs(result - expected).max() <= 1
    keyed = encoded("PNG", gray.convert("RGB"), transparency=(50, 50, 50))
    result = np.rint(read_image(write(tmp_path, "b.png", keyed)) * 255)
    assert np.array_equal(result, np.where(sample_image() == 50, 0, sample_image()))


@pytest.mark.fault("I7")
def test_undefined_color_models_are_refused(tmp_path: Path) -> None:
    lab = Image.new("LAB", (W, H), (120, 0, 0))
    assert code_of(write(tmp_path, "a.tif", encoded("TIFF", lab))) == "PL-D107"


@pytest.mark.fault("I7")
def test_a_mask_is_what_is_not_black(tmp_path: Path) -> None:
    mask = np.zeros((H, W), dtype=np.uint8)
    mask[10:20, 30:50] = 1
    result = read_mask(write(tmp_path, "m.png", encoded("PNG", Image.fromarray(mask))))
    assert result.dtype == np.bool_
    assert np.array_equal(result, mask > 0)
    assert (
        code_of(write(tmp_path, "m.jpg", encoded("JPEG", Image.fromarray(mask * 255))), read_mask)
        == "PL-D107"
    )


@pytest.mark.fault("I8")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, kind: str, orientation: int) -> None:
    stored = {  # how an upright image lies in a file of this orientation
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a, -1),
    }[orientation](sample_image())
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}.get(kind, {})
    image = Image.fromarray(np.ascontiguousarray(stored))
    path = write(tmp_path, f"a.{kind.lower()}", encoded(kind, image, exif=exif, **options))
    result = read_image(path)
    assert result.shape == (H, W)
    assert np.abs(result * 255 - sample_image()).mean() < 1
    assert np.array_equal(read_scaled_image(path, 40), np.rint(result * 255))


def test_exif_is_looked_for_before_the_first_scan_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    plain, turned = encoded("JPEG", quality=98), encoded("JPEG", quality=98, exif=exif)
    assert turned.startswith(jpeg_header(turned)) and b"Exif\0\0" in jpeg_header(turned)
    assert plain[len(jpeg_header(plain)) :].startswith(b"\xff\xda")
    # A segment that holds the mark of a scan, as a thumbnail does, hides nothing behind it.
    thumbnail = b"\xff\xe3\x00\x06\xff\xda\xff\xda"
    hidden = write(tmp_path, "a.jpg", turned[:2] + thumbnail + turned[2:])
    assert np.array_equal(read_scaled_image(hidden, 40), np.rint(read_image(hidden) * 255))
    # The same bytes among the coded pixels, or behind them, mean nothing.
    behind = write(tmp_path, "b.jpg", plain + b"Exif\0\0" + b"MPF\0" + b"\xff\xd9")
    assert read_scaled_image(behind, 40).shape == (H // 2, W // 2)
    for odd in (b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\xff\xff", b"\xff\xd8\xff\xff" + plain[2:]):
        assert jpeg_header(odd) == odd


@pytest.mark.fault("I9")
def test_several_frames_are_refused(tmp_path: Path) -> None:
    first, second = Image.fromarray(sample_image()), Image.fromarray(sample_image()[::-1].copy())
    for kind in ("PNG", "TIFF", "WEBP"):
        path = write(
            tmp_path,
            f"a.{kind.lower()}",
            encoded(kind, first, save_all=True, append_images=[second, first]),
        )
        with pytest.raises(PlaceError, match="3 frames, expected 1") as error:
            read_image(path)
        assert error.value.code == "PL-D109"
    both = write(tmp_path, "a.jpg", encoded("MPO", first, save_all=True, append_images=[second]))
    assert code_of(both) == code_of(both, lambda p: read_scaled_image(p, 32)) == "PL-D109"


@pytest.mark.fault("I10", "P2")
def test_metadata_goes_nowhere(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    canary = "CANARY^JANE"
    caplog.set_level(logging.DEBUG)
    text = PngImagePlugin.PngInfo()
    text.add_text("PatientName", canary)
    text.add_text("Comment", canary * 100_000)
    exif = Image.Exif()
    exif[0x010E] = canary
    exif[0x0112] = 3
    files = [
        write(tmp_path, "a.jpg", encoded("PNG", pnginfo=text)),
        write(tmp_path, "b.png", encoded("JPEG", exif=exif, comment=canary)),
        write(tmp_path, "c.tif", encoded("TIFF", tiffinfo={270: canary, 315: canary})),
    ]
    for path in [
        *files,
        *(write(tmp_path, f"cut{n}", p.read_bytes()[: -n * 9 - 9]) for n, p in enumerate(files)),
    ]:
        try:
            result = read_image(path)
            assert type(result) is np.ndarray
            read_scaled_image(path, 32)
        except PlaceError as error:
            assert canary not in str(error)
            assert error.__cause__ is None
    printed = (
        "".join(capfd.readouterr())
        + caplog.text
        + " ".join(str(warning.message) for warning in recwarn)
    )
    assert canary not in printed


@pytest.mark.fault("S5")
def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.png"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, tmp_path / "missing.png", Path("/dev/zero"), tmp_path / "a\0.png"):
        assert code_of(path) == "PL-D100"
        assert code_of(path, lambda p: read_scaled_image(p, 32)) == "PL-D100"


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("height", "width"), [(1000, 833), (517, 700), (300, 220), (100, 90)])
def test_the_fast_lane_shows_the_same_image(
    tmp_path: Path, mode: str, height: int, width: int
) -> None:
    random_part = np.random.default_rng(0).normal(0, 4, (height, width))
    image = Image.fromarray(
        np.clip(sample_image(height, width) + random_part, 0, 255).astype(np.uint8)
    ).convert(mode)
    path = write(tmp_path, "a.jpg", encoded("JPEG", image, quality=90))
    scaled = read_scaled_image(path, 128)
    assert scaled.dtype == np.uint8
    assert max(scaled.shape) >= min(128, max(height, width))
    if max(height, width) >= 256:
        assert max(scaled.shape) < max(height, width)
    box = Letterbox(height, width, 128)
    difference = box.to_square(scaled).astype(int) - box.to_square(read_image(path))
    assert np.abs(difference).mean() < 2
    assert abs(difference.mean()) < 0.5


@needs_real
def test_the_odd_sample_files_do_what_is_expected() -> None:
    folder = Path(REAL) / "raw"
    rows = list(csv.DictReader((folder / "manifest.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 31
    for row in rows:
        path = folder / row["file"]
        if row["expect"] != "loads":
            expected = "PL-D102" if row["file"].startswith("derived/truncated") else "PL-D101"
            assert (
                code_of(path) == code_of(path, lambda p: read_scaled_image(p, 256)) == expected
            ), row["file"]
            continue
        result = read_image(path)
        size = (int(row["height"]), int(row["width"]))
        assert result.shape == (size[::-1] if "orientation6" in row["file"] else size), row["file"]
        assert 0 <= result.min() <= result.max() <= 1
        assert is_constant_image(result) == ("constant" in row["file"])


@needs_real
def test_the_derived_sample_files_show_one_image() -> None:
    folder = Path(REAL) / "raw" / "derived"
    reference = read_image(folder / "rgb.png")
    names = [
        "gray16.png",
        "gray16_low_range.png",
        "gray16.tif",
        "float32.tif",
        "gray.bmp",
        "gray.webp",
        "palette.png",
    ]
    for name in [*names, "cmyk.jpg", "progressive.jpg", "exif_orientation6.jpg"]:
        assert np.abs(read_image(folder / name) - reference).mean() * 255 < 2, name


@needs_real
def test_the_fast_lane_on_radiographs() -> None:
    paths = sorted((Path(REAL) / "pairs" / "images").glob("*.jpg"))[:25]
    means = []
    for path in paths:
        whole = read_image(path)
        box = Letterbox(*whole.shape, 224)
        difference = box.to_square(read_scaled_image(path, 224)).astype(int) - box.to_square(whole)
        means.append(np.abs(difference).mean())
    assert len(means) == 25
    assert np.mean(means) < 2
    assert np.max(means) < 3.5
