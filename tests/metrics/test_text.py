"""Text metrics against pycocoevalcap, closed forms, a slow twin, and answers that should score
badly.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from place_cxr.core.errors import PlaceError
from place_cxr.metrics import meteor as meteor_module
from place_cxr.metrics.meteor import meteor
from place_cxr.metrics.text import (
    _bleu,
    _common_length,
    _count_matches,
    cider,
    rouge_l,
    text_scores,
    text_signature,
)
from place_cxr.metrics.words import TOKENIZERS
from tests.metrics import text_oracle

CASES = json.loads(text_oracle.FILE.read_text(encoding="utf-8"))
LISTS = st.lists(st.sampled_from("abcd"), max_size=12)


def bleu(generated, references):
    return _bleu(_count_matches(generated, references))(np.ones((1, len(references))))[0]


def split(texts):
    return [text.split() for text in texts]


@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_published_implementation(case):
    generated, references = split(case["generated"]), split(case["references"])
    np.testing.assert_allclose(bleu(generated, references), case["BLEU"], rtol=1e-9)
    np.testing.assert_allclose(rouge_l(generated, references), case["ROUGE-L"], rtol=1e-12)
    np.testing.assert_allclose(cider(generated, references), case["CIDEr"], rtol=1e-12, atol=1e-15)


def test_the_stored_values_are_those_of_the_package():
    pytest.importorskip("pycocoevalcap")
    for case in CASES:
        found = text_oracle.answer(case["generated"], case["references"])
        for name, values in found.items():
            np.testing.assert_allclose(values, case[name], rtol=1e-12)


def test_closed_forms():
    truth = [["a", "b", "c", "d", "e", "f"], ["g", "h", "i", "j"]]
    np.testing.assert_allclose(bleu(truth, truth), 1.0)
    np.testing.assert_allclose(rouge_l(truth, truth), 1.0)
    np.testing.assert_allclose(cider(truth, truth), 10.0)
    # Half as long, all right: precision 1 and brevity exp(1 - 2).
    half = [["a", "b", "c"], ["g", "h"]]
    np.testing.assert_allclose(bleu(half, truth)[:2], math.exp(1 - 10 / 5))
    # One repeated word counts once: 1 of 4 words.
    assert bleu([["a"] * 4], [["a", "b", "c", "d"]])[0] == pytest.approx(0.25)
    # Common subsequence 2 of 4 and of 2: F with beta 1.2.
    assert rouge_l([["a", "x", "y", "b"]], [["a", "b"]])[0] == pytest.approx(
        2.44 * 0.5 / (1 + 1.44 * 0.5)
    )


def slow_common(first, second):
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


@settings(max_examples=50)
@given(LISTS, LISTS)
def test_common_subsequence_equals_its_table(first, second):
    assert (
        _common_length(first, second) == _common_length(second, first) == slow_common(first, second)
    )


@settings(max_examples=25)
@given(st.lists(st.tuples(LISTS, LISTS.filter(len)), min_size=1, max_size=6), st.randoms())
def test_order_of_reports_does_not_matter_and_values_are_in_range(pairs, rng):
    shuffled = rng.sample(pairs, len(pairs))
    for pair in (bleu, lambda g, t: rouge_l(g, t).mean(), lambda g, t: cider(g, t).mean()):
        first, second = (pair(*map(list, zip(*rows, strict=True))) for rows in (pairs, shuffled))
        np.testing.assert_allclose(first, second, atol=1e-12)
        assert np.all(np.asarray(first) >= 0) and np.all(np.asarray(first) <= 10 + 1e-9)


def test_a_resample_is_the_same_as_the_repeated_corpus():
    generated, references = split(CASES[0]["generated"]), split(CASES[0]["references"])
    counts = np.array([[2.0, 0, 1, 3] + [0] * 8])
    rows = [0, 0, 2, 3, 3, 3]
    repeated = bleu([generated[row] for row in rows], [references[row] for row in rows])
    np.testing.assert_allclose(_bleu(_count_matches(generated, references))(counts)[0], repeated)


REFERENCES = [
    "The lungs are clear. No effusion.",
    "Small left effusion with atelectasis at the base.",
    "The lungs are clear. Heart size is normal.",
    "The lungs are clear. No effusion.",
]


def values(generated, references=REFERENCES, **options):
    scores = text_scores(
        generated, references, ["a", "b", "c", "d"][: len(references)], n=50, **options
    )
    return {name: score.value for name, score in scores.items()}


def test_degenerate_answers_score_as_they_should():
    assert set(values([""] * 4).values()) == {0.0}
    assert set(values(["zzz"] * 4).values()) == {0.0}
    perfect, common, constant = (
        values(REFERENCES),
        values([REFERENCES[0]] * 4),
        values(["the the the the"] * 4),
    )
    for name in perfect:
        assert perfect[name] > common[name] >= constant[name], name
    assert perfect["BLEU-4"] == pytest.approx(1) and constant["BLEU-2"] == 0
    # CIDEr rewards what is rare: the most frequent report earns less of it than of BLEU.
    assert common["CIDEr"] / perfect["CIDEr"] < common["BLEU-1"]


def test_no_match_of_an_order_is_zero_and_the_published_smoothing_is_small():
    guess, truth = [["a", "b", "x"]], [["a", "y", "b"]]
    assert bleu(guess, truth)[1] == 0.0


def test_one_report_has_no_cider_and_says_why():
    score = text_scores(["No effusion."], ["No effusion."], ["a"], n=10)["CIDEr"]
    assert score.value is None and "one report" in score.reason


def test_intervals_hold_the_value_and_count_patients():
    scores = text_scores(REFERENCES[1:] + REFERENCES[:1], REFERENCES, ["a", "a", "b", "c"], n=200)
    for score in scores.values():
        assert score.low <= score.value <= score.high and score.n == 4


@pytest.mark.parametrize(
    ("generated", "references", "code"),
    [(["a"], ["a", "b"], "PL-D222"), (["a", "b"], ["a", " ... "], "PL-D228"), ([], [], "PL-D220")],
)
def test_refusals(generated, references, code):
    with pytest.raises(PlaceError) as caught:
        text_scores(generated, references, ["p"] * len(references))
    assert caught.value.code == code


def test_an_unknown_tokeniser_is_refused():
    with pytest.raises(PlaceError, match="r2gen-iu"):
        values(REFERENCES, tokenizer="r2gen_iu")


def test_the_tokeniser_moves_the_numbers_and_stands_in_the_signature():
    generated = [text.replace(".", "") for text in REFERENCES]
    assert (
        values(generated)["BLEU-1"] == pytest.approx(1)
        and values(generated, tokenizer="r2gen-iu")["BLEU-1"] < 1
    )
    assert "r2gen-iu" in text_signature("r2gen-iu") and text_signature("words") != text_signature(
        "r2gen-iu"
    )


def test_plain_words():
    assert TOKENIZERS["words"]("Approx. 1.5 cm, T12; NO oedema—left-sided.") == (
        ["approx", "1.5", "cm", "t12", "no", "oedema", "left", "sided"]
    )


def test_cleaning_equals_the_published_one(test_data: Path):
    cases = json.loads(
        (test_data / "oracles" / "r2gen_clean_report.json").read_text(encoding="utf-8")
    )["cases"]
    for case in cases:
        assert TOKENIZERS["r2gen-iu"](case["report"]) == case["clean_report_iu_xray"].split()
        assert TOKENIZERS["r2gen-mimic"](case["report"]) == case["clean_report_mimic_cxr"].split()
    assert len(cases) >= 8


def test_cleaning_cases_of_our_own():
    iu = TOKENIZERS["r2gen-iu"]
    assert iu("1. Mild. 2. No 1.5 cm nodule (new).") == [
        "mild",
        ".",
        "no",
        "15",
        "cm",
        "nodule",
        "new",
        ".",
    ]
    assert iu("A/B, 6. C.") == ["ab", "6", ".", "c", "."] and iu("") == ["."]


def test_meteor_says_why_it_has_no_value(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "Java" in meteor(["a"], ["a"]).reason
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    monkeypatch.setattr(meteor_module, "_jar", lambda: None)
    assert "place-cxr[meteor]" in meteor(["a"], ["a"]).reason
    monkeypatch.setattr(meteor_module, "_jar", lambda: Path("x.jar"))
    assert meteor(["a"], ["a"]).value is None and "did not finish" in meteor(["a"], ["a"]).reason
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/true")
    assert "no score" in meteor(["a"], ["a"]).reason


@pytest.mark.slow
def test_meteor_where_java_is():
    pytest.importorskip("pycocoevalcap")
    if shutil.which("java") is None:
        pytest.skip("no java command")
    score = meteor([*REFERENCES[:3], "zzz"], REFERENCES)
    assert 0.3 < score.value < 0.95 and score.n == 4
