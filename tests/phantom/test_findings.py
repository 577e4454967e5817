"""Each finding: where it is, what it changes, on which side."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from place_cxr.phantom.anatomy import build_anatomy
from place_cxr.phantom.grid import Grid
from place_cxr.phantom.history import make_scene
from place_cxr.phantom.scene import PHANTOM_FINDINGS, Finding, Scene
from place_cxr.phantom.write import boxes_of, make_study, render_scene

SIZE = 128
SIDED = (
    "Pleural Effusion",
    "Pneumothorax",
    "Consolidation",
    "Atelectasis",
    "Nodule",
    "Rib Fracture",
)


@lru_cache
def showing(name: str, count: int = 4) -> tuple[Scene, ...]:
    """Some scenes with a finding, each of another patient."""
    found: dict[str, Scene] = {}
    for index in range(1000):
        scene = make_scene(9, index)
        if scene.labels[name]:
            found.setdefault(scene.patient, scene)
        if len(found) == count:
            break
    return tuple(found.values())


def without(scene: Scene, name: str) -> Scene:
    kept = [(f, k) for f, k in zip(scene.findings, scene.keys, strict=True) if f.name != name]
    return replace(scene, findings=tuple(f for f, _ in kept), keys=tuple(k for _, k in kept))


def whole_mask(scene: Scene, masks: tuple[np.ndarray, ...], name: str) -> np.ndarray:
    return np.logical_or.reduce(
        [m for f, m in zip(scene.findings, masks, strict=True) if f.name == name]
    )


@pytest.mark.parametrize("name", [name for name in PHANTOM_FINDINGS if name != "Cardiomegaly"])
def test_changes_the_image_inside_its_mask_and_not_far_away(name: str) -> None:
    for scene in showing(name):
        image, masks = render_scene(scene, SIZE)
        plain, _ = render_scene(without(scene, name), SIZE)
        change = np.abs(image.astype(float) - plain)
        mask = whole_mask(scene, masks, name)
        far = ~binary_dilation(mask, iterations=SIZE // 9)
        assert change[mask].mean() > 0.8
        assert change[far].mean() < 0.12 * change[mask].mean()


@pytest.mark.parametrize("name", PHANTOM_FINDINGS)
def test_mask_is_in_the_body_and_box_is_tight(name: str) -> None:
    for scene in showing(name):
        _, masks = render_scene(scene, SIZE)
        body = scene.body
        grid = Grid(
            SIZE, body.fov, -body.fov / 2 + body.shift[0], -body.fov * 0.385 + body.shift[1]
        )
        inside = build_anatomy(grid, body, scene.view, scene.sex).body > 0
        for mask in masks:
            assert mask.dtype == bool and mask.any()
            assert inside[mask].mean() > 0.97
        parts = [m for f, m in zip(scene.findings, masks, strict=True) if f.name == name]
        boxes = [box for box in boxes_of(scene, masks) if box.finding == name]
        assert boxes
        covered = np.zeros((SIZE, SIZE), bool)
        for box in boxes:
            x0, y0, x1, y1 = (int(v) for v in (box.x0, box.y0, box.x1, box.y1))
            assert 0 <= x0 < x1 <= SIZE and 0 <= y0 < y1 <= SIZE
            covered[y0:y1, x0:x1] = True
            edges = [np.s_[y0:y1, x0], np.s_[y0:y1, x1 - 1], np.s_[y0, x0:x1], np.s_[y1 - 1, x0:x1]]
            assert all(np.logical_or.reduce(parts)[edge].any() for edge in edges)
        assert covered[np.logical_or.reduce(parts)].all()


@pytest.mark.parametrize("name", SIDED)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_patients_left_is_on_the_images_right(name: str, side: str) -> None:
    scene = showing(name)[0]
    model = next(f for f in scene.findings if f.name == name)
    scene = replace(scene, findings=(replace(model, side=side),), keys=(77,))
    (mask,) = render_scene(scene, SIZE)[1]
    centre = np.nonzero(mask)[1].mean()
    assert centre > SIZE / 2 + 8 if side == "left" else centre < SIZE / 2 - 8


def test_zones_are_ordered_from_above() -> None:
    scene = showing("Nodule")[0]
    heights = []
    for zone in ("upper", "mid", "lower"):
        finding = Finding("Nodule", "right", zone, "", 20.0, "nodule")
        (mask,) = render_scene(replace(scene, findings=(finding,), keys=(5,)), SIZE)[1]
        heights.append(np.nonzero(mask)[0].mean())
    assert heights == sorted(heights) and heights[2] - heights[0] > SIZE / 5


def test_nodule_has_its_diameter() -> None:
    scene = showing("Nodule")[0]
    for size_mm in (16.0, 40.0):
        finding = Finding("Nodule", "left", "mid", "", size_mm, "nodule")
        (mask,) = render_scene(replace(scene, findings=(finding,), keys=(5,)), 256)[1]
        diameter = 2 * np.sqrt(mask.sum() / np.pi) * scene.body.fov / 256
        assert 0.85 * size_mm < diameter <= 1.05 * size_mm


@pytest.mark.parametrize("name", ["Pleural Effusion", "Pneumothorax", "Consolidation"])
def test_severity_orders_the_area(name: str) -> None:
    scene = showing(name)[0]
    model = next(f for f in scene.findings if f.name == name)
    scale = (
        ("mild", "moderate", "severe")
        if name == "Consolidation"
        else ("small", "moderate", "large")
    )
    areas = []
    for severity in scale:
        finding = replace(model, side="right", zone="mid", severity=severity)
        areas.append(render_scene(replace(scene, findings=(finding,), keys=(3,)), SIZE)[1][0].sum())
    assert areas[0] < areas[1] < areas[2]


def test_conspicuity_orders_the_contrast() -> None:
    scene = showing("Consolidation")[0]
    changes = []
    for conspicuity in (0.1, 0.5, 1.0):
        finding = Finding("Consolidation", "right", "mid", "moderate", conspicuity=conspicuity)
        image, (mask,) = render_scene(replace(scene, findings=(finding,), keys=(3,)), SIZE)
        plain, _ = render_scene(replace(scene, findings=(), keys=()), SIZE)
        changes.append(np.abs(image[mask].astype(float) - plain[mask]).mean())
    assert 2 * changes[0] < changes[1] < changes[2]


def test_pneumothorax_is_dark_and_effusion_white() -> None:
    for name, sign in (
        ("Pneumothorax", -1),
        ("Pleural Effusion", 1),
        ("Emphysema", -1),
        ("Edema", 1),
    ):
        for scene in showing(name, 2):
            model = next(f for f in scene.findings if f.name == name)
            image, (mask,) = render_scene(replace(scene, findings=(model,), keys=(3,)), SIZE)
            plain, _ = render_scene(replace(scene, findings=(), keys=()), SIZE)
            assert sign * (image[mask].mean() - plain[mask].mean()) > 2, name


@pytest.mark.parametrize("view", ["PA", "AP"])
def test_ratio_measured_on_the_masks_is_the_labels(view: str) -> None:
    seen = 0
    for scene in (make_scene(5, index) for index in range(60)):
        if scene.view != view:
            continue
        body, seen = scene.body, seen + 1
        grid = Grid(256, body.fov, -body.fov / 2, -body.fov * 0.385)
        anatomy = build_anatomy(grid, body, view, scene.sex)
        heart, lung = (np.flatnonzero(m.any(axis=0)) for m in (anatomy.heart, anatomy.lung > 1))
        measured = (heart[-1] - heart[0] + 1) / (lung[-1] - lung[0] + 1)
        assert measured == pytest.approx(scene.cardiothoracic_ratio, abs=0.012)
    assert seen > 5


def test_image_uses_the_range_and_carries_noise() -> None:
    for index in range(12):
        study = make_study(3, index, SIZE)
        assert study.image.dtype == np.uint8 and study.image.shape == (SIZE, SIZE)
        low, high = np.percentile(study.image, (2, 98))
        assert low < 60 and high > 190
        assert 40 < study.image.mean() < 190
    scene = make_scene(3, 0)
    other = replace(scene, noise_key=scene.noise_key + 1)
    change = render_scene(scene, SIZE)[0].astype(float) - render_scene(other, SIZE)[0]
    assert 0.5 < change.std() < 15


def test_sites_differ_in_noise() -> None:
    deviation = {}
    for site in "AB":
        scene = replace(make_scene(3, 0), site=site, findings=(), keys=())
        one, two = (
            render_scene(replace(scene, noise_key=key), SIZE)[0].astype(float) for key in (1, 2)
        )
        deviation[site] = (one - two).std()
    assert deviation["B"] > 1.15 * deviation["A"]
