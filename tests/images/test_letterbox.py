"""An image in a square and back."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from place_cxr.core.errors import PlaceError
from place_cxr.images.letterbox import Letterbox

REAL = os.environ.get("PLACE_TEST_DATA", "")
SIDES = st.integers(1, 3000)


@pytest.mark.skipif(not REAL, reason="PLACE_TEST_DATA is unset: no oracle values on this machine")
def test_equals_the_published_reading() -> None:
    with np.load(Path(REAL) / "oracles" / "mgca_image_reading.npz", allow_pickle=False) as oracle:
        size = int(oracle["target_size"])
        names = [name.removesuffix(".uint8") for name in oracle if name.endswith(".uint8")]
        assert len(names) == 6
        for name in names:
            image = oracle[f"{name}.uint8"]
            square = Letterbox(*image.shape, size).to_square(image)
            assert np.abs(square.astype(int) - oracle[f"{name}.resized"]).max() <= 1, name


def test_long_side_fits_short_side_is_cut_and_an_odd_pixel_lies_right_or_below() -> None:
    box = Letterbox(height=40, width=41, size=24)
    assert (box.inner_h, box.inner_w, box.top, box.left) == (23, 24, 0, 0)
    square = box.to_square(np.full((40, 41), 200, dtype=np.uint8))
    assert (square[:23] == 200).all() and (square[23] == 0).all()
    tall = Letterbox(height=64, width=43, size=32)
    assert (tall.inner_w, tall.left) == (21, 5)
    square = tall.to_square(np.full((64, 43), 200, dtype=np.uint8))
    assert (square[:, 5:26] == 200).all() and not square[:, :5].any() and not square[:, 26:].any()
    assert tall.scale == 0.5


@given(SIDES, SIDES, st.integers(1, 600))
def test_every_image_fits(height: int, width: int, size: int) -> None:
    box = Letterbox(height, width, size)
    assert max(box.inner_h, box.inner_w) == size
    assert min(box.inner_h, box.inner_w) >= 1
    assert 0 <= size - box.inner_h - 2 * box.top <= 1
    assert 0 <= size - box.inner_w - 2 * box.left <= 1


@given(SIDES, SIDES, st.integers(8, 600), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_there_and_back(height: int, width: int, size: int, parts: list[float]) -> None:
    box = Letterbox(height, width, size)
    x0, x1 = sorted(part * width for part in parts[:2])
    y0, y1 = sorted(part * height for part in parts[2:])
    squared = box.box_to_square((x0, y0, x1, y1))
    assert box.left - 1e-6 <= squared[0] <= squared[2] <= box.left + box.inner_w + 1e-6
    assert box.top - 1e-6 <= squared[1] <= squared[3] <= box.top + box.inner_h + 1e-6
    assert box.box_to_original(squared) == pytest.approx((x0, y0, x1, y1), rel=1e-9, abs=1e-6)


def test_boxes_are_cut_at_the_edge_of_the_original() -> None:
    box = Letterbox(height=100, width=50, size=64)
    assert box.box_to_original((0, 0, 64, 64)) == (0, 0, 50, 100)


@pytest.mark.parametrize(
    ("height", "width"), [(300, 211), (150, 400), (64, 64), (40, 30), (1000, 90)]
)
def test_a_point_lands_where_its_box_does(height: int, width: int) -> None:
    """One bright block: its weight in the square lies at its mapped box, and comes back to it."""
    box = Letterbox(height, width, 128)
    y, x = height // 3, width // 4
    tall, wide = max(1, height // 10), max(1, width // 10)
    image = np.zeros((height, width), dtype=np.uint8)
    image[y : y + tall, x : x + wide] = 250
    square = box.to_square(image).astype(float)
    x0, y0, x1, y1 = box.box_to_square((x, y, x + wide, y + tall))
    rows, columns = np.mgrid[0:128, 0:128] + 0.5
    assert (square * rows).sum() / square.sum() == pytest.approx((y0 + y1) / 2, abs=0.05)
    assert (square * columns).sum() / square.sum() == pytest.approx((x0 + x1) / 2, abs=0.05)

    back = box.map_to_original(square)
    assert back.shape == (height, width) and back.dtype == np.float32
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    pixel = height / box.inner_h, width / box.inner_w
    assert (back * rows).sum() / back.sum() == pytest.approx(y + tall / 2, abs=0.1 * pixel[0] + 0.1)
    assert (back * columns).sum() / back.sum() == pytest.approx(
        x + wide / 2, abs=0.1 * pixel[1] + 0.1
    )


def test_the_mean_is_kept_and_a_ramp_comes_back() -> None:
    height, width = 331, 257
    image = np.linspace(0, 1, height)[:, None] * 0.5 + np.linspace(0, 1, width)[None, :] * 0.5
    box = Letterbox(height, width, 128)
    square = box.to_square(image)
    inner = square[box.top : box.top + box.inner_h, box.left : box.left + box.inner_w]
    assert inner.mean() / 255 == pytest.approx(image.mean(), abs=0.002)
    back = box.map_to_original(square / 255)
    assert np.abs(back - image)[5:-5, 5:-5].max() < 0.006


def test_black_edges_do_not_bleed_into_the_map() -> None:
    box = Letterbox(height=100, width=40, size=64)
    values = np.zeros((64, 64))
    values[:, box.left : box.left + box.inner_w] = 1
    assert np.allclose(box.map_to_original(values), 1)


def test_masks_and_floats_and_bytes_agree() -> None:
    mask = np.zeros((90, 70), dtype=bool)
    mask[20:50, 10:60] = True
    box = Letterbox(90, 70, 45)
    assert np.array_equal(box.to_square(mask), box.to_square(mask.astype(np.uint8) * 255))
    assert np.array_equal(box.to_square(mask), box.to_square(mask.astype(np.float32)))


def test_a_smaller_decoding_of_the_image_is_accepted_another_is_not() -> None:
    box = Letterbox(2165, 2593, 256)
    assert box.to_square(np.zeros((271, 325), dtype=np.uint8)).shape == (256, 256)
    for shape in ((2593, 2165), (256, 256), (10, 10, 3)):
        with pytest.raises(PlaceError, match="PL-D108"):
            box.to_square(np.zeros(shape, dtype=np.uint8))
    with pytest.raises(PlaceError, match="PL-D108"):
        box.map_to_original(np.zeros((128, 128)))
