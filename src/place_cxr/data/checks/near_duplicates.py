"""Near-copies among images: the same image saved again, in another size, contrast or quality.

Each image becomes 255 bits (a perceptual hash): whether each of the 16 x 16 lowest frequencies of
its 32 x 32 thumbnail, all but the constant one, is above their median. Copies differ in at most
MAX_DIFFERENT_BITS bits, and their thumbnails correlate by MIN_CORRELATION or more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_DIFFERENT_BITS, MIN_CORRELATION = 8, 0.997
_WAVES = 16
_BATCH = 1 << 14  # images or pairs handled at once: about 100 MB


def find_near_duplicates(thumbs: NDArray[np.floating[Any]]) -> list[tuple[int, int]]:
    """(earlier, later) of thumbnails [N, n, n] that show the same image, once for each later one.

    Two numbers that differ in at most 8 bits agree in at least one of any 9 parts of their bits.
    Therefore only images that share a part are compared: sorting instead of all pairs.
    """
    if len(thumbs) < 2:
        return []

    starts = range(0, len(thumbs), _BATCH)
    bits = np.concatenate([_bits(thumbs[start : start + _BATCH]) for start in starts])
    pairs = _candidate_pairs(bits)

    first: dict[int, int] = {}  # later image -> the earliest one that it copies
    for start in range(0, len(pairs), _BATCH):
        a, b = pairs[start : start + _BATCH].T
        close = (bits[a] != bits[b]).sum(axis=1) <= MAX_DIFFERENT_BITS
        a, b = a[close], b[close]

        # The inner product of vectors with mean 0 and length 1 is their correlation.
        correlation = np.einsum("nd,nd->n", _unit_vectors(thumbs[a]), _unit_vectors(thumbs[b]))
        same = correlation >= MIN_CORRELATION
        for earlier, later in zip(a[same].tolist(), b[same].tolist(), strict=True):
            first[later] = min(first.get(later, later), earlier)

    return sorted((earlier, later) for later, earlier in first.items())


def _unit_vectors(thumbs: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """[N, n * n] with mean 0 and length 1."""
    # The product, not -1: reshape cannot infer a length from an array of no thumbnails.
    flat = thumbs.reshape(len(thumbs), thumbs.shape[1] * thumbs.shape[2]).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def _bits(thumbs: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """[N, 255]: which coefficients of the discrete cosine transform (type II) exceed the median."""
    # Cosine k of n samples: cos(pi k (2 x + 1) / 2 n); on both axes, the first 16 frequencies.
    side = thumbs.shape[1]
    waves = np.cos(np.pi * np.arange(_WAVES)[:, None] * (2 * np.arange(side) + 1) / (2 * side))
    strength = (waves @ thumbs.astype(np.float64) @ waves.T).reshape(len(thumbs), -1)[:, 1:]
    return np.asarray(strength > np.median(strength, axis=1, keepdims=True))


def _candidate_pairs(bits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pairs (earlier, later) [M, 2] that agree in at least one of MAX_DIFFERENT_BITS + 1 parts."""
    count = len(bits)

    # Neighboring frequencies are correlated; mixed, each part tells more images apart.
    shuffled = bits[:, np.random.default_rng(0).permutation(bits.shape[1])]

    pair_codes: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    for part in np.array_split(shuffled, MAX_DIFFERENT_BITS + 1, axis=1):
        # The bits of the part as one number; in sorted order, equal numbers are neighbors.
        number = part @ (1 << np.arange(part.shape[1], dtype=np.int64))
        order = np.argsort(number, kind="stable")
        ordered = number[order]
        for step in range(1, count):
            equal = np.flatnonzero(ordered[:-step] == ordered[step:])
            if not len(equal):
                break

            # A pair as one number, so that pairs of several parts become unique at once.
            a, b = order[equal], order[equal + step]
            pair_codes.append(np.minimum(a, b) * count + np.maximum(a, b))

    pairs = np.unique(np.concatenate(pair_codes))

    return np.stack(np.divmod(pairs, count), axis=1)
