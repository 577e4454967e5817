"""Retrieval and zero-shot as tasks: made-up scores, equal reports, classes, prompt sets."""

from __future__ import annotations

import numpy as np
import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.tasks import similarity
from place_cxr.tasks.descriptions import embed_phrases, embed_studies
from place_cxr.tasks.predictions import Predictions, matrix_column, stack_cells
from place_cxr.tasks.retrieval import (
    class_retrieval_metrics,
    exclusive_class,
    instance_retrieval_metrics,
    rerank_scores,
)
from place_cxr.tasks.similarity import mix_scores
from place_cxr.tasks.zero_shot import ZeroShotClassification, multi_class_scores, prompt_sentences

from .conftest import FINDINGS, PROMPTS, Seer, tokenize, view

RNG = np.random.default_rng(0)


def test_the_first_hundred_are_ordered_anew_and_the_rest_stays_behind():
    first, second = (
        RNG.random((4, 30)).astype(np.float32),
        RNG.random((4, 30)).astype(np.float32) - 2,
    )
    found = rerank_scores(first, second, top=5)
    for row in range(4):
        top = np.argsort(-first[row])[:5]
        order = np.argsort(-found[row])
        assert order[:5].tolist() == sorted(top, key=lambda place, row=row: -second[row, place])
        assert order[5:].tolist() == np.argsort(-first[row])[5:].tolist()
    np.testing.assert_array_equal(
        np.argsort(-rerank_scores(first, second, top=100)), np.argsort(-second)
    )
    lift = float(first.max() - second.min()) + 1  # of all rows, for some of them
    np.testing.assert_array_equal(
        rerank_scores(first[1:3], second[1:3], top=5, known_lift=lift), found[1:3]
    )


def test_reranking_finds_what_the_instance_score_only_brings_near():
    keys, patients = np.arange(40), [""] * 40
    near = np.full((40, 40), 0.0, np.float32)
    for row in range(40):
        near[row, [(row + step) % 40 for step in range(8)]] = (
            1 + np.arange(8)[::-1] * -0.01
        )  # own report last of eight
    exact = np.eye(40, dtype=np.float32)
    found = instance_retrieval_metrics(near, exact, keys, patients, with_rerank=True)
    assert (
        found["instance/image to report/R@1"].value == 0
        and found["rerank/image to report/R@1"].value == 1
    )
    assert "rerank/image to report/R@1" not in instance_retrieval_metrics(
        near, exact, keys, patients
    )


@pytest.mark.fault("E5")
def test_equal_reports_are_all_right_and_constants_score_by_chance():
    keys, flat = np.repeat(np.arange(10), 2), np.zeros((20, 20), np.float32)
    assert instance_retrieval_metrics(flat, flat, keys, [""] * 20)[
        "instance/image to report/R@1"
    ].value == pytest.approx(0.1)
    swapped = np.eye(20, dtype=np.float32)[
        np.arange(20) ^ 1
    ]  # each image finds the other report that says the same
    assert (
        instance_retrieval_metrics(swapped, flat, keys, [""] * 20)[
            "instance/image to report/R@1"
        ].value
        == 1
    )


def test_a_hit_among_all_candidates_is_no_score():
    flat = np.zeros((8, 8))
    found = instance_retrieval_metrics(flat, flat, np.arange(8), [""] * 8)
    assert found["instance/image to report/R@5"].value == pytest.approx(5 / 8)
    assert found["instance/image to report/R@10"].value is None
    assert found["instance/image to report/R@10"].reason == "8 candidates"


@pytest.mark.parametrize("queries", [1, 7])
def test_a_few_queries_at_a_time_rank_as_all_at_once(queries, monkeypatch):
    instance, observation = (
        RNG.random((30, 30)).astype(np.float32).round(1) for _ in range(2)
    )  # with ties
    keys, patients = np.arange(30) // 2, [str(row % 11) for row in range(30)]
    whole = [
        instance_retrieval_metrics(instance, observation, keys, patients, with_rerank=True),
        class_retrieval_metrics(instance, observation, keys % 3, patients),
    ]
    monkeypatch.setattr("place_cxr.tasks.retrieval.QUERIES_AT_ONCE", queries)
    assert whole == [
        instance_retrieval_metrics(instance, observation, keys, patients, with_rerank=True),
        class_retrieval_metrics(instance, observation, keys % 3, patients),
    ]
    mixed = instance_retrieval_metrics(
        mix_scores(instance, observation), instance, keys, patients
    )  # all at once, as elsewhere
    assert [mixed[f"instance/{d}/median rank"] for d in ("image to report", "report to image")] == [
        whole[0][f"mix/{d}/median rank"] for d in ("image to report", "report to image")
    ]


def test_a_matrix_is_kept_as_it_is():
    table = RNG.random((5, 3)).astype(np.float32)
    kept = Predictions(
        {}, stack_cells([({"split": "test"}, {"row": range(5), "score": matrix_column(table)})])
    )
    np.testing.assert_array_equal(kept.matrix("score"), table)
    np.testing.assert_array_equal(
        Predictions({}, kept.table.slice(2, 2)).matrix("score"), table[2:4]
    )


def test_class_precision_in_closed_form():
    classes, patients = np.repeat([0, 1, 2, 3, 4], 20), [""] * 100
    perfect = (classes[:, None] == classes[None]).astype(np.float32)
    found = class_retrieval_metrics(perfect, perfect, classes, patients)
    for variant in ("instance", "observation", "mix", "rerank"):
        for direction in ("image to report", "report to image"):
            name = f"{variant}/{direction}, class/P@"
            assert [found[name + str(k)].value for k in (1, 5, 10, 100)] == pytest.approx(
                [1, 1, 1, 0.2]
            )
    flat = np.zeros_like(perfect)
    assert class_retrieval_metrics(flat, flat, classes, patients)[
        "mix/image to report, class/P@5"
    ].value == pytest.approx(0.2)
    few = class_retrieval_metrics(perfect[:9, :9], perfect[:9, :9], classes[:9], patients[:9])[
        "mix/image to report, class/P@10"
    ]
    assert few.value is None and few.reason == "9 candidates"


def test_a_class_is_one_finding_and_nothing_uncertain():
    def place(**labels):
        return exclusive_class(Study("s", "x", "", labels=labels), ("A", "B"))

    assert [place(A=1.0), place(B=1.0, A=0.0), place(C=1.0, B=1.0)] == [0, 1, 1]
    assert [place(), place(A=1.0, B=1.0), place(A=1.0, B=-1.0)] == [-1, -1, -1]


def zero(names=FINDINGS, **settings):
    return ZeroShotClassification(
        ZeroShotClassification.Settings.model_validate(settings), tuple(names)
    )


def test_prompt_sets(tmp_path):
    made = zero(["Edema"], prompts="chexzero").prompts()
    assert made["Edema"].positive == ("Edema",) and made["Edema"].negative == ("no Edema",)
    shipped = zero(["Edema", "Unheard of"]).prompts()
    assert list(shipped) == ["Edema"] and len(shipped["Edema"].positive) > 1
    with pytest.raises(PlaceError, match="PL-C030"):
        zero(["Unheard of"]).prompts()
    (tmp_path / "own.yaml").write_text("Mine: {positive: [it is there], negative: [it is not]}\n")
    assert list(zero(["Mine"], prompts=str(tmp_path / "own.yaml")).prompts()) == ["Mine"]


def test_one_class_of_several_from_words(data):
    one = [row for row in data.rows["test"] if exclusive_class(data.studies[row], FINDINGS) >= 0]
    seen = embed_studies(
        Seer(), data.pack.pixels, data.reports, np.array(one), data.studies, view=view
    )
    truth = np.array([exclusive_class(study, FINDINGS) for study in seen.studies])
    phrases = embed_phrases(Seer(), tokenize, prompt_sentences(PROMPTS))
    for pool in ("mean", "max"):
        tables = multi_class_scores(seen, phrases, PROMPTS, pool)
        assert (tables["observation"].argmax(1) == truth).mean() > 0.95
        np.testing.assert_allclose(tables["observation"].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(tables["observation"].std(0), 1, atol=1e-4)


def test_a_picture_whose_class_has_no_prompt_has_no_right_answer():
    """Two findings with prompts, one without: what is asked of the third cannot be answered, and is
    not counted.
    """
    said = {"fraction": 0.0, "seed": 0, "split": "test", "patient": [0, 1, 2]}
    true = {"A": [1.0, 0.0, 0.0], "B": [0.0, 1.0, 0.0], "C": [0.0, 0.0, 1.0]}
    columns = {f"truth.{name}": values for name, values in true.items()}
    columns |= {
        f"{variant}.{name}": true[name]
        for variant in similarity.SIMILARITY_VARIANTS
        for name in "AB"
    }
    constants = {name: said[name] for name in ("fraction", "seed", "split")}
    table = stack_cells([(constants, {"row": [0, 1, 2], "patient": said["patient"], **columns})])
    found = zero("ABC", kind="multi-class").score(Predictions({}, table))
    accuracy = found["mix/top-1 accuracy/all classes"]
    assert (accuracy.value, accuracy.n) == (1.0, 2)
    assert found["mix/auroc/C"].value is None and found["mix/f1/A"].value == 1.0
