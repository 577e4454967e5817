"""Classification: what becomes of labels, and scores of made-up predictions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from place_cxr.core.records import Study
from place_cxr.models.image import ImagePyramid
from place_cxr.tasks.class_scores import class_scores
from place_cxr.tasks.classification import CHEXPERT_UNCERTAIN_POLICIES, Classification
from place_cxr.tasks.predictions import Predictions, age_band


def task(**settings):
    names = settings.pop("names", ("A", "B"))
    return Classification(Classification.Settings.model_validate(settings), names)


def study(**labels):
    return Study("s", "x", "", labels=labels)


@pytest.mark.fault("E1")
def test_unknown_and_uncertain_become_what_the_policy_says():
    rows = [study(A=1.0, B=-1.0), study(B=0.0), study()]
    nan = np.nan
    np.testing.assert_array_equal(task().labels(rows), [[1, nan], [nan, 0], [nan, nan]])
    np.testing.assert_array_equal(
        task(uncertain="present").labels(rows), [[1, 1], [nan, 0], [nan, nan]]
    )
    by_name = task(
        uncertain={"A": "absent"}, unmentioned="absent"
    )  # B is not named: its uncertain label stays unknown
    np.testing.assert_array_equal(by_name.labels(rows), [[1, nan], [0, 0], [0, 0]])
    assert [task().usable(row) for row in rows] == [True, True, False]


def test_one_class_of_several_needs_exactly_one():
    rows = [study(A=1.0, B=0.0), study(A=1.0, B=1.0), study(A=0.0, B=0.0), study(B=1.0)]
    found = task(kind="multi-class").labels(rows)
    np.testing.assert_array_equal(found, [[1, 0], [np.nan] * 2, [np.nan] * 2, [0, 1]])


def test_unknown_labels_teach_nothing():
    labels = torch.tensor([[1.0, float("nan")], [0.0, 1.0]])
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = task().loss(logits, {"labels": labels})
    loss.backward()
    assert (
        loss.item() == pytest.approx(np.log(2)) and logits.grad[0, 1] == 0 and logits.grad[1, 1] < 0
    )


@pytest.mark.fault("X6")
def test_the_mgca_profile_takes_chexperts_policy():
    given = Classification.defaults("mgca", "frozen")
    assert (
        given["uncertain"] == CHEXPERT_UNCERTAIN_POLICIES
        and given["unmentioned"] == "absent"
        and not given["exact"]
    )
    assert Classification.defaults("strict", "frozen") == {}


def made(truth, score, seeds=(0,), left_out=None, **columns):
    """Predictions of one share: the same truth for each seed; validation equals test."""
    truth, score = np.asarray(truth, float), np.asarray(score, float)
    n, names = len(truth), ["A", "B"][: truth.shape[1]]
    parts = []
    for seed in seeds:
        for split in ("val", "test"):
            table = {
                "fraction": [1.0] * n,
                "seed": [seed] * n,
                "split": [split] * n,
                "row": range(n),
            }
            table |= {"patient": range(n)} | {
                g: columns.get(g, [""] * n) for g in ("sex", "age", "view", "site")
            }
            table |= {f"truth.{m}": truth[:, c] for c, m in enumerate(names)}
            table |= {f"score.{m}": score[:, c] for c, m in enumerate(names)}
            parts.append(pa.table(table))
    return Predictions({"left_out": {"1": left_out or {}}}, pa.concat_tables(parts)), names


def test_perfect_constant_and_wrong_predictions_score_as_they_should():
    truth = np.tile([[1.0], [0.0], [0.0], [0.0]], (20, 1))
    for score, auroc, precision, f1 in (
        (truth, 1, 1, 1),
        (truth * 0 + 0.25, 0.5, 0.25, 0.4),
        (1 - truth, 0, None, 0.4),
    ):
        found = class_scores(*made(truth, score), multi_class=False)
        assert found["100%/auroc/A"].value == pytest.approx(auroc)
        assert found["100%/f1/A"].value == pytest.approx(f1)  # all called present: 2 * .25 / 1.25
        if precision is not None:
            assert found["100%/average precision/A"].value == pytest.approx(precision)
    constant = class_scores(*made(truth, truth * 0 + 0.25), multi_class=False)
    assert constant["100%/ECE/A"].value == pytest.approx(0) and constant[
        "100%/brier/A"
    ].value == pytest.approx(0.1875)
    assert constant["100%/reliability/0.2-0.3"].value == pytest.approx(0.25)
    assert "0.250" in constant["100%/reliability/0.2-0.3"].reason


def test_one_of_several_is_decided_by_the_likeliest():
    truth = np.tile([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [np.nan, np.nan]], (10, 1))
    found = class_scores(*made(truth, np.tile([0.4, 0.6], (40, 1))), multi_class=True)
    assert found["100%/top-1 accuracy/all classes"].value == pytest.approx(2 / 3)
    assert found["100%/top-1 accuracy/all classes"].n == 30
    assert found["100%/f1/A"].value == 0 and found["100%/f1/B"].value == pytest.approx(0.8)
    assert found["100%/auroc/macro"].value == pytest.approx(0.5)


def test_groups_are_told_apart_the_small_hidden_and_a_gap_flagged():
    rng = np.random.default_rng(0)
    truth = (rng.random((120, 1)) < 0.5).astype(float)
    sex = ["F"] * 50 + ["M"] * 50 + ["X"] * 20
    score = np.where(
        np.arange(120)[:, None] < 50, truth, rng.random((120, 1))
    )  # F perfect, M guessed
    predictions, names = made(truth, score, sex=sex, site=["one"] * 120)
    found = class_scores(predictions, names, multi_class=False)
    assert found["100%/auroc by sex/F"].value == 1 and found["100%/auroc by sex/F"].n == 50
    assert found["100%/auroc by sex/M"].value < 0.8
    hidden = found["100%/auroc by sex/X"]
    assert hidden.value is None and "fewer than 30" in hidden.reason and hidden.n == 20
    gap = found["100%/auroc gap/sex"]
    assert gap.value == pytest.approx(
        1 - found["100%/auroc by sex/M"].value
    ) and gap.reason.startswith("flagged")
    assert not any("by site" in name or "by view" in name for name in found)


def test_seeds_are_averaged_and_one_that_could_not_be_taught_is_left_out():
    truth = np.tile([[1.0, 0.0], [0.0, 1.0]], (20, 1))
    found = class_scores(
        *made(truth, truth, seeds=(0, 1), left_out={"B": "no rows"}), multi_class=False
    )
    assert found["100%/auroc/B"].value is None and found["100%/auroc/B"].reason == "no rows"
    assert found["100%/auroc/macro"].value == 1 and "without B" in found["100%/auroc/macro"].reason


def test_ages_fall_into_bands():
    assert [age_band(age) for age in (None, 0.5, 18, 39.9, 60, 95)] == [
        "", "under 18", "18-39", "18-39", "60-79", "80 and over",
    ]  # fmt: skip


def test_a_class_that_nothing_taught_is_never_said():
    """Frozen and multi-class: the optimum over the classes that are there."""
    rng = np.random.default_rng(1)
    own = rng.integers(2, size=40)
    pooled = torch.from_numpy(np.eye(2)[own] + 0.1 * rng.normal(size=(40, 2))).float()
    labels = torch.from_numpy(np.eye(3)[2 * own]).float()  # A or C, never B
    one = task(kind="multi-class", names=("A", "B", "C"))
    head = one.head(SimpleNamespace(pooled=2))
    part = (ImagePyramid(pooled), {"labels": labels})
    assert one.fit_closed_form(head, lambda: part, lambda: part) and set(
        one.untrainable(part[1])
    ) == {"B"}
    chance = head(part[0]).softmax(1)
    assert (chance[:, 1] < 1e-6).all() and (chance.argmax(1) == 2 * torch.from_numpy(own)).all()
    assert not task(kind="multi-class", exact=False).fit_closed_form(
        head, lambda: part, lambda: part
    )
