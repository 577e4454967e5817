"""Ranking metrics against closed forms, slow twins and scikit-learn, ties and missing labels
included.
"""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.classification import (
    auroc,
    auroc_statistic,
    average_precision,
    average_precision_statistic,
    binary_labels,
    classification_metrics,
    why_undefined,
)

NAN = float("nan")
ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, NAN]), st.integers(0, 4)), min_size=2, max_size=30
)


def pairwise(labels, scores, counts):
    """AUROC by looking at every pair."""
    won = pairs = 0.0
    for i, a in enumerate(labels):
        for j, b in enumerate(labels):
            if a == 1 and b == 0:
                weight = counts[i] * counts[j]
                pairs += weight
                won += weight * (
                    1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
                )
    return won / pairs if pairs else NAN


def test_closed_form():
    assert auroc([0, 0, 1, 1], [1, 2, 3, 4]) == 1.0
    assert auroc([1, 1, 0, 0], [1, 2, 3, 4]) == 0.0
    assert auroc([0, 1, 0, 1], [5, 5, 5, 5]) == 0.5
    assert average_precision([1, 0, 1, 0], [4, 3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.fault("E7")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(ROWS, st.integers(0, 2**31))
def test_equals_pairwise_oracle_and_repeated_rows(rows, seed):
    labels, scores = (np.array(x, dtype=float) for x in zip(*rows, strict=True))
    counts = np.random.default_rng(seed).integers(0, 4, len(labels))
    value = auroc_statistic(labels, scores)(counts[None].astype(float))[0]
    assert value == pytest.approx(pairwise(labels, scores, counts), abs=1e-12, nan_ok=True)
    precision = average_precision_statistic(labels, scores)(counts[None].astype(float))[0]
    repeated = average_precision(np.repeat(labels, counts), np.repeat(scores, counts))
    assert precision == pytest.approx(NAN if repeated is None else repeated, abs=1e-12, nan_ok=True)


@pytest.mark.fault("E7")
@pytest.mark.parametrize("levels", [3, 10, 10_000])
def test_equals_scikit_learn(levels):
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(levels)
    labels, scores = rng.integers(0, 2, 300), rng.integers(0, levels, 300).astype(float)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )


def test_order_and_monotone_scale_do_not_matter():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 50), np.round(rng.normal(size=50), 1)
    order = rng.permutation(50)
    assert (
        auroc(labels[order], scores[order])
        == auroc(labels, scores)
        == auroc(labels, np.exp(scores))
    )
    assert auroc(labels, -scores) == pytest.approx(1 - auroc(labels, scores))


@pytest.mark.fault("E2")
def test_absent_class_is_null_with_a_reason_and_outside_the_macro():
    labels = np.array([[1, 0, 0], [0, 0, NAN], [1, 0, 1], [0, 0, 0]])
    scores = np.array([[4, 1, 1], [3, 2, 9], [5, 3, 2], [1, 4, 0]], dtype=float)
    found = classification_metrics(labels, scores, ["A", "B", "C"], list("wxyz"), n=50)
    assert found["B"].value is None and found["B"].reason == "no present rows" and found["B"].n == 4
    assert found["A"].value == 1.0 and found["C"].value == 1.0 and found["C"].n == 3
    assert found["macro"].value == 1.0
    assert found["macro"].reason == "mean of 2 of 3 classes, without B"
    assert auroc([0, 0], [1, 2]) is None and average_precision([1, 1], [1, 2]) is None
    assert why_undefined([NAN, NAN]) == "no present and no absent rows"
    nothing = classification_metrics(labels[:, 1:2], scores[:, 1:2], ["B"], list("wxyz"), n=10)
    assert nothing["macro"].value is None and nothing["macro"].reason


@pytest.mark.fault("E3")
@pytest.mark.parametrize("bad", [NAN, float("inf")])
def test_scores_that_are_no_numbers_are_refused_with_rows(bad):
    with pytest.raises(PlaceError, match="first rows 2") as caught:
        auroc([0, 1, 1], [0.0, 1.0, bad])
    assert caught.value.code == "PL-G002"


@pytest.mark.fault("E1")
def test_uncertain_labels_follow_the_policy():
    labels = [1, 0, -1, NAN]
    np.testing.assert_array_equal(binary_labels(labels, "ignore"), [1, 0, NAN, NAN])
    np.testing.assert_array_equal(binary_labels(labels, "present"), [1, 0, 1, NAN])
    np.testing.assert_array_equal(binary_labels(labels, "absent"), [1, 0, 0, NAN])
    with pytest.raises(PlaceError, match="row 1"):
        binary_labels([1, 0.5], "ignore")


@pytest.mark.fault("E4")
def test_shapes_that_disagree_are_refused():
    with pytest.raises(PlaceError, match="PL-D222"):
        classification_metrics(np.zeros((3, 2)), np.zeros((3, 2)), ["A"], list("abc"))


def test_scores_of_several_seeds_are_averaged_as_metrics():
    labels = np.array([[1.0], [0], [1], [0]])
    right, wrong = np.array([[4.0], [1], [3], [2]]), np.array([[1.0], [4], [2], [3]])
    assert (
        classification_metrics(labels, [right, wrong], ["A"], list("abcd"), n=20)["A"].value == 0.5
    )


@pytest.mark.fault("E8")
def test_thirteen_findings_thousand_patients_thousand_resamples_are_fast():
    rng = np.random.default_rng(0)
    labels = (rng.random((1000, 13)) < 0.15).astype(float)
    scores = rng.normal(size=(1000, 13)) + labels
    began = time.perf_counter()
    found = classification_metrics(
        labels, scores, [f"f{m}" for m in range(13)], [f"p{i}" for i in range(1000)]
    )
    assert time.perf_counter() - began < 6
    assert all(v.low < v.value < v.high for v in found.values())
