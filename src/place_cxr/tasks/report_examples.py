"""Pictures of generated reports: the radiograph, and for each sentence where the decoder looked while writing it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.records import PRESENT, Study
from place_cxr.core.results import NOTICE
from place_cxr.images.letterbox import Letterbox
from place_cxr.images.read import read_image
from place_cxr.tasks.grounding import to_original, to_view
from place_cxr.tasks.task import Rows

FOLDER = "examples"
_ENDS = frozenset(".?!")
_COLUMNS = 2  # of sentences beside the picture
_WRAP = 30  # letters of a line of text
_DPI = 110
Maps = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Example:
    """A picture [H, W] in [0, 1], and S sentences written of it with a map each [S, H, W], as `on_picture` makes it."""

    picture: Maps
    sentences: tuple[str, ...]
    maps: Maps


def choose(studies: Sequence[Study], rows: Rows, count: int) -> list[int]:
    """Up to ``count`` of ``rows``, one of each patient, in their order: first those with a finding in truth.

    What was generated plays no part.
    """
    order = sorted(rows.tolist(), key=lambda row: PRESENT not in studies[row].labels.values())
    patients: dict[str, int] = {}
    for row in order:
        patients.setdefault(studies[row].patient or f"\0{row}", row)
    return list(patients.values())[:count]


def cut(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[slice]:
    """Tokens of each sentence of a report without first, last and padding token; ``3.5`` ends none."""
    word = {token: decode([token]).strip() for token in set(ids)}
    ends = [
        place + 1
        for place, token in enumerate(ids)
        if word[token] in _ENDS
        and not (0 < place < len(ids) - 1 and word[ids[place - 1]].isdigit() and word[ids[place + 1]].isdigit())
    ]
    edges = [0, *ends] if ends and ends[-1] == len(ids) else [0, *ends, len(ids)]
    return [slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False) if stop > start]


def on_patches(attention: Maps, looked: Maps | None) -> Maps:
    """Attention of T tokens to P patches, then K V-PORs [T, P + K], as what it is worth on patches alone [T, P].

    A V-POR is a weighted sum over patches, and ``looked`` [K, P] has the weights: what goes to it is passed on by them.
    Rows keep their sum. Without V-PORs ``looked`` is None.
    """
    if looked is None:
        return attention
    patches = looked.shape[1]
    return np.asarray(attention[:, :patches] + attention[:, patches:] @ looked)


def by_sentence(attention: Maps, sentences: Sequence[slice]) -> Maps:
    """Mean over the tokens of each sentence: [T, P] to [S, P]."""
    means = [attention[tokens].mean(0) for tokens in sentences]
    return np.stack(means) if means else np.zeros((0, attention.shape[1]), dtype=attention.dtype)


def on_picture(maps: Maps, grid: tuple[int, int], letterbox: Letterbox, view_size: int) -> Maps:
    """Maps over patches [S, P] in pixels of the picture [S, H, W], at least 0, the maximum of each 1; 0 out of view."""
    if not len(maps):
        return np.zeros((0, letterbox.height, letterbox.width), dtype=np.float32)
    views = to_view(maps.astype(np.float32).reshape(-1, *grid), view_size)
    found = np.stack([to_original(view, letterbox) for view in views]).clip(min=0)
    return np.asarray(found / np.maximum(found.max((1, 2), keepdims=True), 1e-12), dtype=np.float32)


def picture(study: Study) -> Maps:
    """The radiograph as the figure shows it. Raises PlaceError PL-D1xx where it cannot be read."""
    return read_image(study.image)


def draw(example: Example, file: Path) -> Path:
    """Write one figure as PNG: the picture, each sentence with its map beside it, and what the colours mean.

    Holds patient pixels and generated text.
    """
    from matplotlib.figure import Figure

    rows = max(2, -(-len(example.sentences) // _COLUMNS))
    figure = Figure(figsize=(12, 1.55 * rows + 0.9), dpi=_DPI, facecolor="white")
    edge = 0.45 / figure.get_figheight()
    grid = figure.add_gridspec(
        rows, 1 + 2 * _COLUMNS, width_ratios=[2.4, *[1, 1.35] * _COLUMNS], left=0.015, right=0.99,
        top=1 - edge, bottom=edge, wspace=0.06, hspace=0.08,
    )  # fmt: skip
    place = figure.add_subplot(grid[:2, 0])
    place.imshow(example.picture, cmap="gray", vmin=0, vmax=1)
    place.set_title("Radiograph", fontsize=10, loc="left")
    place.set_axis_off()
    for number, (said, heat) in enumerate(zip(example.sentences, example.maps, strict=True)):
        row, column = number // _COLUMNS, 1 + 2 * (number % _COLUMNS)
        place = figure.add_subplot(grid[row, column])
        place.imshow(_veiled(example.picture, heat))
        place.set_axis_off()
        place = figure.add_subplot(grid[row, column + 1])
        place.text(0, 0.5, textwrap.fill(f"{number + 1}. {said}", _WRAP), fontsize=10, va="center")
        place.set_axis_off()
    figure.text(0.42, 1 - 0.55 * edge, "Generated sentences, and where the network looked while writing each",
                fontsize=10)  # fmt: skip
    figure.text(0.015, 0.35 * edge, f"Written by a network; it may be wrong. Bright: looked most. {NOTICE}", fontsize=9)
    figure.savefig(file, format="png", metadata={"Software": None})
    return file


def _veiled(grey: Maps, heat: Maps) -> Maps:
    """The picture with a map laid over it, [H, W, 3]: clear where the map is 0."""
    from matplotlib import colormaps

    veil = 0.6 * heat[..., None]
    return np.asarray((1 - veil) * grey[..., None] + veil * colormaps["inferno"](heat)[..., :3])
