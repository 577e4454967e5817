"""The parts of the tasks: scores, prompts, the few-label shares, the logistic fit, result files."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box, Study
from place_cxr.core.results import Metric, Provenance, Result, split_digest
from place_cxr.metrics.classification import auroc
from place_cxr.tasks import TASKS, similarity
from place_cxr.tasks.engine import make_task
from place_cxr.tasks.fractions import nested_fraction_rows
from place_cxr.tasks.labels import label_table
from place_cxr.tasks.linear_probe import best_probe, fit_logistic, probe_scores
from place_cxr.tasks.prompts import make_phrase_tokenizer, read_prompts
from place_cxr.tasks.report_generation import ReportSettings
from place_cxr.tasks.task import HeadSettings
from place_cxr.tasks.zero_shot import prompt_sentences
from place_cxr.text.tokenizer import Tokenizer


def unit(*shape, seed):
    vectors = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_observation_score_equals_a_loop(monkeypatch):
    visual, textual = unit(5, 3, 4, seed=0), unit(6, 2, 4, seed=1)
    mask = np.array([[True, s % 2 == 0] for s in range(6)])
    expected = np.zeros((5, 6))
    for i in range(5):
        for j in range(6):
            found = []
            for s in np.flatnonzero(mask[j]):
                z = visual[i] @ textual[j, s]
                a = np.exp(z / 0.1) / np.exp(z / 0.1).sum()
                context = a @ visual[i]
                found.append(context @ textual[j, s] / np.linalg.norm(context))
            expected[i, j] = np.mean(found)
    np.testing.assert_allclose(
        similarity.observation_scores(visual, textual, mask), expected, atol=1e-5
    )
    monkeypatch.setattr(similarity, "_TRIPLES_AT_ONCE", 1)
    np.testing.assert_allclose(
        similarity.observation_scores(visual, textual, mask), expected, atol=1e-5
    )


def test_mix_does_not_depend_on_scale_and_leaves_a_constant_out():
    first, second = unit(6, 4, seed=2), unit(6, 4, seed=3)
    for axis in (None, 0):
        mixed = similarity.mix_scores(first, second, axis=axis)
        np.testing.assert_allclose(
            similarity.mix_scores(100 * first, second / 7, axis=axis), mixed, rtol=1e-4
        )
    np.testing.assert_allclose(
        similarity.mix_scores(first, np.ones_like(first)), first / first.std() / 2, rtol=1e-5
    )


def test_prompts_are_read_and_ordered(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(
        "Effusion:\n  positive: [fluid]\n  negative: [no fluid, clear]\n  grounding: '{side} "
        "effusion'\n"
    )
    prompts = read_prompts(file)
    assert prompt_sentences(prompts) == ["fluid", "no fluid", "clear"]
    assert prompts["Effusion"].phrase("left") == "left effusion"
    assert prompts["Effusion"].phrase("") == "effusion"


@pytest.mark.fault("T5")
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no findings"),
        ("A: {positive: [], negative: [b]}", "A.positive"),
        ("A: {positive: [a], negative: ['  ']}", "empty"),
        ("A: {positive: ['{finding}'], negative: [b]}", "only field"),
        ("A: {positive: [a], negative: [b], grounding: '{where} a'}", "only field"),
        ("A: {positive: [a], negative: [b]}\nA: {positive: [c], negative: [d]}", "named twice"),
        ("A: {positive: [a], negative: [b], colour: red}", "colour"),
        ("A: [", "not a readable"),
    ],
)
def test_wrong_prompts_are_refused_before_anything_runs(tmp_path, text, what):
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(PlaceError, match=what) as caught:
        read_prompts(file)
    assert caught.value.code == "PL-C030"


@pytest.mark.fault("T5")
def test_a_phrase_becomes_a_report_of_one_observation_and_is_never_cut():
    tokenizer = Tokenizer.train(["small left pleural effusion", "no pneumothorax"] * 50, 300)
    encoded = make_phrase_tokenizer(tokenizer, 40)(["left effusion", "no pneumothorax"])
    assert encoded.sentence_key.shape == (2, 1) and (encoded.sentence_key != 0).all()
    assert (encoded.sentence == 0).any(1).all()
    with pytest.raises(PlaceError, match="PL-C031"):
        make_phrase_tokenizer(tokenizer, 4)(["small left pleural effusion"])


def study(number, patient="", **labels):
    return Study(f"s{number}", "x", "", patient, labels=labels)


@pytest.mark.fault("S8")
def test_shares_are_nested_by_patient_and_by_seed():
    studies = [study(i, f"p{i // 3}") for i in range(300)]
    small, large, whole = (
        set(nested_fraction_rows(studies, f, 4).tolist()) for f in (0.01, 0.1, 1.0)
    )
    assert small < large < whole and len(small) == 3 and len(large) == 30 and len(whole) == 300
    assert all({3 * (r // 3) + k for k in range(3)} <= large for r in large)  # whole patients
    assert (
        set(nested_fraction_rows(studies, 0.1, 4).tolist())
        == large
        != set(nested_fraction_rows(studies, 0.1, 5).tolist())
    )
    assert (
        len(nested_fraction_rows([study(i) for i in range(50)], 0.1, 0)) == 5
    )  # no patient given: each row its own


def test_logistic_fit_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12))  # correlated, as features are
    x = (x - x.mean(0)) / x.std(0)
    y = (x @ rng.normal(size=(12, 3)) + rng.normal(size=(200, 3)) > 0.5).astype(float)
    y[:40, 1] = np.nan
    for penalty, (weight, bias) in zip((1.0, 1e-3), fit_logistic(x, y, (1.0, 1e-3)), strict=True):
        for column in range(3):
            known = ~np.isnan(y[:, column])
            oracle = LogisticRegression(C=1 / (penalty * known.sum()), tol=1e-10, max_iter=10_000)
            oracle.fit(x[known], y[known, column])
            np.testing.assert_allclose(weight[:, column], oracle.coef_[0], atol=2e-3)
            assert bias[column] == pytest.approx(oracle.intercept_[0], abs=2e-3)


def test_one_class_of_several_is_at_the_optimum_of_the_softmax() -> None:
    """Where the gradient is zero, a shift of all logits changes nothing, and penalties from strong
    to weak are kept.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 4))
    x = (x - x.mean(0)) / x.std(0)
    own = (x[:, :3] + rng.gumbel(size=(90, 3))).argmax(1)
    y = np.eye(3)[own]
    for penalty, (weight, bias) in zip(
        (1.0, 1e-2), fit_logistic(x, y, (1.0, 1e-2), multi_class=True), strict=True
    ):
        logits = x @ weight + bias
        chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(x.T @ (chance - y) / 90 + penalty * weight, 0, atol=1e-5)
        np.testing.assert_allclose((chance - y).mean(0), 0, atol=1e-5)
    weight, bias = best_probe(
        x.astype(np.float32) * 5 + 2, y, x.astype(np.float32) * 5 + 2, y, multi_class=True
    )
    assert (((x * 5 + 2) @ weight + bias).argmax(1) == own).mean() > 0.6


def test_penalty_is_chosen_on_validation_and_the_strongest_wins_a_tie():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(120, 30)).astype(np.float32)
    labels = (features[:, :1] + rng.normal(size=(120, 1)) > 0).astype(float)
    rows = slice(0, 60), slice(60, 90)
    train, val = ((features[s], labels[s]) for s in rows)
    fits = [
        best_probe(*train, val[0], quality)
        for quality in (val[1], 1 - val[1], np.full((30, 1), np.nan))
    ]
    norms = [float(np.linalg.norm(weight)) for weight, _ in fits]
    assert (
        norms[2] < norms[0] and norms[2] <= norms[1]
    )  # no label to choose by: the strongest penalty
    quality = [auroc(val[1][:, 0], (val[0] @ weight + bias)[:, 0]) for weight, bias in fits]
    assert quality[0] >= max(quality)
    weight, bias = fits[0]
    np.testing.assert_allclose(probe_scores(*train, *val, features), features @ weight + bias)


@pytest.mark.fault("E1")
def test_labels_by_name_with_missing_ones_unknown():
    table = label_table([study(0, A=1.0), study(1, B=0.0, A=-1.0)], ["B", "A"])
    np.testing.assert_array_equal(table, [[np.nan, 1], [0, np.nan]])
    with pytest.raises(PlaceError, match="row 1"):
        label_table([study(0, A=1.0), study(1, A=2.0)], ["A"])


@pytest.mark.fault("S7")
def test_digest_is_of_the_split_and_not_of_its_order():
    studies = [study(i, f"p{i}") for i in range(5)]
    assert split_digest(studies) == split_digest(studies[::-1])
    assert split_digest(studies) != split_digest(studies[:4])
    assert split_digest(studies) != split_digest(
        [dataclasses.replace(studies[0], patient="q"), *studies[1:]]
    )


def result(**metrics):
    return Result.of(
        "t", Provenance("s", "test", "d", "m"), metrics, signature="x", seeds=(0,), seconds=1.0
    )


@pytest.mark.fault("E2")
def test_undefined_is_null_in_json_and_needs_a_reason(tmp_path):
    path = result(a=Metric(None, None, None, 3, "no present rows")).write(tmp_path)
    stored = json.loads(path.read_text("utf-8"))
    assert stored["metrics"]["a"] == {
        "value": None,
        "ci95": None,
        "n": 3,
        "reason": "no present rows",
    }
    for bad in (Metric(None), Metric(float("nan"), n=1), Metric(1.0, float("-inf"), 1.0, 1)):
        with pytest.raises(ValueError, match="metric a"):
            result(a=bad).write(tmp_path)
    assert json.loads(path.read_text("utf-8")) == stored


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"schema": 99}', '{"schema": 1, "task": "t"}'])
def test_files_that_are_no_result_are_refused(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(PlaceError, match="PL-R020"):
        Result.read(tmp_path)


def test_settings_of_a_head_are_told_in_words():
    taught = "batch size 32, AdamW 0.001 to 1e-06, warmup 0.05, weight decay 0.0001"
    assert HeadSettings().in_words() == f"steps 300, {taught}, checks 5"
    assert (
        HeadSettings(epochs=2, patience=3).in_words() == f"epochs 2, {taught}, patience 3"
    )  # steps do not count
    assert (
        "AdamW 1e-07 to 1e-07, warmup 0, " in HeadSettings(lr=1e-7, warmup=0).in_words()
    )  # 0 where it is not so
    told = ReportSettings(vpors=False, meteor=True, lr=0.5).in_words("beams")
    assert (
        "Muon 0.5 to 1e-06" in told
        and "no vpors, meteor, decoder (width 128, heads 4, layers 2, " in told
    )
    assert "findings" not in told and "examples" not in told and "beams" not in told


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
@pytest.mark.parametrize("profile", ["strict", "mgca"])
def test_rules_are_words(profile, mode):
    box, mask = Box("Edema", 0, 0, 9, 9), Path("m.png")
    study = Study(
        "i",
        Path("x.png"),
        "edema.",
        labels={"Edema": 1.0},
        masks={"Edema": mask},
        boxes=(box,),
        view="PA",
    )
    for name in TASKS:
        said = make_task(name, [study], profile=profile, mode=mode).signature()
        assert said and not set(said) & set("{}[]") and "':" not in said and "False" not in said
