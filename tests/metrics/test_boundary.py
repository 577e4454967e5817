"""Distance of edges: closed forms, symmetry, and a slow twin."""

import numpy as np
import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.boundary import boundary_distance


def square(top, left, side, size=20):
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_closed_forms():
    one = square(5, 5, 4)
    assert boundary_distance(one, one) == 0
    assert boundary_distance(square(0, 0, 1), square(0, 7, 1)) == 7
    assert boundary_distance(square(3, 3, 3), square(4, 4, 1)) == pytest.approx(
        (4 * 1 + 4 * 2**0.5 + 1) / 9
    )
    assert np.isnan(boundary_distance(one, np.zeros_like(one))) and np.isnan(
        boundary_distance(one & False, one)
    )


def test_it_is_that_of_a_loop_over_edge_pixels():
    rng = np.random.default_rng(0)
    for _ in range(5):
        first, second = rng.random((2, 12, 15)) < 0.3
        edges = []
        for mask in (first, second):
            padded = np.pad(mask, 1)
            inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
            edges.append(np.argwhere(mask & ~inner))
        apart = np.linalg.norm(edges[0][:, None] - edges[1][None], axis=-1)
        expected = np.concatenate([apart.min(1), apart.min(0)]).mean()
        assert boundary_distance(first, second) == pytest.approx(expected)
        assert boundary_distance(second, first) == pytest.approx(expected)


def test_shapes_must_agree():
    with pytest.raises(PlaceError, match="PL-D223"):
        boundary_distance(np.ones((3, 3), bool), np.ones((3, 4), bool))
