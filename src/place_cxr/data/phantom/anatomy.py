"""The normal chest as analytic solids, projected to maps of lengths along the rays.

Rays run parallel to z; perspective is kept as a magnification for each solid's depth, which is what enlarges the heart
on an AP film. Lungs are what the mediastinum, the heart and the diaphragm leave of the chest cavity: for each ray the
intervals of z inside the solids are intersected exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from place_cxr.data.phantom.grid import Grid, Map, Mask, ellipse_distance, ellipsoid, half_ellipse, path, ramp, tubes
from place_cxr.data.phantom.scene import Body

# Distance from source to the middle of the patient, mm: 1.8 m to the film for PA, about 1 m at the bedside for AP.
SOURCE_DISTANCE = {"PA": 1650.0, "AP": 900.0}
HEART_DEPTH, SPINE_DEPTH, CLAVICLE_DEPTH = 26.0, -72.0, 60.0


@dataclass(frozen=True, slots=True)
class Frame:
    """How a point of the patient comes to lie on the detector: rotation and magnification."""

    view: str
    rotation: float

    def scale(self, z: float) -> float:
        """Magnification of what lies at depth ``z``, relative to the middle of the patient."""
        distance = SOURCE_DISTANCE[self.view]
        return distance / (distance + z if self.view == "PA" else distance - z)

    def shift(self, z: float) -> float:
        """Sideways displacement by the patient's rotation, mm."""
        return z * math.sin(math.radians(self.rotation))

    def x(self, x: float, z: float) -> float:
        """Where ``x`` at depth ``z`` comes to lie, mm."""
        return (x + self.shift(z)) * self.scale(z)


@dataclass(slots=True)
class Anatomy:
    """Maps [size, size] in mm unless said, which findings may change before the exposure.

    ``lung`` is the length in the lungs, ``tissue`` the part of it that is not air (0 to 1), ``soft`` added soft tissue
    (negative: gas), ``bone`` and ``metal`` lengths of those, ``vessel`` the length in vessels.
    ``left`` is true on the image side of the patient's left lung.
    """

    body: Map
    lung: Map
    tissue: Map
    vessel: Map
    soft: Map
    bone: Map
    metal: Map
    heart: Mask
    left: Mask
    shape: Chest


@dataclass(frozen=True, slots=True)
class Chest:
    """The body's geometry on the detector, in mm, shared by the anatomy and what is placed in it."""

    grid: Grid
    body: Body
    frame: Frame

    @property
    def middle(self) -> float:
        """x of the midline at the middle of the chest's depth."""
        return 0.0

    @property
    def base(self) -> float:
        """y of the lowest recess of the lungs."""
        return self.body.dome + 78.0

    def lateral(self, y: Map) -> Map:
        """Distance of the lungs' outer border from the midline at height ``y``; 0.36 of the width at the apex."""
        s = np.clip((y + np.float32(self.body.apex)) / np.float32((self.base + self.body.apex) * 0.72), 0, 1)
        return np.float32(self.body.half_width) * (0.36 + 0.64 * half_ellipse(1 - s) ** np.float32(0.9))

    def medial(self, y: Map) -> Map:
        """Distance of the lungs' inner border from the midline at height ``y`` (the mediastinum covers it)."""
        s = np.clip((y + np.float32(self.body.apex)) / 50, 0, 1)
        return np.float32(self.body.half_width) * (0.36 - 0.32 * half_ellipse(1 - s))

    def depth(self, y: Map) -> Map:
        """Half the depth of the lungs at height ``y``: closes at the apex and in the lowest recess."""
        s = np.clip((y + np.float32(self.body.apex)) / np.float32((self.base + self.body.apex) * 0.6), 0, 1)
        low = np.clip((y - np.float32(self.base - 50)) / 50, 0, 1)
        return np.float32(self.body.half_depth) * half_ellipse(1 - s) * half_ellipse(low)

    def domes(self) -> tuple[float, float]:
        """Top of the right and of the left hemidiaphragm."""
        return self.body.dome, self.body.dome + self.body.left_dome

    def heart_ellipses(self) -> tuple[tuple[float, float, float, float, float, float], ...]:
        """x, y, semi-axes a, b, c and turn in degrees of the ventricles and of the right atrium."""
        h, m = self.body.heart, self.frame.scale(HEART_DEPTH)
        shift, bed = self.frame.shift(HEART_DEPTH), self.body.dome + 0.5 * self.body.left_dome + 15
        degrees = min(max(38.0 - 32.0 * (h - 1), 24.0), 44.0)  # a large heart lies flatter
        turn, tall = math.radians(degrees), h**0.7
        low = math.hypot(70 * h * math.sin(turn), 47 * tall * math.cos(turn)) * m  # it rests on the diaphragm
        return (
            ((24 * h + shift) * m, bed - low, 70 * h * m, 47 * tall * m, 66 * min(h, 1.1), degrees),
            ((-12 * h + shift) * m, bed - 8 - 50 * tall * m, 29 * h * m, 50 * tall * m, 60 * min(h, 1.1), 0.0),
        )


def heart_width(chest: Chest) -> float:
    """Widest extent of the heart to the right plus that to the left, mm on the detector."""
    left, right = [], []
    for x, _, a, b, _, degrees in chest.heart_ellipses():
        reach = math.hypot(a * math.cos(math.radians(degrees)), b * math.sin(math.radians(degrees)))
        left.append(x + reach)
        right.append(x - reach)
    return max(left) - min(right)


def cardiothoracic_ratio(body: Body, view: str) -> float:
    """Heart width over the inner width of the chest, as measured on the film."""
    chest = Chest(Grid(1, body.fov, 0, 0), body, Frame(view, body.rotation))
    return heart_width(chest) / (2 * body.half_width)


def build(grid: Grid, body: Body, view: str, sex: str) -> Anatomy:
    """Project the normal chest of ``body``."""
    chest = Chest(grid, body, Frame(view, body.rotation))
    rng = np.random.Generator(np.random.Philox(key=body.key))
    lung, heart = _lungs(chest)
    left = np.broadcast_to(grid.x > chest.middle, lung.shape)
    trunk, soft = _soft_tissue(chest, sex, rng)
    airway = _airway(chest)
    gut = _gut_gas(chest, rng)
    tissue = np.full_like(lung, 1 - body.air)
    vessel = _vessels(chest, rng) * np.minimum(lung * np.float32(1 / 60), 2)
    bone = _bones(chest, view, rng)
    return Anatomy(trunk, lung, tissue, vessel, soft - airway - gut, bone, grid.zeros(), heart, left, chest)


def _overlap(low_a: Map, high_a: Map, low_b: Map, high_b: Map) -> Map:
    return np.maximum(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0)


def _lungs(chest: Chest) -> tuple[Map, Mask]:
    """Length in the lungs [size, size] and the heart's outline."""
    grid, body, frame = chest.grid, chest.body, chest.frame
    x, y = grid.x, grid.y
    side = np.where(x > chest.middle, np.float32(1), np.float32(-1))
    across = np.abs(x - np.float32(chest.middle))
    outer, inner, deep = chest.lateral(y), chest.medial(y), chest.depth(y)
    u = np.abs((across - (outer + inner) / 2) / np.maximum((outer - inner) / 2, np.float32(0.1)))
    u *= u
    half = deep * np.sqrt(np.maximum(1 - u * np.sqrt(np.sqrt(u)), 0))
    middle_z = np.float32(-8)
    low, high = middle_z - half, middle_z + half

    # Diaphragm: a dome on an upright elliptic column, its top forward of the middle so that lung reaches down behind.
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
    core = np.float32(82) * half_ellipse((x - core_x) / core_width) ** np.float32(1.4)
    core_low, core_high = -core - 5, core - 5

    hull_low, hull_high = np.full_like(half, 1e3), np.full_like(half, -1e3)
    outline = np.zeros(half.shape, np.bool_)
    for hx, hy, a, b, c, degrees in chest.heart_ellipses():
        r = ellipse_distance(grid, hx, hy, a, b, degrees)
        chord = np.float32(c) * half_ellipse(r) ** np.float32(0.75)
        hit = r < 1
        outline |= hit
        hull_low = np.where(hit, np.minimum(hull_low, HEART_DEPTH - chord), hull_low)
        hull_high = np.where(hit, np.maximum(hull_high, HEART_DEPTH + chord), hull_high)
    for hx, hy, a, b, c, z, degrees in _great_vessels(chest):
        r = ellipse_distance(grid, hx, hy, a, b, degrees)
        chord = np.float32(c) * half_ellipse(r)
        hit = r < 1
        hull_low = np.where(hit, np.minimum(hull_low, z - chord), hull_low)
        hull_high = np.where(hit, np.maximum(hull_high, z + chord), hull_high)

    # |A or B or C| by inclusion and exclusion, each clipped to the chest.
    spans = [(np.maximum(a, low), np.minimum(b, high)) for a, b in
             ((dome_low, dome_high), (core_low, core_high), (hull_low, hull_high))]  # fmt: skip
    filled = sum(np.maximum(b - a, 0) for a, b in spans)
    filled = filled - sum(_overlap(*spans[i], *spans[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    three_low = np.maximum(np.maximum(spans[0][0], spans[1][0]), spans[2][0])
    three_high = np.minimum(np.minimum(spans[0][1], spans[1][1]), spans[2][1])
    filled = filled + np.maximum(three_high - three_low, 0)
    return np.maximum(2 * half - filled, 0).astype(np.float32), outline


def _great_vessels(chest: Chest) -> tuple[tuple[float, float, float, float, float, float, float], ...]:
    """x, y, semi-axes a, b, c, depth, turn: aortic knob, pulmonary trunk, ascending aorta with the superior vena cava."""
    frame = chest.frame
    return (
        (frame.x(19, -15), -27, 19, 20, 34, -10, 0.0),
        (frame.x(18, 20), 14, 24, 34, 26, 20, -24.0),
        (frame.x(-14, 20), 4, 17, 66, 22, 20, -4.0),
    )


def _soft_tissue(chest: Chest, sex: str, rng: np.random.Generator) -> tuple[Map, Map]:
    """Thickness of the trunk with neck, shoulders and arms; and of what hangs before it (breasts, muscle folds)."""
    grid, body = chest.grid, chest.body
    x, y = grid.x, grid.y
    wall = body.half_width + 12 + body.fat
    width = wall * (1 + 0.06 * ramp(-y, 160)) + np.float32(0.05 * wall) * ramp(y - 140, 160)
    flank = np.abs(x / width)
    depth = body.half_depth + 8 + 0.7 * body.fat
    trunk = np.float32(2 * depth) * np.sqrt(np.maximum(1 - flank**3, 0))
    trunk *= 1 - np.float32(0.11) * np.exp(-((x / 42) ** 2))  # the grooves of breast bone and spine
    trunk *= ramp(y + np.float32(body.apex * 1.0), 130)
    pieces = [trunk]
    slope = rng.uniform(0.30, 0.48)
    neck = 47 + 0.5 * body.fat
    pieces.append(np.float32(105 + 1.5 * body.fat) * half_ellipse(x / np.float32(neck)) * ramp(-y - 40, 60))
    apex = -body.apex
    for sign in (-1, 1):
        segments = np.array(
            [
                [sign * 26, apex - 10, 34 + 0.3 * body.fat, sign * 165, apex + 35 + 165 * (slope - 0.35), 40 + 0.6 * body.fat],
                [sign * 165, apex + 40, 42 + 0.6 * body.fat, sign * 215, apex + 190, 42 + 0.6 * body.fat],
            ]
        )  # fmt: skip
        pieces.append(tubes(grid, segments) * np.float32(1.7))
    total = np.sqrt(np.sqrt(sum((piece * np.float32(0.01)) ** 4 for piece in pieces))) * np.float32(100)
    soft = grid.zeros()
    fold = rng.uniform(6, 14)
    for sign in (-1, 1):
        # Chest muscle: its lower border runs from the armpit down to the breast.
        soft += ellipsoid(grid, sign * 0.68 * body.half_width, apex + 62, 62, 40, fold, sign * -25)
    if body.breast > 0:
        size = body.breast
        drop = rng.uniform(70, 100)
        for sign in (-1, 1):
            bx = sign * (0.56 * body.half_width + rng.uniform(-3, 3))
            by = drop + rng.uniform(-4, 4) - body.fat * 0.2
            half_moon = ellipsoid(grid, bx, by, 52 * size, 50 * size, 17 * size)
            soft += half_moon * ramp(y - np.float32(by - 4 * size), 90 * size)
    return total.astype(np.float32), soft * (total > 1)


def _airway(chest: Chest) -> Map:
    """Gas in the trachea, the main bronchi and the beginning of the lobar bronchi."""
    frame = chest.frame
    x = [frame.x(value, -15) for value in (2.0, 1.0, -3.0, -28.0, -40.0, 30.0, 46.0)]
    trachea = path(np.array([[x[0], -150.0], [x[1], -60.0], [x[2], 0.0]]), 9.5)
    right = path(np.array([[x[2], -2.0], [x[3], 22.0], [x[4], 42.0]]), np.array([7.0, 6.0, 3.5]))
    left = path(np.array([[x[2], -2.0], [x[5], 26.0], [x[6], 42.0]]), np.array([6.0, 5.2, 3.2]))
    return tubes(chest.grid, np.concatenate([trachea, right, left]))


def _gut_gas(chest: Chest, rng: np.random.Generator) -> Map:
    """The stomach's bubble under the left dome, at times gas in the bend of the colon."""
    grid = chest.grid
    top = chest.domes()[1]
    a, b = rng.uniform(18, 36), rng.uniform(12, 24)
    x, y = 0.45 * chest.body.half_width + rng.uniform(-14, 10), top + 11 + b
    bubble = ellipsoid(grid, x, y, a, b, rng.uniform(14, 30)) * ramp(y + 0.5 * b - grid.y, 4)
    for _ in range(int(rng.integers(0, 4))):
        px, py = rng.uniform(0.3, 0.85) * chest.body.half_width, top + rng.uniform(45, 90)
        bubble = np.maximum(bubble, ellipsoid(grid, px, py, rng.uniform(8, 18), rng.uniform(8, 14), 12))
    return bubble


def hila(chest: Chest) -> tuple[tuple[float, float], tuple[float, float]]:
    """Right and left hilum; the left one stands higher."""
    frame = chest.frame
    return (frame.x(-38, 0), 32.0), (frame.x(40, 0), 20.0)


def _vessels(chest: Chest, rng: np.random.Generator) -> Map:
    """Two trees of vessels from the hila: generations of segments that fork and taper; and the descending aorta."""
    body = chest.body
    parts = []
    for sign, (hx, hy) in zip((-1, 1), hila(chest), strict=True):
        angle = np.radians(np.array([-82, -58, -32, -8, 14, 34, 52, 70, 88]) + rng.uniform(-7, 7, 9))
        apex, base, side = body.apex + hy, chest.domes()[sign > 0] - hy + 45, body.half_width - abs(hx)
        reach = 1 / np.hypot(np.cos(angle) / side, np.sin(angle) / np.where(angle < 0, apex, base))
        start = np.array([hx, hy]) + np.stack([-sign * 4 * np.cos(angle), 10 * np.sin(angle)], 1)
        radius = np.where(angle < 0, 4.0, 5.2) * rng.uniform(0.85, 1.15, 9)
        for share in (0.24, 0.22, 0.18, 0.16, 0.14, 0.12):
            bend = angle + rng.normal(0, 0.16, len(angle))
            end = start + _step(bend, sign, share * reach)
            parts.append(_segments(start, radius, end, radius * 0.86))
            fork = rng.uniform(0.18, 0.5, len(angle))
            angle = np.concatenate([bend + fork, bend - fork * rng.uniform(0.5, 1.2, len(angle))])
            start, reach = np.concatenate([end, end]), np.concatenate([reach, reach]) * rng.uniform(0.85, 1.1)
            radius = np.concatenate([radius, radius]) * rng.uniform(0.6, 0.84, 2 * len(radius))
            keep = radius > 0.6
            angle, start, reach, radius = angle[keep], start[keep], reach[keep], radius[keep]
        trunk = np.array(
            [[hx - sign * 8, hy - 14], [hx + sign * 2, hy + 4], [hx + sign * 10, hy + 34], [hx + sign * 17, hy + 62]]
        )
        parts.append(path(trunk, np.array([8.5, 9.5, 7.0, 4.0])))
    aorta = chest.frame.x(19, -55)
    parts.append(path(np.array([[aorta, -20.0], [aorta, 60.0], [aorta - 10, chest.base]]), 12.0))
    return tubes(chest.grid, np.concatenate(parts))


def _step(angle: np.ndarray, sign: int, length: np.ndarray) -> np.ndarray:
    return np.stack([sign * np.cos(angle) * length, np.sin(angle) * length], axis=1)


def _segments(start: np.ndarray, r0: np.ndarray, end: np.ndarray, r1: np.ndarray) -> np.ndarray:
    return np.concatenate([start, r0[:, None], end, r1[:, None]], axis=1)


_RIB_DROP = np.array((34, 52, 70, 84, 94, 100, 104, 106, 104, 100)) / 25  # in spaces between ribs, back to front


def rib_curves(chest: Chest, numbers: np.ndarray, side: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Points [ribs, n, 2] on the detector of ribs ``numbers`` [ribs] (from 1) on ``side`` (-1 right, 1 left).

    ``angle`` [n] runs from the spine (0) round the side (pi / 2) to the front.
    """
    body, frame = chest.body, chest.frame
    numbers, side = np.reshape(numbers, (-1, 1)), np.reshape(side, (-1, 1))
    spacing = (body.apex + body.dome + 30) / 9.6
    top = -body.apex - 4 + (numbers - 1) * spacing + 11 * (numbers == 1)
    drop = _RIB_DROP[numbers - 1] * spacing
    wide = np.minimum(chest.lateral((top + 0.35 * drop).astype(np.float32)), body.half_width) + 4
    wide = wide - 9 * (numbers == 1)
    z = -body.half_depth * np.minimum(1.0, 0.55 + 0.12 * numbers) * np.cos(angle)
    x = side * wide * np.sin(angle) + z * math.sin(math.radians(frame.rotation))
    distance = SOURCE_DISTANCE[frame.view]
    scale = distance / (distance + z if frame.view == "PA" else distance - z)
    y = top + drop * ((1 - np.cos(angle)) / 2) ** 1.35 - 7 * np.sin(2 * angle).clip(0)
    return np.stack([x * scale, y * scale], axis=2)


def rib_curve(chest: Chest, number: int, side: int, angle: np.ndarray) -> np.ndarray:
    """Points [n, 2] of one rib."""
    return rib_curves(chest, np.array([number]), np.array([side]), angle)[0]


def rib_bone(grid: Grid, curves: np.ndarray, radius: float) -> Map:
    """Bone along ``curves`` [ribs, n, 2]: a dense rim round spongy marrow, flat from front to back."""
    joined = np.concatenate([curves, np.full((*curves.shape[:2], 1), radius)], axis=2)
    outer = np.concatenate([joined[:, :-1], joined[:, 1:]], axis=2).reshape(-1, 6).astype(np.float32)
    inner = outer.copy()
    inner[:, [2, 5]] *= 0.66
    return (tubes(grid, outer) - 0.8 * tubes(grid, inner)) * np.float32(0.9)


def _bones(chest: Chest, view: str, rng: np.random.Generator) -> Map:
    grid, body, frame = chest.grid, chest.body, chest.frame
    back = np.linspace(0.02, 0.5, 14) * math.pi
    front = np.linspace(0.5, 0.79, 9) * math.pi
    radius = body.rib
    every, sides = np.repeat(np.arange(1, 11), 2), np.tile((-1, 1), 10)
    bone = rib_bone(grid, rib_curves(chest, every, sides, back), radius)
    bone += rib_bone(grid, rib_curves(chest, every[:16], sides[:16], front), radius) * np.float32(0.8)
    bone += _spine(chest)
    tilt = rng.uniform(-6, 6) + (14 if view == "AP" else 0)
    apex = -body.apex
    curves, blades = [], grid.zeros()
    for sign in (-1, 1):
        cx = frame.shift(CLAVICLE_DEPTH)
        curves.append(
            np.array(
                [
                    [cx + sign * 17, apex + 34],
                    [cx + sign * 50, apex + 30 - 0.3 * tilt],
                    [cx + sign * 92, apex + 19 - 0.8 * tilt],
                    [cx + sign * 130, apex + 16 - 1.1 * tilt],
                    [cx + sign * 160, apex + 24 - 1.1 * tilt],
                ]
            )
        )
        curves[-1] = smooth(curves[-1], 16)
        # Shoulder blade: drawn out of the lungs on a PA film, over them on an AP one.
        out = 0.98 * body.half_width if view == "PA" else 0.80 * body.half_width
        edge = np.array([[out + 26, apex + 28], [out + 12, apex + 70], [out - 10, apex + 128]]) * [sign, 1]
        blades += tubes(grid, path(smooth(edge, 9), 4.5)) * np.float32(0.7)
        spread = ellipse_distance(grid, sign * (out - 8), apex + 70, 30, 58, sign * -14)
        blades += np.float32(2.2) * ramp(1 - spread, 0.15)
        head = sign * (body.half_width + 38)
        blades += ellipsoid(grid, head, apex + 40, 22, 22, 11)
        arm = path(np.array([[head, apex + 44], [head + sign * 26, apex + 180]]), 11.0)
        blades += rib_bone_like(grid, arm)
    return bone + rib_bone(grid, np.array(curves), 6.0) * np.float32(1.5) + blades


def rib_bone_like(grid: Grid, segments: np.ndarray) -> Map:
    """A long bone: dense rim, marrow inside."""
    inner = segments.copy()
    inner[:, [2, 5]] *= 0.6
    return (tubes(grid, segments) - 0.8 * tubes(grid, inner)) * np.float32(0.7)


def smooth(points: np.ndarray, count: int) -> np.ndarray:
    """A Catmull-Rom curve through ``points`` [n, 2], sampled at ``count`` places."""
    ends = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, len(points) - 1, count)
    i = np.minimum(t.astype(np.int64), len(points) - 2)
    f = (t - i)[:, None]
    a, b, c, d = ends[i], ends[i + 1], ends[i + 2], ends[i + 3]
    return 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - 3 * c + d - a) * f**3)


def _spine(chest: Chest) -> Map:
    """Vertebral bodies with discs between, pedicles and spinous processes; a trace of the sternum."""
    grid, body, frame = chest.grid, chest.body, chest.frame
    x = grid.x - np.float32(frame.x(0, SPINE_DEPTH))
    spacing = (body.apex + body.dome + 30) / 9.6
    phase = (grid.y + np.float32(body.apex)) / np.float32(spacing)
    wave = np.abs(phase - np.round(phase)) * 2
    width = 15 + 2.0 * ramp(grid.y, 300) + 2.0 * (1 - wave)
    column = np.float32(5) * half_ellipse(x / width) ** np.float32(0.5)
    column *= np.float32(0.45) + np.float32(0.55) * ramp(wave - 0.16, 0.2)
    centre = 1 - wave
    column += 3 * ramp(0.30 - np.hypot(x / 24, (1 - centre) * 0.8), 0.15)
    sternum = np.float32(3) * ramp(20 - np.abs(grid.x - np.float32(frame.x(0, 70))), 6) * ramp(grid.y + 62, 10)
    return column + sternum * ramp(110 - grid.y, 30)
