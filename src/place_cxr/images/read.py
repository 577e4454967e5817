"""The one place that opens an image file.

What a file is, its content decides; the name is only checked. Refusals are ``PlaceError`` with
these codes:

======  ============================================================================
code    meaning
======  ============================================================================
D100    missing, unreadable, or not a regular file (never opened)
D101    not a PNG, JPEG, TIFF, BMP, WEBP or DICOM
D102    cut off: the end of the file is missing
D103    damaged: it does not decode
D104    over the limits of file size, side or pixels (found before decoding)
D105    too narrow, or no picture content (``CONSTANT_IMAGE_CODE``, for those who quarantine)
D106    pixel values are not finite numbers
D107    a colour model without a defined grey picture, or a mask in a JPEG
D108    an array that does not fit its letterbox
D109    several frames
======  ============================================================================

A DICOM file is one wherever the others are (``dicom.py``, which has a few codes more).

Nothing but pixels leaves this file: no EXIF, text chunk, profile or file content reaches a result,
a message or a log.
"""

from __future__ import annotations

import io
import logging
import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, ImageFile, UnidentifiedImageError

from place_cxr.core.errors import PlaceError
from place_cxr.images.containers import (
    FORMAT_SUFFIXES,
    IMAGE_FORMATS,
    MAGIC_BYTES,
    is_image_complete,
    jpeg_header,
)
from place_cxr.images.dicom.header import DicomHeader
from place_cxr.images.dicom.read import is_dicom, parse_dicom_header, read_dicom

_log = logging.getLogger(__name__)
# Pillow writes values of TIFF tags, which may name a patient, to its debug log.
logging.getLogger("PIL").setLevel(logging.WARNING)

CONSTANT_IMAGE_CODE = "PL-D105"
_ORIENTATIONS = {  # EXIF orientation -> what shows the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE_IS_ZERO = 0
_MAX_WARNINGS = 5  # warnings of one kind that a process writes before it falls silent
_warned: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a file may cost. ``pixels`` and ``side`` are of the header, ``file_bytes`` of the file
    on disk.

    A side under ``narrow`` is accepted with a warning (strips occur in real collections), one under
    ``min_side`` is refused: nothing can be seen in it.
    """

    pixels: int = 64_000_000
    side: int = 16_384
    file_bytes: int = 128 * 2**20
    min_side: int = 8
    warn_below_side: int = 64


DEFAULT_IMAGE_LIMITS = ImageLimits()


def read_image(
    path: str | Path, *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS
) -> NDArray[np.float32]:
    """Grey picture [height, width], float32 in [0, 1], upright, 0 black.

    8-bit values are divided by 255. Values of more bits are divided by the largest number of as
    many bits as the picture uses (a 12-bit picture in a 16-bit file by 4095), so nothing is clipped
    and order is kept. Colour becomes luma (ITU-R BT.601), alpha lies on black. Raises
    ``PlaceError`` PL-D100 to PL-D109, see the module; nothing else.
    """
    return _read_with_format(Path(path), limits)[0]


def image_from_memory(image: Image.Image | NDArray[Any]) -> NDArray[np.float32]:
    """What ``read_image`` returns, of a picture that is in memory already: a PIL image, or an array
    [height, width].

    Arrays of uint8 are divided by 255, of bool are black and white; other numbers are scaled as
    files of more than 8 bits are, floats in [0, 1] left as they are. Raises ``PlaceError`` PL-D103,
    PL-D104 to PL-D107.
    """
    name = Path("picture")
    height, width = (
        (image.height, image.width) if isinstance(image, Image.Image) else (*image.shape, 0, 0)[:2]
    )
    if not isinstance(image, Image.Image) and (image.ndim != 2 or image.dtype.kind not in "buif"):
        problem = f"an array {image.shape} of {image.dtype} is not a grey picture"
        raise PlaceError(problem, code="PL-D107", fix="give numbers [height, width]")
    _check_header(width, height, name, DEFAULT_IMAGE_LIMITS)
    if not isinstance(image, Image.Image):
        eight_bits = image.dtype in (np.uint8, np.bool_)
        white = np.float32(255 if image.dtype == np.uint8 else 1)
        return image.astype(np.float32) / white if eight_bits else _scale_to_unit(image, None, name)
    try:
        return _to_gray(_turn_upright(image, name), name)
    except PlaceError:
        raise
    except Exception:  # a lazily opened file may be damaged
        raise _damaged_error(name) from None


def read_mask(path: str | Path) -> NDArray[np.bool_]:
    """Mask [height, width]: True where a pixel is not black. A JPEG is refused, its pixels are not
    exact.
    """
    mask, kind = _read_with_format(Path(path), DEFAULT_IMAGE_LIMITS)
    if kind == "JPEG":
        raise PlaceError(
            "a mask in a JPEG has no exact edge", code="PL-D107", file=path, fix="save masks as PNG"
        )
    return mask > 0


def read_scaled_image(
    path: str | Path, size: int, *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS
) -> NDArray[np.uint8]:
    """Grey picture [h, w], uint8, whose long side is at least ``size`` where the file's is: meant
    to be shrunk to it.

    A plain JPEG is decoded straight to grey at the smallest eighth that is large enough, several
    times faster than whole; anything else is what ``read_image`` returns, in steps of 1/255.
    """
    return read_scaled_image_and_size(path, size, limits=limits)[0]


def read_scaled_image_and_size(
    path: str | Path, size: int, *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """What ``read_scaled_image`` returns, and the (height, width) of the whole picture: what a
    letterbox needs.
    """
    path = Path(path)
    data = _read_bytes(path, limits)
    scaled = _decode_jpeg_scaled(data, path, size, limits)
    if scaled is not None:
        return scaled
    pixels = np.rint(_decode_bytes(data, path, limits)[0] * 255).astype(np.uint8)
    return pixels, (pixels.shape[0], pixels.shape[1])


def read_dicom_header(
    path: str | Path, *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS
) -> DicomHeader | None:
    """What a DICOM file says of its picture, which is not decoded; None for a file of another kind."""
    path = Path(path)
    data = _read_bytes(path, limits)
    return parse_dicom_header(data, path) if is_dicom(data) else None


def is_constant_image(pixels: NDArray[Any]) -> bool:
    """Whether the picture (uint8, or float in [0, 1]) shows nothing: all pixels within one grey
    level of 255.
    """
    step = 1.5 / 255 if np.issubdtype(pixels.dtype, np.floating) else 1  # half a level for rounding
    return bool(float(pixels.max()) - float(pixels.min()) <= step)


def _read_with_format(path: Path, limits: ImageLimits) -> tuple[NDArray[np.float32], str]:
    return _decode_bytes(_read_bytes(path, limits), path, limits)


def _read_bytes(path: Path, limits: ImageLimits) -> bytes:
    """The file's bytes. A FIFO or device is never opened: that would wait for ever."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise PlaceError(
                "not a regular file", code="PL-D100", file=path, fix="name an image file"
            )
        if status.st_size > limits.file_bytes:
            raise _too_large_error(
                f"{status.st_size / 2**20:.0f} MB, limit {limits.file_bytes / 2**20:.0f} MB", path
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a possible path"
        raise PlaceError(
            f"cannot be read ({reason.lower()})", code="PL-D100", file=path, fix="check the path"
        ) from None
    if not data:
        raise PlaceError(
            "the file is empty (0 bytes)", code="PL-D101", file=path, fix="copy it again"
        )
    return data


def _decode_bytes(data: bytes, path: Path, limits: ImageLimits) -> tuple[NDArray[np.float32], str]:
    """Pixels and format. Pillow parses hostile bytes here, and dozens of exception types leave it:
    all are mapped.
    """
    if is_dicom(data):  # before Pillow: the preamble may make the file a TIFF as well
        return read_dicom(
            data, path, lambda width, height: _check_header(width, height, path, limits)
        ), "DICOM"
    ImageFile.LOAD_TRUNCATED_IMAGES = (
        False  # another library may have set it, and then half a picture is grey
    )
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:  # noqa: TID251
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            _check_header(image.width, image.height, path, limits)
            frames = getattr(image, "n_frames", 1)
            if frames != 1:
                raise PlaceError(
                    f"{frames} frames, expected 1",
                    code="PL-D109",
                    file=path,
                    fix="save one frame alone",
                )
            if not is_image_complete(data, kind):
                raise _cut_off_error(path)
            image.load()
            pixels = _to_gray(_turn_upright(image, path), path)
    except PlaceError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large_error(
            f"too many pixels, limit {limits.pixels / 1e6:.0f} million", path
        ) from None
    except UnidentifiedImageError:
        raise _unidentified_error(data, path) from None
    except Exception as error:
        if "truncated" in str(error).lower():
            raise _cut_off_error(path) from None
        raise _damaged_error(path) from None
    if path.suffix.lower() not in FORMAT_SUFFIXES[kind]:
        _warn("a file whose name does not end as its content says")
    return pixels, kind


def _check_header(width: int, height: int, path: Path, limits: ImageLimits) -> None:
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise _too_large_error(
            f"{width} x {height} pixels, limit {limits.side} a side and {limits.pixels / 1e6:.0f} "
            f"million",
            path,
        )
    if min(width, height) < limits.min_side:
        problem = f"{width} x {height} pixels, a side needs {limits.min_side}"
        raise PlaceError(problem, code="PL-D105", file=path, fix="leave this image out")
    if min(width, height) < limits.warn_below_side:
        _warn(f"a picture with a side under {limits.warn_below_side} pixels")


def _turn_upright(image: Image.Image, path: Path) -> Image.Image:
    """Turned as EXIF says. Pillow has turned a TIFF while loading it, and has taken the tag away."""
    transpose = _ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if transpose is None:
        return image
    _warn("a picture is turned as its EXIF orientation says")
    return image.transpose(transpose)


def _to_gray(image: Image.Image, path: Path) -> NDArray[np.float32]:
    """[height, width] in [0, 1]."""
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_to_unit(np.asarray(image), _photometric(image), path)
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "CMYK":
        _warn("a CMYK picture, which no X-ray machine writes")
        image = image.convert("RGB")
    if image.mode in ("LA", "RGBA"):
        image = ImageChops.multiply(image.convert("L"), image.getchannel("A"))
    if image.mode not in ("1", "L", "RGB", "YCbCr"):
        problem = f"colour model {image.mode} is not supported"
        raise PlaceError(problem, code="PL-D107", file=path, fix="save it as 8- or 16-bit grey PNG")
    return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def _photometric(image: Image.Image) -> int | None:
    tags = getattr(
        image, "tag_v2", None
    )  # TIFF only; Pillow inverts "white is zero" for 8 bits and less, not above
    return None if tags is None else tags.get(262)


def _scale_to_unit(
    values: NDArray[Any], photometric: int | None, path: Path
) -> NDArray[np.float32]:
    """More than 8 bits, or floats, to [0, 1], never clipped and never out of order."""
    exact: NDArray[np.floating[Any]] = values.astype(
        np.float32 if values.dtype.itemsize == 2 else np.float64
    )
    low, high = float(exact.min()), float(exact.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise PlaceError(
            "pixels that are not finite numbers",
            code="PL-D106",
            file=path,
            fix="save it as 16-bit grey PNG",
        )
    if low < 0:  # signed: no black is declared, so the darkest pixel is
        exact, high = exact - low, high - low
    in_unit_range = np.issubdtype(values.dtype, np.floating) and high <= 1
    white = 1.0 if in_unit_range else float(max(255, 2 ** int(np.ceil(high)).bit_length() - 1))
    scaled = exact / (high if low < 0 and high > 0 else white)
    return (1 - scaled if photometric == _WHITE_IS_ZERO else scaled).astype(np.float32)


def _decode_jpeg_scaled(
    data: bytes, path: Path, size: int, limits: ImageLimits
) -> tuple[NDArray[np.uint8], tuple[int, int]] | None:
    """The fast lane, or None where the careful reader has to decide: EXIF, several frames, CMYK,
    damage.
    """
    header = jpeg_header(data) if data.startswith(b"\xff\xd8\xff") else b""
    if not header or b"Exif\x00\x00" in header or b"MPF\x00" in header:
        return None
    try:
        height, width, color_space, _ = simplejpeg.decode_jpeg_header(data)
        if color_space not in ("Gray", "YCbCr"):  # of CMYK it would return one channel
            return None
        _check_header(width, height, path, limits)
        if not is_image_complete(data, "JPEG"):
            raise _cut_off_error(path)
        is_tall = height >= width
        pixels = simplejpeg.decode_jpeg(
            data,
            "GRAY",
            min_height=size if is_tall else 0,
            min_width=0 if is_tall else size,
            min_factor=2 if max(height, width) >= 2 * size else 1,
        )
    except ValueError:
        return None
    if path.suffix.lower() not in FORMAT_SUFFIXES["JPEG"]:
        _warn("a file whose name does not end as its content says")
    return np.asarray(pixels[:, :, 0]), (height, width)


def _unidentified_error(data: bytes, path: Path) -> PlaceError:
    kind_name = next((kind for magic, kind in MAGIC_BYTES.items() if data.startswith(magic)), None)
    if kind_name:
        return PlaceError(
            f"starts like a {kind_name}, but its header is cut off or damaged",
            code="PL-D102",
            file=path,
            fix="copy it again",
        )
    if data[:2] in (b"\x02\0", b"\x08\0") and data[3:4] == b"\0":  # the lowest groups of elements
        problem = (
            "like a DICOM file, but the preamble (128 bytes and DICM) is missing; it is not guessed"
        )
        return PlaceError(
            problem,
            code="PL-D101",
            file=path,
            fix="export it as a DICOM file, or convert it to PNG",
        )
    start = data[:4].decode("latin-1")
    problem = f"not a PNG, JPEG, TIFF, BMP, WEBP or DICOM image (starts with {start!r})"
    return PlaceError(problem, code="PL-D101", file=path, fix="convert it to PNG")


def _too_large_error(problem: str, path: Path) -> PlaceError:
    return PlaceError(problem, code="PL-D104", file=path, fix="make the image smaller")


def _damaged_error(path: Path) -> PlaceError:
    return PlaceError("damaged, it does not decode", code="PL-D103", file=path, fix="copy it again")


def _cut_off_error(path: Path) -> PlaceError:
    return PlaceError(
        "cut off, the end of the image is missing", code="PL-D102", file=path, fix="copy it again"
    )


def _warn(problem: str) -> None:
    """Without the file: its name may name a patient. ``place data check`` tells rows."""
    _warned[problem] += 1
    if _warned[problem] <= _MAX_WARNINGS:
        _log.warning(
            "%s%s",
            problem,
            " (further ones are not shown)" if _warned[problem] == _MAX_WARNINGS else "",
        )
