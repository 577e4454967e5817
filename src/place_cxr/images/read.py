"""The one place that opens an image file.

The content decides the format; a name that disagrees only causes a warning. Refusals are
``PlaceError`` with these codes:

======  ============================================================================
code    meaning
======  ============================================================================
D100    missing, unreadable, or not a regular file (never opened)
D101    not a PNG, JPEG, TIFF, BMP, WEBP or DICOM
D102    cut off: the end of the file is missing
D103    damaged: it does not decode
D104    over the limits of file size, side or pixels (checked before decoding)
D105    too narrow, or constant (``CONSTANT_IMAGE_CODE``, raised by callers that quarantine)
D106    pixel values are not finite numbers
D107    a color model without a defined grey image, or a mask in a JPEG
D108    an array that does not fit its letterbox
D109    several frames
======  ============================================================================

A DICOM file is read wherever the others are (``dicom/read.py`` has a few codes more).

Only pixels leave this module: no EXIF, text chunk, color profile or file content reaches a result,
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
_ORIENTATIONS = {  # EXIF orientation -> the operation that turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE_IS_ZERO = 0  # a value of the TIFF tag PhotometricInterpretation
_MAX_WARNINGS = 5  # that a process writes of each kind
_warned: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest image and file that are read, and the smallest side.

    ``pixels`` and ``side`` are compared with the header, ``file_bytes`` with the file on disk. A
    side under ``min_side`` is refused: such an image shows nothing. A side under
    ``warn_below_side`` is read with a warning: strips occur in real collections.
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
    """Grey image [height, width], float32 in [0, 1], upright, 0 black.

    8-bit values are divided by 255. Deeper values are divided by the largest number of as many bits
    as the image uses (a 12-bit image in a 16-bit file by 4095): nothing is clipped, and the order
    of values is kept. Color becomes luma (ITU-R BT.601); transparent pixels are black. Raises
    ``PlaceError`` PL-D100 to PL-D109 (see the module), for DICOM also those of ``dicom/read.py``.
    """
    path = Path(path)
    return _decode_bytes(_read_bytes(path, limits), path, limits)[0]


def image_from_memory(image: Image.Image | NDArray[Any]) -> NDArray[np.float32]:
    """As ``read_image``, for an image in memory: a PIL image, or an array [height, width].

    Arrays of uint8 are divided by 255, bool is black and white. Other numbers are scaled as in
    files of more than 8 bits; floats in [0, 1] stay as they are. Raises ``PlaceError`` PL-D103 to
    PL-D107.
    """
    name = Path("image")  # stands for the file in messages
    if not isinstance(image, Image.Image):
        return _array_to_gray(image, name)

    _check_size(image.width, image.height, name, DEFAULT_IMAGE_LIMITS)
    try:
        return _to_gray(_turn_upright(image, name), name)
    except PlaceError:
        raise
    except Exception:  # a lazily opened file may be damaged
        raise _damaged_error(name) from None


def read_mask(path: str | Path) -> NDArray[np.bool_]:
    """Mask [height, width], True where a pixel is not black.

    Raises as ``read_image``, and PL-D107 for a JPEG: its pixels are not exact.
    """
    path = Path(path)
    mask, kind = _decode_bytes(_read_bytes(path, DEFAULT_IMAGE_LIMITS), path, DEFAULT_IMAGE_LIMITS)
    if kind == "JPEG":
        raise PlaceError(
            "a mask in a JPEG has no exact edge", code="PL-D107", file=path, fix="save masks as PNG"
        )
    return mask > 0


def read_scaled_image(
    path: str | Path, size: int, *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS
) -> NDArray[np.uint8]:
    """Grey image, uint8 [h, w], for a caller that will shrink it to a long side of ``size``.

    A plain JPEG is decoded straight to grey at a reduced scale, the smallest whose long side is
    still at least ``size``: several times faster than in full. Any other image is that of
    ``read_image``, in steps of 1/255.
    """
    return read_scaled_image_and_size(path, size, limits=limits)[0]


def read_scaled_image_and_size(
    path: str | Path, size: int, *, limits: ImageLimits = DEFAULT_IMAGE_LIMITS
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """As ``read_scaled_image``, with the (height, width) of the full image for a letterbox."""
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
    """The header summary of a DICOM file, None for a file of another format. Decodes no pixels."""
    path = Path(path)
    data = _read_bytes(path, limits)
    return parse_dicom_header(data, path) if is_dicom(data) else None


def is_constant_image(pixels: NDArray[Any]) -> bool:
    """Whether all pixels (uint8, or float in [0, 1]) lie within one of 255 grey levels."""
    step = 1.5 / 255 if np.issubdtype(pixels.dtype, np.floating) else 1  # half a level for rounding
    return bool(float(pixels.max()) - float(pixels.min()) <= step)


def _read_bytes(path: Path, limits: ImageLimits) -> bytes:
    """The file's bytes. A FIFO or a device is not opened: reading it might never end."""
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
    """Grey pixels [height, width] and the name of the format; ``path`` is for messages and the
    suffix. Raises PlaceError only.
    """
    # DICOM first: its preamble is free, and may make the file look like a TIFF.
    if is_dicom(data):
        pixels = read_dicom(
            data, path, lambda width, height: _check_size(width, height, path, limits)
        )
        return pixels, "DICOM"

    # Another library may have set this flag; Pillow then fills the missing part with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:  # noqa: TID251
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            _check_size(image.width, image.height, path, limits)

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
    except Exception as error:  # Pillow raises dozens of types on damaged bytes
        if "truncated" in str(error).lower():
            raise _cut_off_error(path) from None
        raise _damaged_error(path) from None

    if path.suffix.lower() not in FORMAT_SUFFIXES[kind]:
        _warn("a file whose name does not end as its content says")
    return pixels, kind


def _check_size(width: int, height: int, path: Path, limits: ImageLimits) -> None:
    """Raise PL-D104 or PL-D105 for a size outside ``limits``; warn where it is narrow."""
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
        _warn(f"an image with a side under {limits.warn_below_side} pixels")


def _turn_upright(image: Image.Image, path: Path) -> Image.Image:
    """The image turned as its EXIF says. Pillow turns a TIFF while loading, and drops the tag."""
    transpose = _ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if transpose is None:
        return image
    _warn("an image is turned as its EXIF orientation says")
    return image.transpose(transpose)


def _to_gray(image: Image.Image, path: Path) -> NDArray[np.float32]:
    """A PIL image as float32 [height, width] in [0, 1]. Raises PL-D106, PL-D107."""
    # More than 8 bits: integers of 16 or 32 bits, or floats.
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_to_unit(np.asarray(image), _photometric(image), path)

    # Palettes and transparent colors become alpha, and alpha is laid on black.
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "CMYK":
        _warn("a CMYK image, which no X-ray machine writes")
        image = image.convert("RGB")
    if image.mode in ("LA", "RGBA"):
        image = ImageChops.multiply(image.convert("L"), image.getchannel("A"))

    if image.mode not in ("1", "L", "RGB", "YCbCr"):
        problem = f"color model {image.mode} is not supported"
        raise PlaceError(problem, code="PL-D107", file=path, fix="save it as 8- or 16-bit grey PNG")

    return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def _array_to_gray(image: NDArray[Any], name: Path) -> NDArray[np.float32]:
    """An array [height, width] as float32 in [0, 1]. Raises PL-D104 to PL-D107."""
    if image.ndim != 2 or image.dtype.kind not in "buif":
        problem = f"an array {image.shape} of {image.dtype} is not a grey image"
        raise PlaceError(problem, code="PL-D107", fix="give numbers [height, width]")
    height, width = image.shape
    _check_size(width, height, name, DEFAULT_IMAGE_LIMITS)

    if image.dtype == np.bool_:
        return image.astype(np.float32)
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    return _scale_to_unit(image, None, name)


def _photometric(image: Image.Image) -> int | None:
    """The TIFF tag PhotometricInterpretation, None for another format.

    Pillow inverts "white is zero" itself up to 8 bits, but not above.
    """
    tags = getattr(image, "tag_v2", None)
    return None if tags is None else tags.get(ExifTags.Base.PhotometricInterpretation)


def _scale_to_unit(
    values: NDArray[Any], photometric: int | None, path: Path
) -> NDArray[np.float32]:
    """Values of more than 8 bits, or floats, as float32 in [0, 1]: nothing is clipped, and the
    order of values is kept. Raises PL-D106.
    """
    # float32 holds all 16-bit numbers exactly; more bits need float64.
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

    # Signed values: no number is declared as black, so the darkest pixel is black.
    if low < 0:
        exact, high = exact - low, high - low

    # White is 1 for floats in [0, 1], else all ones in the bits that the image uses, at least 8.
    in_unit_range = np.issubdtype(values.dtype, np.floating) and high <= 1
    white = 1.0 if in_unit_range else float(max(255, 2 ** int(np.ceil(high)).bit_length() - 1))
    scaled = exact / (high if low < 0 and high > 0 else white)
    return (1 - scaled if photometric == _WHITE_IS_ZERO else scaled).astype(np.float32)


def _decode_jpeg_scaled(
    data: bytes, path: Path, size: int, limits: ImageLimits
) -> tuple[NDArray[np.uint8], tuple[int, int]] | None:
    """A JPEG decoded at a reduced scale, uint8 [h, w], and its full (height, width).

    None where ``_decode_bytes`` has to decide: no JPEG, EXIF, several frames, CMYK, or damage.
    """
    header = jpeg_header(data) if data.startswith(b"\xff\xd8\xff") else b""
    if not header or b"Exif\x00\x00" in header or b"MPF\x00" in header:
        return None

    try:
        height, width, color_space, _ = simplejpeg.decode_jpeg_header(data)
        if color_space not in ("Gray", "YCbCr"):  # of CMYK it would return one channel
            return None
        _check_size(width, height, path, limits)
        if not is_image_complete(data, "JPEG"):
            raise _cut_off_error(path)

        # The decoder takes the smallest of its scales, n/8, at which the long side is still at
        # least ``size``.
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
    """Why Pillow knows no format: a damaged header, a DICOM data set, or no image."""
    format_name = next(
        (kind for magic, kind in MAGIC_BYTES.items() if data.startswith(magic)), None
    )
    if format_name:
        return PlaceError(
            f"starts like a {format_name}, but its header is cut off or damaged",
            code="PL-D102",
            file=path,
            fix="copy it again",
        )

    # A DICOM data set starts with an element of group 2 or 8, in little endian.
    if data[:2] in (b"\x02\0", b"\x08\0") and data[3:4] == b"\0":
        problem = (
            "like a DICOM file without preamble, but its first elements are cut off or damaged"
        )
        return PlaceError(
            problem,
            code="PL-D101",
            file=path,
            fix="export it as a DICOM file, or convert it to PNG",
        )

    # Four bytes tell most formats apart, and hold no more of the file's content than that.
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
    """Warn without the file's name, which may name a patient; ``place data check`` lists rows."""
    _warned[problem] += 1
    count = _warned[problem]
    if count <= _MAX_WARNINGS:
        last = " (further ones are not shown)" if count == _MAX_WARNINGS else ""
        _log.warning("%s%s", problem, last)
