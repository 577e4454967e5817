"""Figures of generated reports: the radiograph, and the decoder's attention for each sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.records import PRESENT, Study
from place_cxr.core.version import RESEARCH_NOTICE
from place_cxr.images.letterbox import Letterbox
from place_cxr.images.read import read_image
from place_cxr.tasks.grounding import patches_to_view, view_to_original
from place_cxr.tasks.task import RowIndices

EXAMPLES_FOLDER = "examples"
_SENTENCE_ENDS = frozenset(".?!")
# Columns of sentences beside the image.
_COLUMNS = 2
# Letters of a line of text.
_WRAP_WIDTH = 30
_DPI = 110
_Maps = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ReportExample:
    """An image [H, W] in [0, 1], and S sentences written of it with a map each [S, H, W], as
    `maps_on_image` makes it.
    """

    image: _Maps
    sentences: tuple[str, ...]
    maps: _Maps


def choose_example_rows(studies: Sequence[Study], rows: RowIndices, count: int) -> list[int]:
    """Up to ``count`` of ``rows``, one of each patient, in their order: first those with a finding
    in truth.

    What was generated plays no part.
    """
    order = sorted(rows.tolist(), key=lambda row: PRESENT not in studies[row].labels.values())
    patients: dict[str, int] = {}
    for row in order:
        patients.setdefault(studies[row].patient or f"\0{row}", row)

    return list(patients.values())[:count]


def sentence_spans(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[slice]:
    """Positions of the tokens of each sentence; the point in ``3.5`` ends no sentence.

    ``ids`` are those of a report without first, last and padding token.
    """
    words_by_token = {token: decode([token]).strip() for token in set(ids)}
    ends = [
        position + 1
        for position, token in enumerate(ids)
        if words_by_token[token] in _SENTENCE_ENDS
        and not (
            0 < position < len(ids) - 1
            and words_by_token[ids[position - 1]].isdigit()
            and words_by_token[ids[position + 1]].isdigit()
        )
    ]
    edges = [0, *ends] if ends and ends[-1] == len(ids) else [0, *ends, len(ids)]

    return [
        slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False) if stop > start
    ]


def attention_on_patches(attention: _Maps, query_attention: _Maps | None) -> _Maps:
    """Attention of T tokens to P patches, then K V-PORs [T, P + K], as what it is worth on patches
    alone [T, P].

    A V-POR is a weighted sum over patches, and ``query_attention`` [K, P] has the weights: what
    goes to it is passed on by them. Rows keep their sum. Without V-PORs ``query_attention`` is
    None.
    """
    if query_attention is None:
        return attention
    patches = query_attention.shape[1]

    return np.asarray(attention[:, :patches] + attention[:, patches:] @ query_attention)


def mean_by_sentence(attention: _Maps, sentences: Sequence[slice]) -> _Maps:
    """Mean over the tokens of each sentence: [T, P] to [S, P]."""
    means = [attention[tokens].mean(0) for tokens in sentences]
    return np.stack(means) if means else np.zeros((0, attention.shape[1]), dtype=attention.dtype)


def maps_on_image(
    maps: _Maps, grid: tuple[int, int], letterbox: Letterbox, view_size: int
) -> _Maps:
    """Maps over patches [S, P] in pixels of the image [S, H, W], at least 0, the maximum of each
    1; 0 out of view.
    """
    if not len(maps):
        return np.zeros((0, letterbox.height, letterbox.width), dtype=np.float32)
    views = patches_to_view(maps.astype(np.float32).reshape(-1, *grid), view_size)
    image_maps = np.stack([view_to_original(view, letterbox) for view in views]).clip(min=0)

    return np.asarray(
        image_maps / np.maximum(image_maps.max((1, 2), keepdims=True), 1e-12), dtype=np.float32
    )


def read_radiograph(study: Study) -> _Maps:
    """The radiograph as the figure shows it. Raises PlaceError PL-D1xx where it cannot be read."""
    return read_image(study.image)


def draw_example(example: ReportExample, file: Path) -> Path:
    """Write one figure as PNG: the image, each sentence with its map beside it, and what the
    colours mean.

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
    axes = figure.add_subplot(grid[:2, 0])
    axes.imshow(example.image, cmap="gray", vmin=0, vmax=1)
    axes.set_title("Radiograph", fontsize=10, loc="left")
    axes.set_axis_off()

    for number, (sentence, heat) in enumerate(zip(example.sentences, example.maps, strict=True)):
        row, column = number // _COLUMNS, 1 + 2 * (number % _COLUMNS)
        axes = figure.add_subplot(grid[row, column])
        axes.imshow(_overlay_heat(example.image, heat))
        axes.set_axis_off()
        axes = figure.add_subplot(grid[row, column + 1])
        axes.text(
            0,
            0.5,
            textwrap.fill(f"{number + 1}. {sentence}", _WRAP_WIDTH),
            fontsize=10,
            va="center",
        )
        axes.set_axis_off()

    figure.text(0.42, 1 - 0.55 * edge, "Generated sentences, and where the network looked while "
                                       "writing each",
                fontsize=10)  # fmt: skip
    figure.text(
        0.015,
        0.35 * edge,
        f"Written by a network; it may be wrong. Bright: looked most. {RESEARCH_NOTICE}",
        fontsize=9,
    )
    figure.savefig(file, format="png", metadata={"Software": None})

    return file


def _overlay_heat(gray: _Maps, heat: _Maps) -> _Maps:
    """The image with a map laid over it, [H, W, 3]: clear where the map is 0."""
    from matplotlib import colormaps

    opacity = 0.6 * heat[..., None]
    return np.asarray(
        (1 - opacity) * gray[..., None] + opacity * colormaps["inferno"](heat)[..., :3]
    )
