"""Small images of the gallery as data URIs: grids of numbers in color-blind-safe colors."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from place_cxr.core.files import read_bytes_of_stranger
from place_cxr.images.read import read_image

# Color maps of matplotlib and the part of each in use. Both change evenly in lightness, so that a
# print in grey works too.
HEAT_COLORS, SIMILARITY_COLORS = ("inferno", 0.35, 1.0), ("PuOr_r", 0.0, 1.0)
ColorMap = tuple[str, float, float]
_COLOR_LEVELS = 64  # a palette of 64 colors keeps the PNG small
# Pixels per patch of a heat map. Smoothed here, because browsers smooth in different ways.
_UPSCALING = 4
_PICTURE_LIMIT = 8 << 20  # bytes; a figure of the page has 0.2 MB
_SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
_MAX_OPACITY = 0.9  # of the hottest spot


@dataclass(frozen=True, slots=True)
class SentenceView:
    """A sentence of a report; ``heat`` is empty where the network makes no map for it."""

    text: str
    match: float | None
    heat: str


@dataclass(frozen=True, slots=True)
class Outline:
    """A finding's true outlines as one SVG path."""

    finding: str
    path: str
    style: int


@dataclass(frozen=True, slots=True)
class CorrelationView:
    """Similarity of all patches to the marked one: predicted, and the target."""

    predicted: str
    target: str
    agreement: float
    mark: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class StudyView:
    """One study of the gallery. Lengths are in pixels of the image on the page."""

    number: int
    width: int
    height: int
    image: str
    findings: Sequence[str]
    outlines: Sequence[Outline]
    view: tuple[float, float, float, float]  # the part that is model input: x, y, width, height
    sentences: Sequence[SentenceView]
    similarity: str
    queries: int
    correlation: CorrelationView | None


def study_views(gallery: Mapping[str, Any], folder: Path) -> list[StudyView]:
    """The gallery's studies, ready to draw.

    Raises:
        KeyError, TypeError, ValueError, PlaceError: if the gallery is incomplete or malformed.
    """
    return [_study_view(table, folder) for table in gallery["studies"]]


def legend_colors(color_map: ColorMap) -> list[str]:
    """Nine colors of a map from low to high, as CSS; heat as it looks on dark grey."""
    rgb = _palette(color_map, 9).astype(np.float64)
    if color_map == HEAT_COLORS:
        # Blend with a dark grey (60 of 255), as over a radiograph.
        alpha = np.linspace(0, _MAX_OPACITY, 9)[:, None]
        rgb = alpha * rgb + (1 - alpha) * 60

    return [f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in rgb]


def heat_image(values: NDArray[np.float64]) -> str:
    """A map [rows, columns], scaled to its maximum, as a PNG that is transparent where it is 0."""
    upscaled = _upscale(np.clip(values / max(float(values.max()), 1e-12), 0, 1))
    # One opacity (0..255) for each color of the palette.
    alpha = np.rint(np.linspace(0, 255 * _MAX_OPACITY, _COLOR_LEVELS)).astype(np.uint8).tobytes()
    return _png(upscaled, HEAT_COLORS, alpha)


def similarity_image(values: NDArray[np.float64]) -> str:
    """Cosines or correlations [rows, columns] in -1..1, one pixel each."""
    return _png(np.clip((values + 1) / 2, 0, 1), SIMILARITY_COLORS)


def _study_view(table: Mapping[str, Any], folder: Path) -> StudyView:
    rows, columns = (int(n) for n in table["grid"])
    width, height = int(table["width"]), int(table["height"])
    x, y, w, h = (float(v) for v in table["view"])
    sentences = []

    for sentence in table["sentences"]:
        heat = (
            "" if sentence["heat"] is None else heat_image(_grid(sentence["heat"], rows, columns))
        )
        match = None if sentence["match"] is None else float(sentence["match"])
        sentences.append(SentenceView(str(sentence["text"]), match, heat))

    outlines = [
        Outline(str(outline["finding"]), _svg_path(outline["paths"]), style)
        for style, outline in enumerate(table["outlines"])
    ]
    similarity = np.array(table["similarity"], dtype=np.float64)
    correlation = None

    if (correlation_map := table["correlation"]) is not None:
        # The marked patch: its index in row order, and its box in pixels of the image shown.
        row, column = divmod(int(correlation_map["patch"]), columns)
        correlation = CorrelationView(
            similarity_image(_grid(correlation_map["predicted"], rows, columns)),
            similarity_image(_grid(correlation_map["target"], rows, columns)),
            float(correlation_map["agreement"]),
            (x + column * w / columns, y + row * h / rows, w / columns, h / rows),
        )

    return StudyView(
        int(table["number"]),
        width,
        height,
        _jpeg_data_uri(folder, str(table["image"])),
        [str(finding) for finding in table["findings"]],
        outlines,
        (x, y, w, h),
        sentences,
        similarity_image(similarity),
        len(similarity),
        correlation,
    )


def _jpeg_data_uri(folder: Path, name: str) -> str:
    """A JPEG of the gallery's folder as a data URI. Raises ValueError for any other name."""
    if Path(name).name != name or not name.endswith(".jpg"):
        raise ValueError("not an image of the gallery")

    return picture_data_uri(folder / name, "image/jpeg")


def picture_data_uri(file: Path, kind: str) -> str:
    """A picture of a run folder as a data URI; ``kind`` is image/png or image/jpeg.

    Raises OSError, ValueError, PlaceError for a link, for what lies behind a linked folder, and for
    what is no such picture or larger than the limits.
    """
    if file.parent.is_symlink():
        raise ValueError("in a linked folder")

    content = read_bytes_of_stranger(file, _PICTURE_LIMIT)
    if not content.startswith(_SIGNATURES[kind]):
        raise ValueError("a picture of another kind")

    read_image(file)  # decodes all of it
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _grid(values: Sequence[float], rows: int, columns: int) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64).reshape(rows, columns)


def _upscale(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear between patch centers, as the tasks interpolate their maps."""
    rows, columns = values.shape
    large = Image.fromarray(values.astype(np.float32)).resize(
        (columns * _UPSCALING, rows * _UPSCALING), Image.Resampling.BILINEAR
    )
    return np.asarray(large, dtype=np.float64)


def _png(values: NDArray[np.float64], color_map: ColorMap, alpha: bytes = b"") -> str:
    """Values in 0..1 as a PNG with a palette."""
    image = Image.fromarray(np.rint(values * (_COLOR_LEVELS - 1)).astype(np.uint8))
    image.putpalette(bytes(_palette(color_map, _COLOR_LEVELS).ravel()))
    buffer = io.BytesIO()
    if alpha:
        image.save(buffer, format="PNG", optimize=True, transparency=alpha)
    else:
        image.save(buffer, format="PNG", optimize=True)

    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _palette(color_map: ColorMap, count: int) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    name, low, high = color_map
    return np.rint(255 * colormaps[name](np.linspace(low, high, count))[:, :3]).astype(np.uint8)


def _svg_path(paths: Sequence[Sequence[Sequence[float]]]) -> str:
    """Closed polygons of (x, y) points as one SVG path."""
    closed = []
    for path in paths:
        points = [f"{float(x):g},{float(y):g}" for x, y in path]
        closed.append("M" + "L".join(points) + "Z")
    return "".join(closed)
