"""Ribs, spine, breast bone, collar bones, shoulder blades and upper arms."""

from __future__ import annotations

import math

import numpy as np

from place_cxr.phantom.chest import CLAVICLE_DEPTH, SOURCE_DISTANCE, SPINE_DEPTH, Chest
from place_cxr.phantom.grid import (
    FloatMap,
    Grid,
    ellipse_distance,
    half_ellipse,
    path_segments,
    project_ellipsoid,
    project_tubes,
    ramp,
    smooth_curve,
)

# How far each rib falls from back to front, in spaces between ribs.
_RIB_DROP = np.array((34, 52, 70, 84, 94, 100, 104, 106, 104, 100)) / 25


def rib_curves(
    chest: Chest, numbers: np.ndarray, side: np.ndarray, angle: np.ndarray
) -> np.ndarray:
    """Points [ribs, n, 2] of ribs on the detector, mm.

    ``numbers`` [ribs] count from 1, ``side`` [ribs] is -1 (right) or 1 (left). ``angle`` [n] runs
    from the spine (0) round the side (pi / 2) to the front.
    """
    body, frame = chest.body, chest.projection

    # Each rib is part of an ellipse. The first one is shorter and lies lower than its spacing.
    numbers, side = np.reshape(numbers, (-1, 1)), np.reshape(side, (-1, 1))
    spacing = (body.apex + body.dome + 30) / 9.6
    top = -body.apex - 4 + (numbers - 1) * spacing + 11 * (numbers == 1)
    drop = _RIB_DROP[numbers - 1] * spacing
    wide = np.minimum(chest.lateral((top + 0.35 * drop).astype(np.float32)), body.half_width) + 4
    wide = wide - 9 * (numbers == 1)

    # Depth decides the sideways shift by rotation and the magnification.
    z = -body.half_depth * np.minimum(1.0, 0.55 + 0.12 * numbers) * np.cos(angle)
    x = side * wide * np.sin(angle) + z * math.sin(math.radians(frame.rotation))
    distance = SOURCE_DISTANCE[frame.view]
    scale = distance / (distance + z if frame.view == "PA" else distance - z)

    y = top + drop * ((1 - np.cos(angle)) / 2) ** 1.35 - 7 * np.sin(2 * angle).clip(0)
    return np.stack([x * scale, y * scale], axis=2)


def rib_curve(chest: Chest, number: int, side: int, angle: np.ndarray) -> np.ndarray:
    """Points [n, 2] of one rib."""
    return rib_curves(chest, np.array([number]), np.array([side]), angle)[0]


def rib_bone(grid: Grid, curves: np.ndarray, radius: float | np.ndarray) -> FloatMap:
    """Length in bone, mm, along ``curves`` [ribs, n, 2] with one ``radius`` or [n] of them.

    A rib is a dense rim round marrow, flat from front to back.
    """
    # Segments x0 y0 r0 x1 y1 r1; the curves are not joined to each other.
    joined = np.concatenate(
        [curves, np.broadcast_to(np.reshape(radius, (1, -1, 1)), (*curves.shape[:2], 1))], axis=2
    )
    outer = (
        np.concatenate([joined[:, :-1], joined[:, 1:]], axis=2).reshape(-1, 6).astype(np.float32)
    )

    inner = outer.copy()
    inner[:, [2, 5]] *= 0.66
    return (project_tubes(grid, outer) - 0.8 * project_tubes(grid, inner)) * np.float32(0.9)


def bone_map(chest: Chest, view: str, rng: np.random.Generator) -> FloatMap:
    """Length in bone [size, size], mm."""
    grid, body, frame = chest.grid, chest.body, chest.projection

    # Ten pairs of ribs behind, eight in front, where the ends become cartilage.
    back = np.linspace(0.02, 0.5, 14) * math.pi
    front = np.linspace(0.5, 0.79, 9) * math.pi
    radius, thinner = body.rib, np.array([1, 1, 1, 1, 1, 1, 0.95, 0.85, 0.6])
    numbers, sides = np.repeat(np.arange(1, 11), 2), np.tile((-1, 1), 10)
    bone = rib_bone(grid, rib_curves(chest, numbers, sides, back), radius)
    front_ribs = rib_curves(chest, numbers[:16], sides[:16], front)
    bone += rib_bone(grid, front_ribs, radius * thinner) * np.float32(0.8)
    bone += _spine(chest)

    # Collar bones: steeper on an AP film.
    tilt = rng.uniform(-6, 6) + (14 if view == "AP" else 0)
    apex = -body.apex
    cx = frame.shift(CLAVICLE_DEPTH)
    clavicle = smooth_curve(
        np.array(
            [
                [17, apex + 34],
                [50, apex + 30 - 0.3 * tilt],
                [92, apex + 19 - 0.8 * tilt],
                [130, apex + 16 - 1.1 * tilt],
                [160, apex + 24 - 1.1 * tilt],
            ]
        ),
        16,
    )
    both = np.stack([clavicle * [-1, 1] + [cx, 0], clavicle + [cx, 0]])

    # Shoulder blade: drawn out of the lungs on a PA film, over them on an AP one.
    out = 0.98 * body.half_width if view == "PA" else 0.80 * body.half_width
    blade = path_segments(
        smooth_curve(
            np.array([[out + 26, apex + 28], [out + 12, apex + 70], [out - 10, apex + 128]]), 9
        ),
        4.5,
    )
    arms = project_tubes(grid, _mirrored(blade)) * np.float32(0.7)
    spread = ellipse_distance(grid, out - 8, apex + 70, 30, 58, -14, paired=True)
    arms += np.float32(2.2) * ramp(1 - spread, 0.15)

    # Upper arm: the head of the bone and its shaft.
    head = body.half_width + 38
    arms += project_ellipsoid(grid, head, apex + 40, 22, 22, 11, paired=True)
    arms += _long_bone(
        grid, _mirrored(path_segments(np.array([[head, apex + 44], [head + 26, apex + 180]]), 11.0))
    )

    return bone + rib_bone(grid, both, 6.0) * np.float32(1.5) + arms


def _mirrored(segments: np.ndarray) -> np.ndarray:
    return np.concatenate([segments, segments * np.array([-1, 1, 1, -1, 1, 1], np.float32)])


def _long_bone(grid: Grid, segments: np.ndarray) -> FloatMap:
    """Length in a long bone, mm: a dense rim, marrow inside."""
    inner = segments.copy()
    inner[:, [2, 5]] *= 0.6
    return (project_tubes(grid, segments) - 0.8 * project_tubes(grid, inner)) * np.float32(0.7)


def _spine(chest: Chest) -> FloatMap:
    """Length in bone, mm: vertebral bodies, pedicles and processes, faintly the sternum."""
    grid, body, frame = chest.grid, chest.body, chest.projection

    # ``wave`` falls from 1 half way between two spacings to 0 at each of them, where the discs are.
    x = grid.x - np.float32(frame.x(0, SPINE_DEPTH))
    spacing = (body.apex + body.dome + 30) / 9.6
    phase = (grid.y + np.float32(body.apex)) / np.float32(spacing)
    wave = np.abs(phase - np.round(phase)) * 2
    width = 15 + 2.0 * ramp(grid.y, 300) + 2.0 * (1 - wave)
    column = np.float32(8) * half_ellipse(x / width) ** np.float32(0.5)
    column *= np.float32(0.45) + np.float32(0.55) * ramp(wave - 0.16, 0.2)

    # Pedicles and spinous process, once for each vertebra.
    center = 1 - wave
    column += 3 * ramp(0.30 - np.hypot(x / 24, (1 - center) * 0.8), 0.15)

    sternum = (
        np.float32(3)
        * ramp(20 - np.abs(grid.x - np.float32(frame.x(0, 70))), 6)
        * ramp(grid.y + 62, 10)
    )
    return column + sternum * ramp(110 - grid.y, 30)
