"""How well images and statements fit: by instance vector, by observations (PCMA), and by both."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from place_cxr.losses.pathology import observation_similarity

_Float32Array = NDArray[np.float32]

SIMILARITY_VARIANTS = ("instance", "observation", "mix")
# The temperature of the pre-training loss.
_SELECTION_TEMPERATURE = 0.1
# Triples of image, sentence and query whose cosines are in memory at once.
_TRIPLES_AT_ONCE = 16_000_000


def instance_scores(images: _Float32Array, texts: _Float32Array) -> _Float32Array:
    """Cosine [N, R] of unit instance vectors [N, D] and [R, D]."""
    return images @ texts.T


@torch.no_grad()
def observation_scores(
    visual: _Float32Array,
    textual: _Float32Array,
    mask: NDArray[np.bool_],
    temperature: float = _SELECTION_TEMPERATURE,
) -> _Float32Array:
    """PCMA's score [N, R] of V-PORs [N, K, D] against reports' T-PORs [R, S, D]: each sentence
    softly selects its queries, and the cosines with what it selected are averaged over sentences.
    """
    images, (reports, sentences, _) = torch.from_numpy(visual), textual.shape
    step = max(1, _TRIPLES_AT_ONCE // max(1, len(visual) * visual.shape[1] * sentences))
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


def score_std(score: _Float32Array) -> float:
    """Standard deviation over a whole matrix [Q, C], in double precision and row by row: no copy of
    the matrix.
    """
    count = max(1, score.size)
    mean = sum(float(row.sum(dtype=np.float64)) for row in score) / count

    return float(
        np.sqrt(sum(float(np.square(row - mean, dtype=np.float64).sum()) for row in score) / count)
    )


def mix_scores(
    first: _Float32Array,
    second: _Float32Array,
    *,
    axis: int | None = None,
    spreads: tuple[float, float] | None = None,
) -> _Float32Array:
    """Mean of two scores, each divided by its standard deviation over the rows at hand (no labels,
    no free parameter).

    ``axis=None`` takes one deviation for the whole matrix (retrieval), ``axis=0`` one for each
    column (findings). A constant score stays out. ``spreads`` are known deviations: those of the
    matrix of which these are some rows.
    """

    def scaled(score: _Float32Array, deviation: Any) -> _Float32Array:
        return np.where(deviation > 0, score / np.where(deviation > 0, deviation, 1), 0)

    deviations = spreads or [score.std(axis=axis, keepdims=True) for score in (first, second)]

    return ((scaled(first, deviations[0]) + scaled(second, deviations[1])) / 2).astype(np.float32)
