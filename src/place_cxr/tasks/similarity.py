"""How well images and statements fit: by instance vector, by observations (PCMA), and by both."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from place_cxr.losses.pathology import observation_similarity

Floats = NDArray[np.float32]

VARIANTS = ("instance", "observation", "mix")
SELECTION_TEMPERATURE = 0.1  # the one of the pre-training loss
_CELLS = 16_000_000  # image-sentence-query triples held at once


def instance(images: Floats, texts: Floats) -> Floats:
    """Cosine [N, R] of unit instance vectors [N, D] and [R, D]."""
    return images @ texts.T


@torch.no_grad()
def observation(
    visual: Floats, textual: Floats, mask: NDArray[np.bool_], temperature: float = SELECTION_TEMPERATURE
) -> Floats:
    """PCMA's score [N, R] of V-PORs [N, K, D] against reports' T-PORs [R, S, D]: each sentence softly selects its
    queries, and the cosines with what it selected are averaged over sentences."""
    images, (reports, sentences, _) = torch.from_numpy(visual), textual.shape
    step = max(1, _CELLS // max(1, len(visual) * visual.shape[1] * sentences))
    parts = [
        observation_similarity(
            images,
            torch.from_numpy(textual[start : start + step]),
            torch.from_numpy(mask[start : start + step]),
            temperature,
        ).numpy()
        for start in range(0, reports, step)
    ]
    return np.concatenate(parts, axis=1)


def spread(score: Floats) -> float:
    """Standard deviation over a whole matrix [Q, C], in double precision and row by row: no copy of the matrix."""
    count = max(1, score.size)
    mean = sum(float(row.sum(dtype=np.float64)) for row in score) / count
    return float(np.sqrt(sum(float(np.square(row - mean, dtype=np.float64).sum()) for row in score) / count))


def mix(
    first: Floats, second: Floats, *, axis: int | None = None, spreads: tuple[float, float] | None = None
) -> Floats:
    """Mean of two scores, each divided by its standard deviation over the rows at hand (no labels, no free parameter).

    ``axis=None`` takes one deviation for the whole matrix (retrieval), ``axis=0`` one for each column (findings). A
    constant score stays out. ``spreads`` are known deviations: those of the matrix of which these are some rows.
    """

    def scaled(score: Floats, width: Any) -> Floats:
        return np.where(width > 0, score / np.where(width > 0, width, 1), 0)

    widths = spreads or [score.std(axis=axis, keepdims=True) for score in (first, second)]
    return ((scaled(first, widths[0]) + scaled(second, widths[1])) / 2).astype(np.float32)
