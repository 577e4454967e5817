"""Geometry of one body before the detector: position and magnification of lungs and heart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from place_cxr.phantom.grid import FloatMap, Grid, half_ellipse
from place_cxr.phantom.scene import Body

# Distance from source to the middle of the patient, mm: 1.8 m to the film for PA, about 1 m at the
# bedside for AP.
SOURCE_DISTANCE = {"PA": 1650.0, "AP": 900.0}
HEART_DEPTH, SPINE_DEPTH, CLAVICLE_DEPTH = 26.0, -72.0, 60.0


@dataclass(frozen=True, slots=True)
class Projection:
    """From a point of the patient to the detector: rotation and magnification."""

    view: str
    rotation: float

    def scale(self, z: float) -> float:
        """Magnification at depth ``z`` (mm), relative to the middle of the patient."""
        distance = SOURCE_DISTANCE[self.view]
        return distance / (distance + z if self.view == "PA" else distance - z)

    def shift(self, z: float) -> float:
        """Sideways displacement by the patient's rotation, mm."""
        return z * math.sin(math.radians(self.rotation))

    def x(self, x: float, z: float) -> float:
        """Position on the detector of ``x`` at depth ``z``, mm."""
        return (x + self.shift(z)) * self.scale(z)


@dataclass(frozen=True, slots=True)
class Chest:
    """Geometry of the body on the detector, in mm, for the anatomy and the findings in it."""

    grid: Grid
    body: Body
    projection: Projection

    @property
    def middle(self) -> float:
        """x of the midline at the middle of the chest's depth."""
        return 0.0

    @property
    def base(self) -> float:
        """y of the lowest recess of the lungs."""
        return self.body.dome + 78.0

    def lateral(self, y: FloatMap) -> FloatMap:
        """Distance of the lungs' outer border from the midline at height ``y``, mm.

        0.36 of the half width at the apex, all of it from 72 % of the height downwards.
        """
        s = np.clip(
            (y + np.float32(self.body.apex)) / np.float32((self.base + self.body.apex) * 0.72), 0, 1
        )
        return np.float32(self.body.half_width) * (
            0.36 + 0.64 * half_ellipse(1 - s) ** np.float32(0.9)
        )

    def medial(self, y: FloatMap) -> FloatMap:
        """Distance of the lungs' inner border from the midline at height ``y``, mm.

        The mediastinum covers it.
        """
        s = np.clip((y + np.float32(self.body.apex)) / 50, 0, 1)
        return np.float32(self.body.half_width) * (0.36 - 0.32 * half_ellipse(1 - s))

    def depth(self, y: FloatMap) -> FloatMap:
        """Half the depth of the lungs at height ``y``, mm; 0 at the apex and the lowest recess."""
        s = np.clip(
            (y + np.float32(self.body.apex)) / np.float32((self.base + self.body.apex) * 0.6), 0, 1
        )
        low = np.clip((y - np.float32(self.base - 50)) / 50, 0, 1)
        return np.float32(self.body.half_depth) * half_ellipse(1 - s) * half_ellipse(low)

    def domes(self) -> tuple[float, float]:
        """Top of the right and of the left hemidiaphragm."""
        return self.body.dome, self.body.dome + self.body.left_dome

    def heart_ellipses(self) -> tuple[tuple[float, float, float, float, float, float], ...]:
        """x, y, semi-axes a, b, c (mm) and turn (degrees): ventricles, then right atrium."""
        h, m = self.body.heart, self.projection.scale(HEART_DEPTH)
        shift = self.projection.shift(HEART_DEPTH)
        diaphragm = self.body.dome + 0.5 * self.body.left_dome + 15

        # A large heart lies flatter.
        degrees = min(max(38.0 - 32.0 * (h - 1), 24.0), 44.0)
        turn, tall = math.radians(degrees), h**0.7

        # Half the height of the turned ellipse: the heart rests on the diaphragm.
        low = math.hypot(70 * h * math.sin(turn), 47 * tall * math.cos(turn)) * m

        return (
            (
                (24 * h + shift) * m,
                diaphragm - low,
                70 * h * m,
                47 * tall * m,
                66 * min(h, 1.1),
                degrees,
            ),
            (
                (-12 * h + shift) * m,
                diaphragm - 8 - 50 * tall * m,
                29 * h * m,
                50 * tall * m,
                60 * min(h, 1.1),
                0.0,
            ),
        )


def heart_width(chest: Chest) -> float:
    """Widest extent of the heart to the right plus that to the left, mm on the detector."""
    left, right = [], []

    # Half the width of a turned ellipse.
    for x, _, a, b, _, degrees in chest.heart_ellipses():
        reach = math.hypot(a * math.cos(math.radians(degrees)), b * math.sin(math.radians(degrees)))
        left.append(x + reach)
        right.append(x - reach)

    return max(left) - min(right)


def cardiothoracic_ratio(body: Body, view: str) -> float:
    """Heart width over the inner width of the chest, as measured on the film."""
    chest = Chest(Grid(1, body.fov, 0, 0), body, Projection(view, body.rotation))
    return heart_width(chest) / (2 * body.half_width)
