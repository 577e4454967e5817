"""Masks and heat maps: closed forms, empty masks, ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.overlap import (
    above_half_maximum,
    compute_overlap,
    heat_overlap,
    pointing_game,
)


def box(x0, x1, y0=0, y1=4):
    mask = np.zeros((1, 4, 8), dtype=bool)
    mask[:, y0:y1, x0:x1] = True
    return mask


def test_closed_form():
    found = compute_overlap(box(0, 4), box(2, 6))
    assert found.iou[0] == pytest.approx(8 / 24) and found.dice[0] == pytest.approx(16 / 32)
    assert compute_overlap(box(0, 4), box(4, 8)).dice[0] == 0.0


@pytest.mark.fault("E5")
def test_empty_masks():
    nothing = np.zeros((1, 4, 8), dtype=bool)
    both = compute_overlap(nothing, nothing)
    assert both.iou[0] == both.dice[0] == 1.0 and both.both_empty == 1
    one = compute_overlap(nothing, box(0, 2))
    assert one.iou[0] == one.dice[0] == 0.0 and one.both_empty == 0
    assert np.isnan(pointing_game(np.ones((1, 4, 8)), nothing)[0])


@pytest.mark.fault("E5")
def test_sizes_that_differ_are_refused():
    with pytest.raises(PlaceError, match="PL-D223"):
        compute_overlap(np.zeros((1, 4, 8)), np.zeros((1, 8, 4)))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(hnp.arrays(bool, (2, 3, 4)), hnp.arrays(bool, (2, 3, 4)), st.permutations(range(4)))
def test_symmetric_and_pixel_order_does_not_matter(first, second, order):
    found, turned = (
        compute_overlap(first, second),
        compute_overlap(second[:, :, order], first[:, :, order]),
    )
    np.testing.assert_array_equal(found.iou, turned.iou)
    np.testing.assert_allclose(found.dice, 2 * found.iou / (1 + found.iou))


def test_pointing_game():
    heat = np.zeros((1, 4, 8))
    heat[0, 1, 3] = 2.0
    assert pointing_game(heat, box(2, 4))[0] == 1.0
    assert pointing_game(heat, box(4, 6))[0] == 0.0
    heat[0, 1, 5] = 2.0  # two maxima, one of them inside
    assert pointing_game(heat, box(2, 4))[0] == 0.5
    assert pointing_game(np.ones((1, 4, 8)), box(0, 2))[0] == 0.25


def test_region_above_half_of_the_maximum_does_not_depend_on_scale():
    heat = np.linspace(0, 1, 8)[None, None].repeat(4, 1)
    assert above_half_maximum(heat).sum() == 16
    np.testing.assert_array_equal(above_half_maximum(heat * 1e-6), above_half_maximum(heat))
    assert not above_half_maximum(np.zeros((1, 4, 8))).any()
    assert heat_overlap(heat, box(4, 8)).iou[0] == 1.0


@pytest.mark.fault("E3")
def test_broken_heat_is_refused():
    with pytest.raises(PlaceError, match="first row 0"):
        pointing_game(np.full((1, 4, 8), np.nan), box(0, 2))
