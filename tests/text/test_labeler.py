"""The rule labeler: frozen hard sentences, whole reports, and what must hold for any text."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from place_cxr.core.records import ABSENT, PRESENT, UNCERTAIN
from place_cxr.text.labeler import CHEXPERT_FINDINGS, label_report, label_sentence
from place_cxr.text.labeler.phrases import find_spans, tokenize_sentence
from place_cxr.text.labeler.statements import OTHER_ABNORMALITY

HARD = json.loads((Path(__file__).parent / "labeler_sentences.json").read_text(encoding="utf-8"))
VALUES = {"present": PRESENT, "uncertain": UNCERTAIN, "absent": ABSENT}


def test_the_set_is_large_and_each_finding_stands_in_it_with_each_value() -> None:
    assert len({case["text"] for case in HARD}) >= 150
    for word in VALUES:
        seen: set[str] = set().union(*(case.get(word, ()) for case in HARD))
        assert seen == set(CHEXPERT_FINDINGS[1:]), word


@pytest.mark.parametrize("case", HARD, ids=[case["text"] for case in HARD])
def test_hard_sentence(case: dict[str, object]) -> None:
    labels = label_sentence(str(case["text"]))
    labels.pop(OTHER_ABNORMALITY, None)

    expected: dict[str, float] = {}
    for word, value in VALUES.items():
        expected |= dict.fromkeys(case.get(word, ()), value)  # type: ignore[call-overload]
    assert labels == expected


def test_present_wins_over_uncertain_over_absent_and_the_first_such_sentence_is_evidence() -> None:
    text = "No effusion. Possible effusion. Small effusion. Large effusion. "
    text += "Possible edema. No edema. No pneumothorax."
    labels = label_report(text)
    assert (
        labels.values["Pleural Effusion"] == PRESENT
        and labels.evidence["Pleural Effusion"] == "Small effusion."
    )
    assert labels.values["Edema"] == UNCERTAIN and labels.evidence["Edema"] == "Possible edema."
    assert labels.values["Pneumothorax"] == ABSENT
    assert math.isnan(labels.values["Fracture"]) and "Fracture" not in labels.evidence
    assert tuple(labels.values) == CHEXPERT_FINDINGS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The lungs are clear. Heart size is normal.", PRESENT),
        ("No acute process. Right PICC in place.", PRESENT),
        ("Small effusion.", math.nan),
        ("Possible effusion.", math.nan),
        ("The lungs are clear. Large hiatal hernia.", math.nan),
        ("PA and lateral views of the chest were obtained.", math.nan),
        ("", math.nan),
        ("___", math.nan),
    ],
)
def test_no_finding(text: str, value: float) -> None:
    assert label_report(text).values["No Finding"] == pytest.approx(value, nan_ok=True)


def test_only_what_describes_the_image_is_read() -> None:
    text = "INDICATION: Rule out pneumothorax, fracture.\nFINDINGS: Small effusion.\n"
    text += "IMPRESSION: No pneumothorax."
    labels = label_report(text)
    assert labels.values["Pneumothorax"] == ABSENT and math.isnan(labels.values["Fracture"])


def test_case_blanks_and_hyphens_do_not_matter() -> None:
    for text in (
        "No AIRSPACE opacity,  small LEFT-SIDED effusion",
        "no air-space opacity , small left sided effusion.",
    ):
        assert label_sentence(text) == {"Lung Opacity": ABSENT, "Pleural Effusion": PRESENT}


def test_the_longest_phrase_counts_and_short_forms_are_written_out() -> None:
    assert tokenize_sentence("R/o pneumonia w/o effusion.") == [
        "rule",
        "out",
        "pneumonia",
        "without",
        "effusion",
    ]
    assert [
        span.kind for span in find_spans(tokenize_sentence("no change in the pericardial effusion"))
    ] == [
        "unchanged",
        "term",
    ]
    assert label_sentence("Pericardial effusion.") == {OTHER_ABNORMALITY: PRESENT}


WORDS = sorted(set().union(*(tokenize_sentence(case["text"]) for case in HARD)))


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
def test_any_text_gets_labels(text: str) -> None:
    labels = label_report(text)
    assert all(
        math.isnan(value) or value in (PRESENT, ABSENT, UNCERTAIN)
        for value in labels.values.values()
    )
    assert set(labels.evidence) == {n for n, v in labels.values.items() if not math.isnan(v)} - {
        "No Finding"
    }


@pytest.mark.parametrize(
    "piece",
    [
        "no effusion, ",
        "effusion resolved and ",
        "effusion cannot be excluded ",
        "heart and lungs ",
        "not ",
    ],
)
def test_time_is_linear(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))

        start = time.process_time()
        label_sentence(text)
        return time.process_time() - start

    label_sentence(piece)
    assert seconds(200_000) < 1.5  # a quadratic rule takes minutes


def test_the_example_of_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "labeler.md").read_text("utf-8")
    [code] = re.findall(r"^```python\n(.+?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # the example of our own page
    labels = names["labels"]
    assert labels.values["Pneumothorax"] == 1
    assert "small pneumothorax" in labels.evidence["Pneumothorax"]
