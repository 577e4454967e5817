"""The normal chest as analytic solids, projected to maps of lengths along the rays.

Rays run parallel to z. Perspective is a magnification by the depth of each solid, which enlarges
the heart on an AP film. Lungs are the chest cavity without mediastinum, heart and diaphragm: for
each ray the intervals of z inside the solids are intersected exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from place_cxr.phantom.bones import bone_map
from place_cxr.phantom.chest import HEART_DEPTH, Chest, Projection
from place_cxr.phantom.grid import (
    BoolMap,
    FloatMap,
    Grid,
    ellipse_distance,
    half_ellipse,
    path_segments,
    project_capsule_pair,
    project_ellipsoid,
    project_tubes,
    ramp,
)
from place_cxr.phantom.scene import Body
from place_cxr.phantom.vessels import vessel_map


@dataclass(slots=True)
class Anatomy:
    """Maps [size, size] in mm unless noted, which findings may change before the exposure.

    ``lung`` is the length in the lungs, ``tissue`` the part of it that is not air (0 to 1),
    ``soft`` added soft tissue (negative: gas), ``bone`` and ``metal`` lengths of those, ``vessel``
    the length in vessels. ``left`` is true on the image side of the patient's left lung.
    """

    body: FloatMap
    lung: FloatMap
    tissue: FloatMap
    vessel: FloatMap
    soft: FloatMap
    bone: FloatMap
    metal: FloatMap
    heart: BoolMap
    left: BoolMap
    shape: Chest


def build_anatomy(grid: Grid, body: Body, view: str, sex: str) -> Anatomy:
    """Project the normal chest of ``body``."""
    chest = Chest(grid, body, Projection(view, body.rotation))
    rng = np.random.Generator(np.random.Philox(key=body.key))

    # The order of the calls that take ``rng`` fixes which draws each of them gets.
    lung, heart = _lungs(chest)
    left = np.broadcast_to(grid.x > chest.middle, lung.shape)
    trunk, soft = _soft_tissue(chest, sex, rng)
    airway = _airway(chest)
    gut = _gut_gas(chest, rng)
    tissue = np.full_like(lung, 1 - body.air)
    vessel = vessel_map(chest, rng) * np.minimum(lung * np.float32(1 / 60), 2)
    bone = bone_map(chest, view, rng)

    return Anatomy(
        trunk, lung, tissue, vessel, soft - airway - gut, bone, grid.zeros(), heart, left, chest
    )


def _overlap(low_a: FloatMap, high_a: FloatMap, low_b: FloatMap, high_b: FloatMap) -> FloatMap:
    return np.maximum(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0)


def _lungs(chest: Chest) -> tuple[FloatMap, BoolMap]:
    """Length in the lungs [size, size], mm, and the pixels of the heart."""
    grid, body, frame = chest.grid, chest.body, chest.projection

    # Chest cavity: for each ray an interval of z, whose cross section at a height is a rounded
    # rectangle (|u|^2.5) from the inner to the outer border.
    x, y = grid.x, grid.y
    side = np.where(x > chest.middle, np.float32(1), np.float32(-1))
    across = np.abs(x - np.float32(chest.middle))
    outer, inner, deep = chest.lateral(y), chest.medial(y), chest.depth(y)
    u = np.abs((across - (outer + inner) / 2) / np.maximum((outer - inner) / 2, np.float32(0.1)))
    u *= u
    half = deep * np.sqrt(np.maximum(1 - u * np.sqrt(np.sqrt(u)), 0))
    middle_z = np.float32(-8)
    low, high = middle_z - half, middle_z + half

    # Diaphragm: a dome on an upright elliptic column, its top forward of the middle so that lung
    # reaches down behind.
    right_top, left_top = chest.domes()
    top = np.where(side > 0, np.float32(left_top), np.float32(right_top))
    dome_x = np.float32(0.47 * body.half_width)
    rise = np.float32((0.62 - 0.38 * body.flat) * body.half_width)
    up = np.clip((top + rise - y) / rise, 0, 4)
    wide = (across - dome_x) / np.float32(0.57 * body.half_width)
    dome = np.float32(1.35 * body.half_depth) * np.sqrt(np.maximum(1 - wide * wide - up * up, 0))
    dome_low, dome_high = 28 - dome, 28 + dome
    dome_high = np.where(dome > 0, np.maximum(dome_high, 1e3), dome_high)

    # Mediastinum: an upright elliptic column from the sternum to the spine.
    core_x = np.float32(frame.x(2.0, 0.0))
    core_width = 21 + 6 * ramp(y - 60, 90) + 12 * ramp(-75 - y, 60)
    core = np.float32(74) * half_ellipse((x - core_x) / core_width) ** np.float32(1.4)
    core_low, core_high = -core - 5, core - 5

    # Heart and great vessels: one interval of z that covers all of them.
    hull_low, hull_high = np.full_like(half, 1e3), np.full_like(half, -1e3)
    outline = np.zeros(half.shape, np.bool_)
    for hx, hy, a, b, c, degrees in chest.heart_ellipses():
        r = ellipse_distance(grid, hx, hy, a, b, degrees)
        chord = np.float32(c) * half_ellipse(r) ** np.float32(0.75)
        inside = r < 1
        outline |= inside
        hull_low = np.where(inside, np.minimum(hull_low, HEART_DEPTH - chord), hull_low)
        hull_high = np.where(inside, np.maximum(hull_high, HEART_DEPTH + chord), hull_high)

    for hx, hy, a, b, c, z, degrees in _great_vessels(chest):
        r = ellipse_distance(grid, hx, hy, a, b, degrees)
        chord = np.float32(c) * half_ellipse(r)
        inside = r < 1
        hull_low = np.where(inside, np.minimum(hull_low, z - chord), hull_low)
        hull_high = np.where(inside, np.maximum(hull_high, z + chord), hull_high)

    # |A or B or C| by inclusion and exclusion, each clipped to the chest.
    solids = ((dome_low, dome_high), (core_low, core_high), (hull_low, hull_high))
    spans = [(np.maximum(a, low), np.minimum(b, high)) for a, b in solids]
    occupied = sum(np.maximum(b - a, 0) for a, b in spans)
    occupied = occupied - sum(_overlap(*spans[i], *spans[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    three_low = np.maximum(np.maximum(spans[0][0], spans[1][0]), spans[2][0])
    three_high = np.minimum(np.minimum(spans[0][1], spans[1][1]), spans[2][1])
    occupied = occupied + np.maximum(three_high - three_low, 0)

    return np.maximum(2 * half - occupied, 0).astype(np.float32), outline


def _great_vessels(
    chest: Chest,
) -> tuple[tuple[float, float, float, float, float, float, float], ...]:
    """x, y, semi-axes a, b, c and depth in mm, turn in degrees.

    Aortic knob, pulmonary trunk, vena cava with the ascending aorta.
    """
    frame = chest.projection
    return (
        (frame.x(19, -15), -27, 19, 20, 34, -10, 0.0),
        (frame.x(18, 20), 14, 24, 34, 26, 20, -24.0),
        (frame.x(-14, 20), 4, 17, 66, 22, 20, -4.0),
    )


def _soft_tissue(chest: Chest, sex: str, rng: np.random.Generator) -> tuple[FloatMap, FloatMap]:
    """Thickness [size, size], mm, of the trunk with neck, shoulders and arms, and of the soft
    tissue before it (chest muscle, breasts).
    """
    grid, body = chest.grid, chest.body
    x, y = grid.x, grid.y

    # Trunk: a flattened cylinder, tapered to the waist.
    wall = body.half_width + 12 + body.fat
    width = wall * (1 + 0.06 * ramp(-y, 160)) + np.float32(0.05 * wall) * ramp(y - 140, 160)
    flank = np.abs(x / width)
    depth = body.half_depth + 8 + 0.7 * body.fat
    trunk = np.float32(2 * depth) * np.sqrt(np.maximum(1 - flank**3, 0))
    trunk *= 1 - np.float32(0.14) * np.exp(-((x / 42) ** 2))  # the grooves of breast bone and spine
    trunk *= ramp(y + np.float32(body.apex * 1.0), 130)
    pieces = [trunk]

    # Neck, shoulders, arms.
    slope = rng.uniform(0.30, 0.48)
    neck = 47 + 0.5 * body.fat
    pieces.append(
        np.float32(105 + 1.5 * body.fat) * half_ellipse(x / np.float32(neck)) * ramp(-y - 40, 60)
    )
    apex = -body.apex
    shoulder, thick = apex + 35 + 165 * (slope - 0.35), 40 + 0.6 * body.fat
    pieces.append(
        project_capsule_pair(grid, 26, apex - 10, 34 + 0.3 * body.fat, 165, shoulder, thick)
        * np.float32(1.7)
    )
    pieces.append(
        project_capsule_pair(grid, 165, apex + 40, thick + 2, 215, apex + 190, thick + 2)
        * np.float32(1.7)
    )

    # Smooth maximum of the pieces: the fourth root of the sum of fourth powers.
    total = grid.zeros()
    for piece in pieces:
        piece *= np.float32(0.01)
        piece *= piece
        piece *= piece
        total += piece
    total = np.sqrt(np.sqrt(total)) * np.float32(100)

    # Chest muscle: its lower border runs from the armpit down to the breast.
    soft = project_ellipsoid(
        grid, 0.68 * body.half_width, apex + 62, 62, 40, rng.uniform(6, 14), -25, paired=True
    )

    if body.breast > 0:
        size = body.breast
        drop = rng.uniform(70, 100)
        for sign in (-1, 1):
            bx = sign * (0.56 * body.half_width + rng.uniform(-3, 3))
            by = drop + rng.uniform(-4, 4) - body.fat * 0.2
            half_moon = project_ellipsoid(grid, bx, by, 52 * size, 50 * size, 17 * size)
            soft += half_moon * ramp(y - np.float32(by - 4 * size), 90 * size)

    return total.astype(np.float32), soft * (total > 1)


def _airway(chest: Chest) -> FloatMap:
    """Length in the gas of trachea, main bronchi and first part of the lobar bronchi, mm."""
    frame = chest.projection
    # Trachea (three), then the branches to the right (two) and to the left (two).
    x = [frame.x(value, -15) for value in (2.0, 1.0, -3.0, -28.0, -40.0, 30.0, 46.0)]
    trachea = path_segments(np.array([[x[0], -150.0], [x[1], -60.0], [x[2], 0.0]]), 9.5)
    right = path_segments(
        np.array([[x[2], -2.0], [x[3], 22.0], [x[4], 42.0]]), np.array([7.0, 6.0, 3.5])
    )
    left = path_segments(
        np.array([[x[2], -2.0], [x[5], 26.0], [x[6], 42.0]]), np.array([6.0, 5.2, 3.2])
    )

    return project_tubes(chest.grid, np.concatenate([trachea, right, left]))


def _gut_gas(chest: Chest, rng: np.random.Generator) -> FloatMap:
    """Length in gas, mm: the stomach bubble under the left dome, at times bubbles of the colon."""
    grid = chest.grid
    top = chest.domes()[1]
    a, b = rng.uniform(18, 36), rng.uniform(12, 24)
    x, y = 0.45 * chest.body.half_width + rng.uniform(-14, 10), top + 11 + b
    bubble = project_ellipsoid(grid, x, y, a, b, rng.uniform(14, 30)) * ramp(
        y + 0.5 * b - grid.y, 4
    )

    for _ in range(int(rng.integers(0, 4))):
        px, py = rng.uniform(0.3, 0.85) * chest.body.half_width, top + rng.uniform(45, 90)
        bubble = np.maximum(
            bubble, project_ellipsoid(grid, px, py, rng.uniform(8, 18), rng.uniform(8, 14), 12)
        )

    return bubble
