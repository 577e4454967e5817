"""The vessels of the lungs and the descending aorta."""

from __future__ import annotations

import numpy as np

from place_cxr.phantom.chest import Chest
from place_cxr.phantom.grid import FloatMap, path_segments, project_tubes


def hila(chest: Chest) -> tuple[tuple[float, float], tuple[float, float]]:
    """(x, y) of the right and the left hilum, mm; the left one is higher."""
    frame = chest.projection
    return (frame.x(-38, 0), 32.0), (frame.x(40, 0), 20.0)


def vessel_map(chest: Chest, rng: np.random.Generator) -> FloatMap:
    """Length in vessels [size, size], mm.

    Two trees from the hila, with generations of segments that fork and taper, and the descending
    aorta.
    """
    body = chest.body
    parts = []
    for sign, (hx, hy) in zip((-1, 1), hila(chest), strict=True):
        angle = np.radians(
            np.array([-82, -58, -32, -8, 14, 34, 52, 70, 88]) + rng.uniform(-7, 7, 9)
        )
        # Distance from the hilum to the border of the lung along each angle, mm.
        apex, base = body.apex + hy, chest.domes()[sign > 0] - hy + 45
        side = body.half_width - abs(hx)
        reach = 1 / np.hypot(np.cos(angle) / side, np.sin(angle) / np.where(angle < 0, apex, base))
        start = np.array([hx, hy]) + np.stack([-sign * 4 * np.cos(angle), 10 * np.sin(angle)], 1)
        radius = np.where(angle < 0, 4.0, 5.2) * rng.uniform(0.85, 1.15, 9)

        # Each generation takes this fraction of the way, then every vessel forks.
        for fraction in (0.24, 0.22, 0.18, 0.16, 0.14, 0.12):
            bend = angle + rng.normal(0, 0.16, len(angle))
            end = start + _displacement(bend, sign, fraction * reach)
            parts.append(_segments(start, radius, end, radius * 0.86))

            fork = rng.uniform(0.18, 0.5, len(angle))
            angle = np.concatenate([bend + fork, bend - fork * rng.uniform(0.5, 1.2, len(angle))])
            start = np.concatenate([end, end])
            reach = np.concatenate([reach, reach]) * rng.uniform(0.85, 1.1)
            radius = np.concatenate([radius, radius]) * rng.uniform(0.6, 0.84, 2 * len(radius))
            # mm; thinner vessels are invisible.
            keep = radius > 0.6
            angle, start, reach, radius = angle[keep], start[keep], reach[keep], radius[keep]

        # The pulmonary artery at the hilum.
        trunk = np.array(
            [
                [hx - sign * 8, hy - 14],
                [hx + sign * 2, hy + 4],
                [hx + sign * 10, hy + 34],
                [hx + sign * 17, hy + 62],
            ]
        )
        parts.append(path_segments(trunk, np.array([8.5, 9.5, 7.0, 4.0])))

    aorta = chest.projection.x(19, -55)
    parts.append(
        path_segments(np.array([[aorta, -20.0], [aorta, 60.0], [aorta - 10, chest.base]]), 12.0)
    )
    return project_tubes(chest.grid, np.concatenate(parts))


def _displacement(angle: np.ndarray, sign: int, length: np.ndarray) -> np.ndarray:
    return np.stack([sign * np.cos(angle) * length, np.sin(angle) * length], axis=1)


def _segments(start: np.ndarray, r0: np.ndarray, end: np.ndarray, r1: np.ndarray) -> np.ndarray:
    return np.concatenate([start, r0[:, None], end, r1[:, None]], axis=1)
