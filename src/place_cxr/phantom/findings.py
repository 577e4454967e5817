"""Findings: each changes the maps of a chest and returns the pixels that it occupies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from place_cxr.phantom import devices
from place_cxr.phantom.anatomy import Anatomy
from place_cxr.phantom.bones import rib_bone, rib_curve
from place_cxr.phantom.grid import (
    BoolMap,
    FloatMap,
    ellipse_distance,
    mean_chord,
    path_segments,
    project_ellipsoid,
    project_tubes,
    ramp,
)
from place_cxr.phantom.scene import Finding, Scene

# Row of the tables of sizes below, one row for each of three grades.
SEVERITY_LEVELS = {"small": 0, "mild": 0, "moderate": 1, "large": 2, "severe": 2, "": 0}
Painter = Callable[[Anatomy, Finding, np.random.Generator], BoolMap]


def paint_findings(anatomy: Anatomy, scene: Scene) -> tuple[BoolMap, ...]:
    """Put every finding of ``scene`` into ``anatomy``; returns the pixels [size, size] of each."""
    masks = []
    for finding, key in zip(scene.findings, scene.keys, strict=True):
        rng = np.random.Generator(np.random.Philox(key=key))
        both = finding.side == "bilateral" and finding.name in _ONE_SIDED
        sides = ("left", "right") if both else (finding.side,)
        parts = [
            PAINTERS[finding.name](anatomy, replace(finding, side=side), rng) for side in sides
        ]
        masks.append(np.logical_or.reduce(parts))

    return tuple(masks)


@lru_cache(maxsize=8)
def _cloud_field(size: int) -> FloatMap:
    """A tileable random field [size, size] of mean 0 and deviation 1.

    Its amplitudes fall as 1 / frequency^1.6, which gives clouds of all sizes.
    """
    rng = np.random.Generator(np.random.Philox(key=11))

    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]) * size
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(frequency, 1.5) ** 1.6
    field = np.fft.irfft2(spectrum, (size, size))
    return ((field - field.mean()) / field.std()).astype(np.float32)


def random_cloud(size: int, rng: np.random.Generator) -> FloatMap:
    """The field of ``_cloud_field``, shifted by chance: much cheaper than a new one."""
    down, across = rng.random(2)
    return np.roll(_cloud_field(size), (int(down * size), int(across * size)), (0, 1))


def _sign(finding: Finding) -> int:
    return 1 if finding.side == "left" else -1


def _side_mask(anatomy: Anatomy, finding: Finding) -> BoolMap:
    return anatomy.left if finding.side == "left" else ~anatomy.left


def lung_point(
    anatomy: Anatomy, finding: Finding, across: float, down: float
) -> tuple[float, float]:
    """A point (x, y), mm, in the finding's zone.

    ``across`` runs from 0 at the mediastinum to 1 at the ribs, ``down`` from 0 to 1 in the zone.
    """
    body, shape = anatomy.shape.body, anatomy.shape
    top, bottom = -body.apex + 18, shape.domes()[_sign(finding) > 0] + 6
    zone = {"upper": 0, "mid": 1, "lower": 2}.get(finding.zone, 1)
    y = top + (bottom - top) * (zone + down) / 3

    # 44 mm from the midline at least: the mediastinum hides what is nearer.
    level = np.array([y], np.float32)
    low = max(float(shape.medial(level)[0]), 44.0)
    return _sign(finding) * (low + across * (float(shape.lateral(level)[0]) - low)), y


def _fill(anatomy: Anatomy, fraction: FloatMap, density: float = 1.0) -> None:
    """Replace ``fraction`` (0 to 1) of the air in the lungs by tissue of ``density``."""
    anatomy.tissue += fraction * np.maximum(density - anatomy.tissue, 0)


def pleural_effusion(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """Fluid that blunts the costophrenic angle and climbs along the chest wall: the meniscus."""
    shape, grid = anatomy.shape, anatomy.shape.grid
    top = shape.domes()[_sign(finding) > 0]
    low, high = ((-40, -10), (0, 34), (48, 105))[SEVERITY_LEVELS[finding.severity]]

    # The surface of the fluid: level in the middle, higher at the chest wall.
    level = top - (low + (high - low) * rng.random())
    rise = rng.uniform(18, 34)
    outer, inner = shape.lateral(grid.y), shape.medial(grid.y)
    toward = np.clip((np.abs(grid.x) - inner) / np.maximum(outer - inner, 1), 0, 1)
    surface = level - np.float32(rise) * toward**3 - 6 * (1 - toward) ** 2

    fraction = ramp(grid.y - surface, 16) * _side_mask(anatomy, finding)
    _fill(anatomy, fraction * np.float32(0.82 + 0.18 * finding.conspicuity))
    return (fraction > 0.5) & (anatomy.lung > 2)


def pneumothorax(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """Air between chest wall and lung: a thin pleural line, and air without vessels beyond it."""
    shape, grid = anatomy.shape, anatomy.shape.grid
    low, high = ((9, 17), (20, 36), (42, 75))[SEVERITY_LEVELS[finding.severity]]
    inset = np.float32(low + (high - low) * rng.random())

    # Distance beyond the edge of the lung, mm, which has moved inwards and down from the apex.
    edge = shape.lateral(grid.y - 1.2 * inset) - np.float32(rng.uniform(0.3, 0.6)) * inset
    beyond = np.maximum(np.abs(grid.x) - edge, np.float32(1.2 * inset - shape.body.apex) - grid.y)

    # The lung that remains is a little denser, the more it has collapsed.
    side = _side_mask(anatomy, finding)
    inside = ramp(beyond, 2 * grid.step) * side
    anatomy.tissue *= 1 - inside * np.float32(0.95)
    anatomy.vessel *= 1 - inside
    _fill(anatomy, (1 - inside) * side * np.float32(0.02 + 0.0022 * float(inset)))

    line = mean_chord(np.abs(beyond), np.full_like(beyond, 0.9), grid.step) * np.float32(
        5 + 5 * finding.conspicuity
    )
    anatomy.soft += line * side * ramp(anatomy.lung - 8, 10)

    return (inside > 0.5) & (anatomy.lung > 4)


def consolidation(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """A patch of filled lung with a ragged edge, through which air-filled bronchi may show."""
    grid = anatomy.shape.grid
    x, y = lung_point(anatomy, finding, rng.uniform(0.2, 0.75), rng.uniform(0.2, 0.8))
    radius = (24, 38, 54)[SEVERITY_LEVELS[finding.severity]] * rng.uniform(0.85, 1.2)

    # An ellipse with an edge made ragged by the cloud.
    distance = ellipse_distance(
        grid, x, y, radius * rng.uniform(0.8, 1.25), radius, rng.uniform(0, 180)
    )
    fraction = ramp(
        0.85 - distance + 0.2 * random_cloud(grid.size, rng), rng.uniform(0.7, 1.3)
    ) * _side_mask(anatomy, finding)
    fraction *= distance < 1.7
    _fill(anatomy, fraction * np.float32(0.12 + 0.58 * finding.conspicuity))

    # Air bronchograms in large ones: four branches from the direction of the hilum.
    if radius > 32:
        start = np.array([0.35 * x, y - 0.3 * radius])
        ends = np.array([x, y]) + radius * rng.uniform(-0.6, 0.6, (4, 2))
        radii = np.array([2.6, 1.6])
        branches = [np.stack([start + 0.5 * (end - start), end]) for end in ends]
        bronchi = np.concatenate([path_segments(branch, radii) for branch in branches])
        anatomy.soft -= project_tubes(grid, bronchi) * fraction * np.float32(1.3)

    return (fraction > 0.4) & (anatomy.lung > 8)


def atelectasis(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """Lung without air: flat bands above the diaphragm, and when severe a wedge at the base.

    The body of a severe one was built with a raised dome.
    """
    shape, grid = anatomy.shape, anatomy.shape.grid
    side, sign = _side_mask(anatomy, finding), _sign(finding)
    level = SEVERITY_LEVELS[finding.severity]
    top = shape.domes()[sign > 0]
    mask = np.zeros(anatomy.lung.shape, np.bool_)

    # The wedge.
    if level == 2:
        far = rng.uniform(0.5, 0.75) * shape.body.half_width
        slope = rng.uniform(70, 100)
        surface = top - np.float32(slope) * (1 - np.abs(grid.x) / np.float32(far))
        fraction = ramp(grid.y - surface, 12) * ramp(far - np.abs(grid.x), 12) * side
        _fill(anatomy, fraction * np.float32(0.35 + 0.5 * finding.conspicuity))
        mask = (fraction > 0.4) & (anatomy.lung > 4)

    # The bands: bent lines, thickest in the middle.
    for _ in range(1 + level):
        x, y = lung_point(anatomy, finding, rng.uniform(0.3, 0.6), rng.uniform(0.35, 0.85))
        long, turn = rng.uniform(22, 40), math.radians(rng.uniform(-18, 18))
        across = np.array([[-1, 0.0], [0, rng.uniform(-0.12, 0.12)], [1, 0.0]]) * long
        cos, sin = math.cos(turn), math.sin(turn)
        points = across @ np.array([[cos, sin], [-sin, cos]]) + [x, y]
        thick = rng.uniform(1.6, 3.2)

        band = (
            project_tubes(grid, path_segments(points, np.array([0.6 * thick, thick, 0.5 * thick])))
            * side
            * ramp(anatomy.lung - 10, 10)
        )
        anatomy.soft += band * np.float32(2.5 + 6 * finding.conspicuity)
        mask |= band > 0.4 * thick

    return mask


def edema(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """Fluid around the hila and at the bases, wide vessels, septal lines at the lungs' border."""
    shape, grid = anatomy.shape, anatomy.shape.grid
    level = SEVERITY_LEVELS[finding.severity]
    amount = (0.16, 0.30, 0.46)[level] * (0.65 + 0.5 * finding.conspicuity)

    # Two clouds around the hila, and a gradient to the bases.
    x = np.abs(grid.x)
    spread = 46 + 8 * level
    fraction = np.exp(-(((x - 44) / spread) ** 2) - ((grid.y - 48) / (spread * 1.25)) ** 2)
    fraction = fraction + 0.3 * ramp(grid.y - 60, 120)
    fraction *= 1 + 0.35 * random_cloud(grid.size, rng)
    fraction = np.clip(fraction, 0, 1.3)
    _fill(anatomy, (fraction * np.float32(amount)).astype(np.float32))
    anatomy.vessel *= np.float32(1.25 + 0.2 * level)

    # Kerley B lines: short, horizontal, at the lower border.
    lines = []
    for sign in (-1, 1):
        for y in rng.uniform(60, 125, 4 + 3 * level):
            edge = float(shape.lateral(np.array([y], np.float32))[0]) - rng.uniform(1, 6)
            lines.append(
                [
                    sign * edge,
                    y,
                    0.6,
                    sign * (edge - rng.uniform(12, 20)),
                    y + rng.uniform(-3, 3),
                    0.6,
                ]
            )
    anatomy.soft += project_tubes(grid, np.array(lines)) * np.float32(8) * ramp(anatomy.lung - 5, 8)

    return (fraction > 0.4) & (anatomy.lung > 25)


def cardiomegaly(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """The heart itself: the body was built with a large one."""
    return anatomy.heart.copy()


def nodule(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """A ball of soft tissue, at times lobulated or spiculated."""
    grid = anatomy.shape.grid
    x, y = lung_point(anatomy, finding, rng.uniform(0.12, 0.85), rng.uniform(0.1, 0.9))
    radius = (finding.size_mm or 10.0) / 2
    a, b = radius * rng.uniform(0.9, 1.0), radius * rng.uniform(0.85, 1.0)
    turn = rng.uniform(0, 180)
    ball = project_ellipsoid(grid, x, y, a, b, radius, turn)

    # A ball smaller than the pixels falls between their centers; a tube keeps its area.
    if radius < grid.step:
        dot = np.array([[x - 0.3, y, radius, x + 0.3, y, radius]])
        ball = np.maximum(ball, project_tubes(grid, dot))

    density = np.float32(0.75 + 0.75 * finding.conspicuity)
    added = np.minimum(ball * density, anatomy.lung * (1 - anatomy.tissue) + 4)

    # Spicules.
    if rng.random() < 0.4 and radius > 6:
        angles = rng.uniform(0, 2 * math.pi, 9)
        tips = np.stack([np.cos(angles), np.sin(angles)], 1) * radius * rng.uniform(
            1.25, 1.7, (9, 1)
        ) + [x, y]
        rays = [path_segments(np.array([[x, y], tip]), np.array([1.6, 0.5])) for tip in tips]
        added = np.maximum(added, project_tubes(grid, np.concatenate(rays)) * 2)
    anatomy.soft += added

    return (
        ellipse_distance(grid, x, y, max(a, 0.75 * grid.step), max(b, 0.75 * grid.step), turn) < 1
    )


def emphysema(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """Destroyed lung: dark, with few vessels, and bullae in the upper zones.

    The body was built with large lungs and flat domes.
    """
    grid, body = anatomy.shape.grid, anatomy.shape.body
    level = SEVERITY_LEVELS[finding.severity]
    loss = np.float32((0.16, 0.40, 0.66)[level] * (0.6 + 0.4 * finding.conspicuity))

    # Strongest in the upper zones.
    extent = (
        np.float32(1)
        - np.float32(0.55) * ramp(grid.y - 60, 140)
        + 0.15 * random_cloud(grid.size, rng)
    )
    extent = np.clip(extent, 0, 1)
    anatomy.tissue *= 1 - loss * extent
    anatomy.vessel *= 1 - loss * extent

    # Bullae: holes with a thin wall.
    for _ in range((0, 2, 5)[level]):
        sign = rng.choice((-1, 1))
        bulla = Finding("Emphysema", "left" if sign > 0 else "right", "upper", "")
        x, y = lung_point(anatomy, bulla, rng.uniform(0.35, 0.9), rng.uniform(0.1, 0.9))
        a, b = rng.uniform(9, 22), rng.uniform(10, 26)
        r = ellipse_distance(grid, x, y, a, b)

        hole = ramp(1 - r, 0.15)
        anatomy.tissue *= 1 - 0.8 * hole
        anatomy.vessel *= 1 - hole
        wall = mean_chord(np.abs(r - 1) * np.float32(min(a, b)), np.full_like(r, 0.6), grid.step)
        anatomy.soft += wall * 6 * ramp(anatomy.lung - 10, 10)

    return (anatomy.lung > 25) & (grid.y < body.dome + 10)


def rib_fracture(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> BoolMap:
    """A broken rib whose outer part has slipped; ``detail`` names the rib."""
    shape, grid = anatomy.shape, anatomy.shape.grid
    number, sign = int("".join(c for c in finding.detail if c.isdigit()) or 6), _sign(finding)

    # The part of the rib behind the break is taken out, and drawn again with a step at the break.
    angle, turn = rng.uniform(0.26, 0.45) * math.pi, 0.45
    intact = rib_curve(shape, number, sign, np.linspace(angle - 0.05, angle + turn, 10))
    removed = rib_bone(grid, intact[None], shape.body.rib * 1.05)
    slip = (5.0 + 6.0 * finding.conspicuity) * rng.choice((-1, 1))
    fade = np.linspace(1, 0, 9)[:, None] ** 0.7
    slipped = rib_curve(shape, number, sign, np.linspace(angle + 0.04, angle + turn, 9))
    slipped = slipped + fade * np.array([-sign * 3.0, slip])
    anatomy.bone = np.maximum(anatomy.bone - removed, 0)
    anatomy.bone += rib_bone(grid, slipped[None], shape.body.rib)

    x, y = rib_curve(shape, number, sign, np.array([angle + 0.05]))[0]
    return ellipse_distance(grid, x, y + slip / 3, 14, 13) < 1


PAINTERS: dict[str, Painter] = {
    "Pleural Effusion": pleural_effusion,
    "Pneumothorax": pneumothorax,
    "Consolidation": consolidation,
    "Atelectasis": atelectasis,
    "Edema": edema,
    "Cardiomegaly": cardiomegaly,
    "Nodule": nodule,
    "Emphysema": emphysema,
    "Rib Fracture": rib_fracture,
    "Pacemaker": devices.pacemaker,
    "Central Line": devices.central_line,
    "Endotracheal Tube": devices.endotracheal_tube,
    "Foreign Object": devices.foreign_object,
}
_ONE_SIDED = ("Pleural Effusion", "Pneumothorax", "Consolidation", "Atelectasis")
