"""Clinical scores against scikit-learn, closed forms, policies for what is uncertain, and answers
that should fail.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import precision_recall_fscore_support

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.clinical import CLINICAL_SCORES, _macro, clinical_metrics, clinical_signature

NAN = float("nan")
NAMES = ["A", "B", "C"]
TABLES = st.integers(2, 8).flatmap(
    lambda rows: st.tuples(
        *[
            arrays(np.float64, (rows, 3), elements=st.sampled_from([1.0, 0.0, -1.0, NAN]))
            for _ in range(2)
        ]
    )
)


def values(predicted, truth, names=NAMES, **options):
    patients = [str(row) for row in range(len(truth))]
    return {
        name: score.value
        for name, score in clinical_metrics(
            predicted, truth, names, patients, n=20, **options
        ).items()
    }


@settings(max_examples=12)
@given(TABLES, st.sampled_from(["absent", "present"]))
def test_equal_to_scikit_learn(tables, uncertain):
    predicted, truth = tables
    found = values(predicted, truth, uncertain=uncertain)
    guess, true = (
        ((table == 1) | ((table == -1) & (uncertain == "present"))).astype(int)
        for table in (predicted, truth)
    )
    kept = np.flatnonzero(true.any(0))
    some = guess.any(1) | true.any(1)
    expected = {}
    if len(kept):
        expected["macro"] = precision_recall_fscore_support(
            true, guess, labels=kept, average="macro", zero_division=0
        )
    if some.any():
        expected["example"] = precision_recall_fscore_support(
            true[some], guess[some], average="samples", zero_division=0
        )
    expected["micro"] = precision_recall_fscore_support(
        true, guess, average="micro", zero_division=np.nan
    )
    for average in ("micro", "macro", "example"):
        for place, score in enumerate(CLINICAL_SCORES):
            value = found[f"{average} {score}"]
            if average not in expected:
                assert value is None
            else:
                assert (NAN if value is None else value) == pytest.approx(
                    expected[average][place], nan_ok=True
                )
    for m, name in enumerate(NAMES):
        if m in kept:
            single = precision_recall_fscore_support(
                true[:, m], guess[:, m], average="binary", zero_division=np.nan
            )
            got = [found[f"{name} {score}"] for score in CLINICAL_SCORES]
            np.testing.assert_allclose([NAN if v is None else v for v in got], single[:3])
        else:
            assert found[f"{name} F1"] is None


TRUTH = np.array([[1, 0, NAN], [1, 1, NAN], [NAN, NAN, NAN], [0, -1, 0]])


def test_closed_form():
    found = values([[1, 1, NAN], [1, 0, NAN], [NAN] * 3, [0, 0, 0]], TRUTH)
    assert found["micro precision"] == pytest.approx(2 / 3) and found[
        "micro recall"
    ] == pytest.approx(2 / 3)
    assert found["macro F1"] == pytest.approx((1 + 0) / 2)  # A right, B never, C in no true report
    assert found["example recall"] == pytest.approx((1 + 1 / 2) / 2)


def test_a_finding_no_true_report_has_is_named_not_scored():
    scores = clinical_metrics(TRUTH, TRUTH, NAMES, list("abcd"), n=20)
    assert scores["C F1"].value is None and scores["C F1"].reason == "no true report has it"
    assert (
        scores["macro F1"].value == 1.0
        and scores["macro F1"].reason == "mean of 2 of 3 findings, without C"
    )


def test_degenerate_answers():
    nothing, everything = np.full_like(TRUTH, NAN), np.ones_like(TRUTH)
    none, all_ = values(nothing, TRUTH), values(everything, TRUTH)
    assert none["micro precision"] is None  # nothing was predicted, so nothing was wrong
    assert (
        none["micro F1"] == none["macro F1"] == none["macro precision"] == none["example F1"] == 0.0
    )
    assert all_["micro recall"] == 1.0 and all_["micro precision"] == pytest.approx(3 / 12)
    assert values(TRUTH, TRUTH)["example F1"] == 1.0
    assert set(values(nothing, nothing).values()) == {None}


def test_uncertain_is_a_policy_that_the_signature_names():
    predicted = np.where(TRUTH == -1, 1.0, TRUTH)
    assert values(predicted, TRUTH, uncertain="absent")["micro F1"] < 1
    assert values(predicted, TRUTH, uncertain="present")["micro F1"] == 1
    assert "uncertain as present" in clinical_signature(
        "present"
    ) and "uncertain as absent" in clinical_signature("absent")


def test_not_mentioned_and_absent_score_alike():
    assert (
        values(np.nan_to_num(TRUTH), TRUTH)
        == values(TRUTH, np.nan_to_num(TRUTH))
        == values(TRUTH, TRUTH)
    )


def test_order_of_reports_does_not_matter():
    predicted = TRUTH[::-1]
    assert values(predicted, TRUTH) == pytest.approx(
        values(predicted[[2, 0, 3, 1]], TRUTH[[2, 0, 3, 1]])
    )


def test_intervals_are_over_patients():
    truth = np.tile(TRUTH[:2], (20, 1))
    predicted = np.tile([[1, 1, NAN], [1, 0, NAN]], (20, 1))
    many = clinical_metrics(predicted, truth, NAMES, [str(row) for row in range(40)], n=200)[
        "micro F1"
    ]
    few = clinical_metrics(predicted, truth, NAMES, [str(row // 20) for row in range(40)], n=200)[
        "micro F1"
    ]
    assert many.low <= many.value <= many.high and few.high - few.low <= many.high - many.low


@pytest.mark.parametrize(
    ("predicted", "truth", "code"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), "PL-D222"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "PL-D222"),
        (np.full((2, 3), 0.5), np.zeros((2, 3)), "PL-D227"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "PL-D220"),
    ],
)
def test_refusals(predicted, truth, code):
    with pytest.raises(PlaceError) as caught:
        clinical_metrics(predicted, truth, NAMES, ["p"] * len(truth))
    assert caught.value.code == code


def test_a_resample_without_a_finding_leaves_it_out_of_macro():
    true, guess = np.eye(2), np.array([[1.0, 0.0], [0.0, 0.0]])
    found = _macro(true * guess, guess, true)(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(found[:, 2], [0.5, 1.0, 0.0])
