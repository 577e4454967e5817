"""From lengths along the rays to a radiograph: Beer-Lambert, scatter, quantum noise, display."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from place_cxr.phantom.anatomy import Anatomy
from place_cxr.phantom.grid import FloatMap
from place_cxr.phantom.scene import Body

# Effective attenuation per mm, at about 110 kV behind the tube's filter [ours].
SOFT_ATTENUATION, BONE_ATTENUATION, METAL_ATTENUATION = 0.0175, 0.052, 0.35


@dataclass(frozen=True, slots=True)
class SiteStyle:
    """What differs between two departments.

    ``scatter``: behind the grid, relative to the primary; ``noise``: factor of its variance;
    ``sharpen``, ``flatten``: strength of the two processing steps; ``low``, ``high``, ``gamma``:
    display window (in units of the line integral) and curve.
    """

    scatter: float
    noise: float
    sharpen: float
    flatten: float
    low: float
    high: float
    gamma: float


SITE_STYLES = {
    "A": SiteStyle(
        scatter=0.35, noise=1.0, sharpen=1.1, flatten=0.3, low=0.55, high=4.2, gamma=1.0
    ),
    "B": SiteStyle(scatter=0.9, noise=3.0, sharpen=0.6, flatten=0.1, low=0.35, high=3.6, gamma=1.1),
}


def attenuation(anatomy: Anatomy) -> FloatMap:
    """Line integral of the attenuation, dimensionless, [size, size]."""
    tissue = np.clip(anatomy.tissue, 0, 1)
    air = anatomy.lung * (1 - tissue)
    # Vessels replace the air of the lung, at most all of it.
    vessel = np.minimum(anatomy.vessel, anatomy.lung) * (1 - tissue)
    soft = np.maximum(anatomy.body - air + vessel + anatomy.soft, 0)

    # Bone replaces soft tissue, metal comes on top of it.
    return (
        np.float32(SOFT_ATTENUATION) * soft
        + np.float32(BONE_ATTENUATION - SOFT_ATTENUATION) * anatomy.bone
        + np.float32(METAL_ATTENUATION) * anatomy.metal
    )


def transmission(line_integral: FloatMap) -> FloatMap:
    """Beer-Lambert: the fraction of the photons that passes."""
    return np.exp(-line_integral)


@lru_cache(maxsize=16)
def _blur_matrix(size: int, sigma: float) -> FloatMap:
    """Gaussian blur along one axis as a matrix [size, size]; ``sigma`` in pixels.

    Beyond the border the border pixel repeats.
    """
    position = np.arange(size)
    offset = np.arange(-int(4 * sigma) - 1, int(4 * sigma) + 2)
    weight = np.exp(-0.5 * (offset / sigma) ** 2)

    matrix = np.zeros((size, size))
    source = np.clip(position[:, None] + offset, 0, size - 1)
    np.add.at(matrix, (position[:, None], source), weight / weight.sum())

    return matrix.astype(np.float32)


def coarse_blur(image: FloatMap, sigma: float, coarse: int = 32) -> FloatMap:
    """Gaussian blur of an image [size, size]; ``sigma`` is a fraction of its edge.

    Computed on a grid of ``coarse`` pixels, from which bilinear interpolation leads back.
    """
    size = len(image)

    # Means over the blocks of the coarse grid.
    if size <= coarse:
        small = image
    else:
        edges = (np.arange(coarse) * size) // coarse
        counts = np.diff(np.append(edges, size)).astype(np.float32)
        small = np.add.reduceat(np.add.reduceat(image, edges, 0), edges, 1) / (
            counts[:, None] * counts[None, :]
        )

    matrix = _blur_matrix(len(small), round(sigma * len(small), 3))
    small = np.einsum(
        "ij,jk,lk->il", matrix, small, matrix, optimize=["einsum_path", (0, 1), (0, 1)]
    )
    if len(small) == size:
        return small.astype(np.float32)

    low, weight = _upsample_weights(size, len(small))
    high = np.minimum(low + 1, len(small) - 1)
    rows = small[low] * (1 - weight)[:, None] + small[high] * weight[:, None]

    return (rows[:, low] * (1 - weight) + rows[:, high] * weight).astype(np.float32)


@lru_cache(maxsize=8)
def _upsample_weights(size: int, coarse: int) -> tuple[np.ndarray, FloatMap]:
    """For each of ``size`` pixels the coarse pixel before it, and the weight of the one after."""
    position = np.clip((np.arange(size) + 0.5) * coarse / size - 0.5, 0, coarse - 1)
    low = position.astype(np.int64)
    return low, (position - low).astype(np.float32)


def render_radiograph(
    anatomy: Anatomy, body: Body, site: str, rng: np.random.Generator
) -> np.ndarray:
    """The displayed radiograph, uint8 [size, size]."""
    style = SITE_STYLES[site]
    step = anatomy.shape.grid.step
    primary = transmission(attenuation(anatomy))

    # Scatter arises in the patient (fully from 220 mm on) and spreads over centimeters, so that
    # dense regions lose most contrast.
    source = primary * np.minimum(anatomy.body * np.float32(1 / 220), 1)
    scatter = style.scatter * coarse_blur(source, 0.09)

    # Quantum noise. Larger pixels collect more photons; below 1 mm the blur of the detector undoes
    # that.
    photons = (primary + scatter) * np.float32(body.dose * max(step, 1.0) / style.noise)
    noise = rng.standard_normal(primary.shape, np.float32)
    counted = np.maximum(photons + noise * np.sqrt(photons), 0.5)
    film = -np.log(counted / np.float32(body.dose * max(step, 1.0) / style.noise))

    # Processing as vendors do it: fine detail is raised, the range from lung to abdomen compressed.
    film = film + np.float32(style.sharpen) * (film - coarse_blur(film, 0.04))
    film = film - np.float32(style.flatten) * (coarse_blur(film, 0.10) - np.float32(2.5))

    # Display window, then a sigmoid scaled to 0..1.
    display = (film - np.float32(style.low + body.level)) / np.float32(style.high - style.low)
    display = 1 / (1 + np.exp(-6 * (display - 0.5)))
    low, high = 1 / (1 + np.exp(3.0)), 1 / (1 + np.exp(-3.0))
    display = np.clip((display - low) / (high - low), 0, 1) ** np.float32(style.gamma)

    return np.round(display * 255).astype(np.uint8)
