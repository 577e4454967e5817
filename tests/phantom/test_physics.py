"""The projection against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from place_cxr.phantom.anatomy import build_anatomy
from place_cxr.phantom.chest import Chest, Projection, cardiothoracic_ratio
from place_cxr.phantom.grid import (
    Grid,
    path_segments,
    project_capsule_pair,
    project_ellipsoid,
    project_tubes,
)
from place_cxr.phantom.render import (
    BONE_ATTENUATION,
    METAL_ATTENUATION,
    SOFT_ATTENUATION,
    attenuation,
    coarse_blur,
    transmission,
)
from place_cxr.phantom.scene import Body

GRID = Grid(129, 258.0, -129.0, -129.0)  # 2 mm pixels, one of them centred on the origin


def test_ellipsoid_chord_through_the_centre_is_twice_its_semi_axis() -> None:
    chord = project_ellipsoid(GRID, 0, 0, 60, 40, 25, degrees=30)
    assert chord[64, 64] == pytest.approx(50)
    volume = chord.sum() * GRID.step**2
    assert volume == pytest.approx(4 / 3 * math.pi * 60 * 40 * 25, rel=2e-3)


def test_ellipsoid_turns_clockwise_on_the_image() -> None:
    chord = project_ellipsoid(GRID, 0, 0, 60, 10, 25, degrees=30)
    rows, columns = np.nonzero(chord[:, 80:])
    assert rows.mean() - 64 == pytest.approx(
        (columns.mean() + 80 - 64) * math.tan(math.radians(30)), rel=0.15
    )


def test_paired_solids_mirror_each_other() -> None:
    chord = project_ellipsoid(GRID, 50, 10, 30, 20, 10, degrees=20, paired=True)
    assert np.allclose(chord, chord[:, ::-1], atol=1e-4)
    assert np.allclose(
        chord[:, 65:], project_ellipsoid(GRID, 50, 10, 30, 20, 10, degrees=20)[:, 65:], atol=1e-4
    )


@pytest.mark.parametrize("radius", [0.3, 0.9, 3.0, 12.0])
@pytest.mark.parametrize("degrees", [0, 90])
def test_tube_keeps_its_cross_section_however_thin(radius: float, degrees: int) -> None:
    angle = math.radians(degrees)
    end = np.array([math.cos(angle), math.sin(angle)]) * 100
    chord = project_tubes(GRID, path_segments(np.stack([-end + 0.4, end + 0.4]), radius))
    across = chord[:, 64] if degrees == 0 else chord[64]
    assert across.sum() * GRID.step == pytest.approx(math.pi * radius**2, rel=1e-3)


def test_bent_tube_is_not_thicker_at_its_joints() -> None:
    points = np.stack([np.linspace(-80, 80, 30), 20 * np.sin(np.linspace(0, 6, 30))], axis=1)
    assert project_tubes(GRID, path_segments(points, 6.0)).max() <= 12.0 + 1e-3


def test_tube_off_the_film_is_cut_not_wrapped() -> None:
    chord = project_tubes(GRID, np.array([[125.0, 0, 5, 160.0, 0, 5]]))
    assert chord[:, -3:].any()
    assert not chord[:, :64].any()


def test_wide_capsules_agree_with_tubes() -> None:
    one = project_capsule_pair(GRID, 40, -20, 15, 90, 60, 25)
    two = project_tubes(GRID, np.array([[40, -20, 15, 90, 60, 25], [-40, -20, 15, -90, 60, 25]]))
    assert np.abs(one - two).mean() < 0.1
    assert np.percentile(np.abs(one - two), 99) < 3


def test_beer_lambert() -> None:
    assert transmission(np.array([0.0, 1.0, 2.0])) == pytest.approx([1, math.exp(-1), math.exp(-2)])


def test_attenuation_adds_what_lies_on_a_ray() -> None:
    anatomy = build_anatomy(Grid(32, 385.0, -192.5, -148.0), Body(), "PA", "M")
    for name in ("lung", "vessel", "bone", "metal", "soft"):
        setattr(anatomy, name, np.zeros((32, 32), np.float32))
    anatomy.body = np.full((32, 32), 200, np.float32)
    assert attenuation(anatomy)[5, 5] == pytest.approx(200 * SOFT_ATTENUATION, rel=1e-5)
    anatomy.lung += 100
    anatomy.tissue[:] = 0.25
    assert attenuation(anatomy)[5, 5] == pytest.approx((200 - 75) * SOFT_ATTENUATION, rel=1e-5)
    anatomy.bone += 10  # replaces soft tissue
    anatomy.metal += 2  # comes on top
    assert attenuation(anatomy)[5, 5] == pytest.approx(
        125 * SOFT_ATTENUATION + 10 * (BONE_ATTENUATION - SOFT_ATTENUATION) + 2 * METAL_ATTENUATION,
        rel=1e-5,
    )


def test_blur_keeps_a_constant_and_the_mean() -> None:
    assert coarse_blur(np.full((100, 100), 3.0, np.float32), 0.05) == pytest.approx(3.0, rel=1e-5)
    image = np.zeros((128, 128), np.float32)
    image[64, 64] = 1
    blurred = coarse_blur(image, 0.05)
    assert blurred.sum() == pytest.approx(1, rel=0.02)
    assert blurred.max() < 0.02


def test_ap_magnifies_the_heart_and_rotation_shifts_front_and_back_apart() -> None:
    body = Body()
    assert 1.03 < cardiothoracic_ratio(body, "AP") / cardiothoracic_ratio(body, "PA") < 1.12
    frame = Projection("PA", 5.0)
    assert frame.x(0, 60) > 0 > frame.x(0, -60)
    assert Projection("AP", 0).scale(30) > 1 > Projection("PA", 0).scale(30)


def test_anatomy_lies_where_it_should() -> None:
    body = Body()
    grid = Grid(192, 385.0, -192.5, -148.0)
    anatomy = build_anatomy(grid, body, "PA", "M")

    def at(image: np.ndarray, x: float, y: float) -> float:
        return float(image[int((y - grid.top) / grid.step), int((x - grid.left) / grid.step)])

    assert at(anatomy.lung, -80, 20) > 100 and at(anatomy.lung, 80, -20) > 100
    assert at(anatomy.lung, 0, 60) == 0  # mediastinum
    assert (
        at(anatomy.lung, -60, body.dome + 60) < at(anatomy.lung, -60, body.dome - 20) / 2
    )  # liver
    assert at(anatomy.lung, -64, body.dome + 6) < at(
        anatomy.lung, 64, body.dome + 6
    )  # the right dome stands higher
    assert at(anatomy.heart, 50, 80) and not at(
        anatomy.heart, -60, 80
    )  # the heart points to the left
    assert at(anatomy.body, -185, -140) == 0  # air beside the neck
    assert anatomy.lung.max() < anatomy.body.max()
    assert (anatomy.body[anatomy.lung > 0] > 0).all()
    chest = Chest(grid, body, Projection("PA", 0.0))
    outer = np.flatnonzero((anatomy.lung > 1).any(axis=0))
    assert (outer[-1] - outer[0] + 1) * grid.step == pytest.approx(
        2 * body.half_width, abs=2 * grid.step
    )
    assert chest.domes()[1] > chest.domes()[0]
