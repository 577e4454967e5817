"""What a picture looks like: chest, turn, negative, text; and near-copies against a slow twin."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from place_cxr.data.checks import near_duplicates
from place_cxr.data.checks.image_quality import (
    MIN_CHEST_SCORE,
    MIN_LETTERS,
    SURE_CHEST_SCORE,
    chest_scores,
    chest_template,
    count_letters,
    measure_file,
)
from place_cxr.data.checks.near_duplicates import MAX_DIFFERENT_BITS, find_near_duplicates
from place_cxr.images.letterbox import resize_by_area
from place_cxr.phantom import make_study


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Phantoms that are not among those of the template."""
    return [make_study(11, index, 128).image for index in range(12)]


def test_a_chest_is_a_chest_in_any_turn(pictures: list[np.ndarray]) -> None:
    template = chest_template()
    assert template.shape == (24, 24) and template.min() == -1 and template.max() == 1
    for picture in pictures:
        scores = chest_scores(picture, template)
        assert scores.argmax() == 0 and scores[0] > SURE_CHEST_SCORE
        for turn in (1, 2, 3):
            assert chest_scores(np.rot90(picture, turn), template).argmax() == turn
        np.testing.assert_allclose(chest_scores(255 - picture, template), -scores, atol=0.02)


@given(st.integers(0, 2**32))
def test_noise_is_no_chest(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 50), dtype=np.uint8)
    assert np.abs(chest_scores(noise, chest_template())).max() < MIN_CHEST_SCORE


def test_bars_around_a_picture_do_not_matter(pictures: list[np.ndarray]) -> None:
    template = chest_template()
    wide = np.pad(pictures[0], ((0, 0), (90, 60)))
    np.testing.assert_allclose(
        chest_scores(wide, template), chest_scores(pictures[0], template), atol=0.05
    )
    edges = np.zeros((30, 30), dtype=np.uint8)
    edges[4, 4] = 255  # nothing is left inside its bars: taken whole
    assert np.isfinite(chest_scores(edges, template)).all()


@pytest.mark.fault("P4")
@pytest.mark.parametrize("size", [12, 16, 22])
@pytest.mark.parametrize("white", [True, False])
def test_a_line_of_text_is_found_and_a_marker_is_not(size: int, white: bool) -> None:
    ground, ink = (20, 250) if white else (230, 5)
    font = ImageFont.load_default(size)
    for words, found in (("12-03-1961 MUELLER", True), ("L", False), ("PA", False), ("", False)):
        image = Image.new("L", (320, 200), ground)
        ImageDraw.Draw(image).text((30, 150), words, fill=ink, font=font)
        assert (count_letters(np.asarray(image)) >= MIN_LETTERS) == found, words


def test_bones_and_lines_are_no_text(pictures: list[np.ndarray]) -> None:
    assert max(map(count_letters, pictures)) < MIN_LETTERS
    stripes = np.where(np.arange(300) % 20 < 4, 255, 0).astype(np.uint8)
    assert (
        count_letters(np.tile(stripes, (300, 1)))
        == count_letters(np.tile(stripes[:, None], (1, 300)))
        == 0
    )
    dots = np.zeros((600, 600), dtype=np.uint8)
    dots[::10, ::10] = 255
    assert count_letters(dots) == 0
    assert count_letters(np.zeros((20, 20), dtype=np.uint8)) == 0


def slow(thumbs: np.ndarray) -> list[tuple[int, int]]:
    """All pairs, bits and correlations one by one."""

    def bits(thumb: np.ndarray) -> np.ndarray:
        n = len(thumb)
        strength = [
            sum(
                thumb[y, x]
                * np.cos(np.pi * u * (2 * y + 1) / (2 * n))
                * np.cos(np.pi * v * (2 * x + 1) / (2 * n))
                for y in range(n)
                for x in range(n)
            )
            for u in range(16)
            for v in range(16)
            if u or v
        ]
        return np.array(strength) > np.median(strength)

    codes = [bits(thumb) for thumb in thumbs]
    found: dict[int, int] = {}
    for b in range(len(thumbs)):
        for a in range(b):
            alike = np.corrcoef(thumbs[a].ravel(), thumbs[b].ravel())[0, 1] >= 0.997
            if (codes[a] != codes[b]).sum() <= MAX_DIFFERENT_BITS and alike and b not in found:
                found[b] = a
    return sorted((a, b) for b, a in found.items())


def test_near_copies_are_those_of_all_pairs(pictures: list[np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    small = [resize_by_area(picture, 16, 16) for picture in pictures[:3]]
    copies = [
        small[1] * 0.8 + 9,
        small[0] + rng.normal(0, 0.3, (16, 16)),
        small[1],
        small[2] + rng.normal(0, 9, (16, 16)),
    ]
    thumbs = np.array([*small, *copies], dtype=np.float32)
    assert find_near_duplicates(thumbs) == slow(thumbs) == [(0, 4), (1, 3), (1, 5)]
    assert find_near_duplicates(thumbs[:1]) == find_near_duplicates(thumbs[:0]) == []


def test_pictures_that_share_a_part_and_no_more_are_no_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thumbs = np.random.default_rng(2).normal(100, 30, (4, 32, 32)).astype(np.float16)
    monkeypatch.setattr(
        near_duplicates, "_candidate_pairs", lambda bits: np.array([(0, 1), (2, 3), (0, 3)])
    )
    assert find_near_duplicates(thumbs) == []


def test_many_pictures_take_no_time_of_all_pairs() -> None:
    rng = np.random.default_rng(1)
    thumbs = rng.normal(100, 30, (3000, 32, 32)).astype(np.float32)
    thumbs[1::1000] = thumbs[::1000]
    assert find_near_duplicates(thumbs) == [(0, 1), (1000, 1001), (2000, 2001)]


def test_pictures_saved_again_are_near_copies(pictures: list[np.ndarray], tmp_path: Path) -> None:
    images = [Image.fromarray(picture) for picture in pictures]
    template = chest_template()
    thumbs = []
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
        image.save(tmp_path / f"{number}.jpg", quality=60)
        image.resize((90, 90)).save(tmp_path / f"{number}.tif")
        thumbs += [
            measure_file(tmp_path / f"{number}.{kind}", template).thumb
            for kind in ("png", "jpg", "tif")
        ]
    found = find_near_duplicates(np.array(thumbs))
    assert found == [(3 * (later // 3), later) for later in range(36) if later % 3]


# ---- real radiographs ----------------------------------------------------------------------------


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_real_pictures_on_their_side_are_told(test_data: Path) -> None:
    folder = test_data / "classes" / "nih_rotation"
    template = chest_template()
    table = rows(folder)
    turns = np.array([measure_file(folder / row["image"], template).turn for row in table])
    turned = np.array([row["label"] == "rotated_90_ccw" for row in table])
    assert turned.sum() >= 10 and (~turned).sum() >= 10
    assert (turns[~turned] == 0).all()
    assert (turns[turned] == 1).mean() >= 0.9


def test_real_upright_pictures_are_left_in_peace_and_turned_ones_told(test_data: Path) -> None:
    template = chest_template()
    upright, told, negative = [], [], []
    for row in rows(test_data / "classes" / "kermany")[:60]:
        path = test_data / "classes" / "kermany" / row["image"]
        found = measure_file(path, template)
        upright.append(found.turn == 0 and not found.negative and found.chest >= MIN_CHEST_SCORE)
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        scores = chest_scores(np.rot90(pixels), template)
        told.append(scores.argmax() == 1 and scores.max() > SURE_CHEST_SCORE)
        inverse = chest_scores(255 - pixels, template)
        negative.append(-inverse.min() > inverse.max() + 0.1)
    assert np.mean(upright) >= 0.97 and np.mean(told) >= 0.9 and np.mean(negative) >= 0.85
