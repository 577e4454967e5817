"""Devices and foreign objects: thin dense shapes.

Their contrast falls with the pixel size, as on a detector. A mask is where a device is thicker than
a threshold, which is lower for large pixels.
"""

from __future__ import annotations

import math

import numpy as np

from place_cxr.phantom.anatomy import Anatomy
from place_cxr.phantom.grid import (
    BoolMap,
    ellipse_distance,
    mean_chord,
    path_segments,
    project_tubes,
    ramp,
    smooth_curve,
)
from place_cxr.phantom.scene import Finding

FOREIGN_OBJECTS = ("coin", "electrode", "surgical clips", "bullet fragment", "necklace")
# Tip of a central line -> its x, y, mm.
LINE_TIPS = {
    "in the superior vena cava": (-15.0, 18.0),
    "at the cavoatrial junction": (-17.0, 44.0),
    "in the right atrium": (-16.0, 72.0),
}
# Tip of an endotracheal tube -> its y, mm.
TUBE_TIPS = {
    "above the carina": -42.0,
    "at the carina": -6.0,
    "in the right main bronchus": 26.0,
}


def _sign(finding: Finding) -> int:
    return 1 if finding.side == "left" else -1


def pacemaker(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """A metal case below the collar bone; one or two leads through the great veins to the heart."""
    shape, grid = anatomy.shape, anatomy.shape.grid
    sign = _sign(finding)

    # Case: a turned rectangle with round corners; the battery in it is denser.
    x = sign * (0.66 * shape.body.half_width + rng.uniform(-8, 8))
    y = -shape.body.apex + 62 + rng.uniform(-10, 12)
    turn = math.radians(rng.uniform(-25, 25))
    half_x, half_y = rng.uniform(21, 25), rng.uniform(17, 21)
    px, py = grid.x - np.float32(x), grid.y - np.float32(y)
    u = np.abs(px * np.float32(math.cos(turn)) + py * np.float32(math.sin(turn)))
    v = np.abs(py * np.float32(math.cos(turn)) - px * np.float32(math.sin(turn)))
    corner = 9.0
    outside = (
        np.hypot(np.maximum(u - (half_x - corner), 0), np.maximum(v - (half_y - corner), 0))
        - corner
    )
    case = ramp(-outside, max(grid.step, 1.0))
    anatomy.metal += case * np.float32(5.0) + case * ramp(8 - np.hypot(u - 6, v), 4) * np.float32(3)

    # Leads: to the right ventricle, and often to the right atrium.
    heart = shape.heart_ellipses()[0]
    tips = [(heart[0] + 0.35 * heart[2], heart[1] + 0.62 * heart[2])]
    if rng.random() < 0.6:
        tips.append((-28.0, 62.0))
    mask = case > 0.5
    for k, (tx, ty) in enumerate(tips):
        points = np.array(
            [
                [x, y - 8 + 6 * k],
                [x - sign * 20, y - 34],
                [sign * 44, y - 32 - 3 * k],
                [sign * 14 - 6, y - 4],
                [-17, y + 36],
                [-20 - 4 * k, 52],
                [0.4 * tx - 12, min(ty - 2, 88)],
                [tx, ty],
            ]
        )
        lead = project_tubes(grid, path_segments(smooth_curve(points, 36), 1.2))
        anatomy.metal += lead * np.float32(0.8)
        mask |= lead > 0.35 * min(1.0, 2.4 / grid.step)

    return mask


def central_line(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """A catheter from the neck, the collar bone or the arm; ``detail`` names its tip."""
    shape, grid = anatomy.shape, anatomy.shape.grid
    sign, apex = _sign(finding), -shape.body.apex
    tip = np.array(LINE_TIPS[finding.detail]) + rng.uniform(-3, 3, 2)
    route = rng.random()

    # Jugular, subclavian, or from the arm; then all run down the superior vena cava.
    if route < 0.5:
        start = [
            [sign * (50 + 14 * rng.random()), apex - 55],
            [sign * 36, apex - 15],
            [sign * 24, apex + 28],
        ]
    else:
        out = 0.9 if route < 0.75 else 1.3
        start = [
            [sign * out * shape.body.half_width, apex + (58 if route < 0.75 else 74)],
            [sign * 0.62 * shape.body.half_width, apex + 36],
            [sign * 40, apex + 30],
        ]

    bend = [[sign * 8 - 6, apex + 56], [-16.0, min(apex + 90, tip[1] - 12)]]
    tube = project_tubes(
        grid, path_segments(smooth_curve(np.array([*start, *bend, tip]), 30), 1.15)
    )
    anatomy.metal += tube * np.float32(0.3 + 0.8 * finding.conspicuity)

    return tube > 0.35 * min(1.0, 2.3 / grid.step)


def endotracheal_tube(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """A tube in the trachea with a dense stripe; ``detail`` names its tip."""
    shape, grid = anatomy.shape, anatomy.shape.grid
    end = TUBE_TIPS[finding.detail] + rng.uniform(-12, 8) * (finding.detail == "above the carina")
    start = grid.top - 5
    x = shape.projection.x(0, -15)
    points = [[x + rng.uniform(-4, 4), start], [x + 1, -80.0], [x - 1, min(end, -18.0)]]
    if end > -18:
        points.append([x - 3, min(end, 2.0)])
    if end > 2:
        points.append([x - 26, end])

    # A hollow tube, 10.4 mm wide outside and 7.4 mm inside.
    curve = smooth_curve(np.array(points), 20)
    outer = project_tubes(grid, path_segments(curve, 5.2))
    inner = project_tubes(grid, path_segments(curve, 3.7))
    stripe = project_tubes(grid, path_segments(curve + [2.6, 0.0], 0.8))
    anatomy.metal += (outer - inner) * np.float32(0.06) + stripe * np.float32(
        0.35 + 0.9 * finding.conspicuity
    )

    return outer > 2.0


def foreign_object(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """Metal on or in the patient; ``detail`` is its kind."""
    shape, grid = anatomy.shape, anatomy.shape.grid
    body, sign = shape.body, _sign(finding)
    strength = np.float32(0.4 + 0.9 * finding.conspicuity)

    # Every kind draws the position, so that the draws after it do not depend on the kind.
    y = {"upper": -body.apex + 30, "mid": 20.0, "lower": 85.0}.get(
        finding.zone, 10.0
    ) + rng.uniform(-14, 14)
    x = sign * rng.uniform(0.35, 0.8) * body.half_width
    mask = np.zeros(anatomy.lung.shape, np.bool_)

    if finding.detail == "coin":
        disc = ramp(1 - ellipse_distance(grid, rng.uniform(-4, 4), y, 11.5, 11.5), grid.step / 11.5)
        anatomy.metal += disc * np.float32(6.0) * strength
        mask = disc > 0.5
    elif finding.detail == "electrode":
        r = ellipse_distance(grid, x, y, 5.5, 5.5)
        disc = ramp(1 - r, grid.step / 5.5)
        wire = np.array(
            [
                [x, y],
                [x + sign * 12, y - 30],
                [x + sign * 40, y - 60],
                [sign * 1.35 * body.half_width, y - 45],
            ]
        )
        cable = project_tubes(grid, path_segments(smooth_curve(wire, 20), 0.9))
        anatomy.metal += (disc * 1.6 + cable * 0.5) * strength
        mask = (disc > 0.5) | (cable > 0.35 * min(1.0, 1.8 / grid.step))
    elif finding.detail == "surgical clips":
        parts = []
        for _ in range(int(rng.integers(3, 7))):
            cx, cy, turn = x + rng.normal(0, 12), y + rng.normal(0, 12), rng.uniform(0, math.pi)
            dx, dy = 4.5 * math.cos(turn), 4.5 * math.sin(turn)
            parts.append([cx - dx, cy - dy, 1.0, cx + dx, cy + dy, 1.0])
        clips = project_tubes(grid, np.array(parts))
        anatomy.metal += clips * 1.6 * strength
        mask = clips > 0.3
    elif finding.detail == "bullet fragment":
        r = ellipse_distance(
            grid, x, y, rng.uniform(4.5, 8), rng.uniform(3.5, 5), rng.uniform(0, 180)
        )
        lump = ramp(1 - r, grid.step / 5)
        anatomy.metal += lump * 4 * strength
        mask = lump > 0.4
    else:  # necklace
        drop, wide = rng.uniform(20, 60), rng.uniform(45, 65)
        t = np.linspace(-1, 1, 31)
        chain = np.stack(
            [wide * t, -body.apex - 25 + (25 + drop) * np.sqrt(np.maximum(1 - t * t, 0))], 1
        )
        links = project_tubes(grid, path_segments(chain, 1.0))
        anatomy.metal += links * 1.1 * strength
        pendant = ellipse_distance(grid, 0, -body.apex + drop + 5, 4, 6)
        ring = mean_chord(np.abs(pendant - 1) * 5, np.full_like(pendant, 1.2), grid.step)
        anatomy.metal += ring * strength
        mask = (links > 0.3) | (pendant < 1.2)

    return mask & (anatomy.body > 0)
