"""Hit rates against an oracle that tries every order of tied candidates."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.retrieval import first_hit, median_statistic, precision_at_k, relevance


def every_order(scores, wanted, k):
    """(recall, precision, rank) averaged over all orders that respect the scores."""
    hits, shares, ranks = [], [], []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            row = [wanted[i] for i in order]
            hits.append(any(row[:k]))
            shares.append(sum(row[:k]) / k)
            ranks.append(row.index(True) + 1)
    return np.mean(hits), np.mean(shares), np.mean(ranks)


@pytest.mark.fault("E7")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=2, max_size=5), st.integers(1, 5)
)
def test_equals_the_mean_over_all_orders(row, k):
    scores, wanted = zip(*row, strict=True)
    k = min(k, len(row))
    hit, share = first_hit([scores], [wanted]), precision_at_k([scores], [wanted], k)
    if not any(wanted):
        assert np.isnan(hit.recall_at_k(k)[0]) and np.isnan(share[0]) and np.isnan(hit.rank[0])
        return
    expected = every_order(scores, wanted, k)
    assert (hit.recall_at_k(k)[0], share[0], hit.rank[0]) == pytest.approx(expected)


@pytest.mark.fault("E6")
def test_order_of_rows_and_columns_does_not_matter():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 12, 40)  # many repeated reports
    similarity = rng.integers(0, 6, (40, 40)).astype(float)  # many ties
    wanted = relevance(keys, keys)
    rows, columns = rng.permutation(40), rng.permutation(40)
    plain, mixed = (
        first_hit(similarity, wanted),
        first_hit(similarity[rows][:, columns], wanted[rows][:, columns]),
    )
    for k in (1, 5, 10):
        np.testing.assert_allclose(mixed.recall_at_k(k), plain.recall_at_k(k)[rows])
        shuffled = precision_at_k(similarity[rows][:, columns], wanted[rows][:, columns], k)
        np.testing.assert_allclose(shuffled, precision_at_k(similarity, wanted, k)[rows])
    np.testing.assert_allclose(mixed.rank, plain.rank[rows])


@pytest.mark.fault("E6")
def test_constant_similarity_is_chance_and_not_luck():
    hit = first_hit(np.zeros((50, 50)), np.eye(50, dtype=bool))
    np.testing.assert_allclose(hit.recall_at_k(10), 0.2)
    np.testing.assert_allclose(hit.rank, 25.5)


@pytest.mark.fault("E6")
def test_k_beyond_the_candidates_is_cut_with_a_warning():
    hit = first_hit(np.eye(3), np.eye(3, dtype=bool))
    with pytest.warns(UserWarning, match="3 candidates"):
        np.testing.assert_array_equal(hit.recall_at_k(10), 1.0)
    with pytest.warns(UserWarning, match="3 candidates"):
        np.testing.assert_allclose(precision_at_k(np.eye(3), np.eye(3, dtype=bool), 9), 1 / 3)


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    similarity, wanted = rng.normal(size=(9, 7)), rng.random((9, 7)) < 0.3
    before = first_hit(similarity, wanted).rank, precision_at_k(similarity, wanted, 2)
    monkeypatch.setattr("place_cxr.metrics.retrieval._CELLS", 14)
    np.testing.assert_array_equal(first_hit(similarity, wanted).rank, before[0])
    np.testing.assert_array_equal(precision_at_k(similarity, wanted, 2), before[1])


def test_median_is_the_median_of_repeated_rows():
    rng = np.random.default_rng(2)
    for size in (1, 2, 5, 8):
        rank, counts = rng.integers(1, 9, size).astype(float), rng.integers(1, 4, size)
        value = median_statistic(rank)(counts[None].astype(float))[0]
        assert value == np.median(np.repeat(rank, counts))
    assert np.isnan(median_statistic(np.array([np.nan, 3.0]))(np.array([[5.0, 0.0]]))[0])


@pytest.mark.fault("E3")
def test_broken_scores_are_refused():
    with pytest.raises(PlaceError, match="first row 1"):
        first_hit(np.array([[1.0, 2.0], [np.nan, 0.0]]), np.eye(2, dtype=bool))
    with pytest.raises(PlaceError, match="disagree"):
        first_hit(np.zeros((2, 3)), np.eye(2, dtype=bool))
