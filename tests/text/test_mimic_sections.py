"""MIMIC sections and MGCA's text: the published functions' results, closed forms, and time."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from place_cxr.text.mimic_sections import (
    KEPT_SECTIONS,
    canonical_section_name,
    find_sections,
    mgca_sentences,
    read_kept_sections,
)


def test_as_the_published_sections(test_data: Path) -> None:
    oracle = json.loads((test_data / "oracles" / "mimic_sections.json").read_text())
    for case in oracle["cases"]:
        sections = find_sections(case["text"])
        assert [section.text for section in sections] == case["sections"]
        assert [section.name for section in sections] == case["section_names"]
        assert [section.start for section in sections] == case["section_starts"]
        assert {
            name: read_kept_sections(case["text"]).get(name, "") for name in KEPT_SECTIONS
        } == case["csv_row"]
        chosen = next(iter(read_kept_sections(case["text"]).values()), "")
        assert chosen == case["chosen_text"]
    assert len(oracle["cases"]) > 5
    for name in oracle["names"]:
        assert canonical_section_name(name["header"]) == name["normalised"]


def test_as_the_published_captions(test_data: Path) -> None:
    cases = json.loads((test_data / "oracles" / "mgca_captions.json").read_text())["cases"]
    assert [mgca_sentences(case["impression"], case["findings"]) for case in cases] == [
        case["sentences"] or [] for case in cases
    ]


@pytest.mark.fault("T2")
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("\n FINDINGS:  A.\n \n IMPRESSION:  B.", {"findings": "A.", "impression": "B."}),
        ("\n FINDINGS:  A.\n FINDINGS:  C.", {"findings": "C."}),
        ("\n FINDINGS:  A.\n FINDINGS: \n", {"findings": "A."}),
        ("\n CONCLUSION:  A.", {"impression": "A."}),
        ("\n FINDINGS AND IMPRESSION:  A.", {"impression": "A."}),
        ("\n FINIDNGS:  A.", {"findings": "A."}),
        ("\n PA AND LATERAL CHEST:  A.", {"findings": "A."}),
        ("\n AP AND LAT:  A.", {}),
        ("\n Findings:  A.", {}),
        ("\nFINDINGS:  A.", {}),
        ("\n FINDINGS 2:  A.", {}),
        ("\n FINDINGS:A.", {}),
        ("\n HISTORY:  A.\n \n B.\n \n C.", {"last_paragraph": "B.\n \n C."}),
        ("\n COMPARISON:  A.", {"comparison": "A."}),
        ("No headers.", {}),
        ("", {}),
    ],
)
def test_what_counts_as_a_section(text: str, kept: dict[str, str]) -> None:
    assert read_kept_sections(text) == kept


@given(st.text(alphabet="AB:\n ()x.", max_size=60))
def test_nothing_is_lost_and_nothing_added(text: str) -> None:
    """Sections are pieces of the text, in order, from their starts on (the last paragraph's start
    is approximate).
    """
    end = 0
    for section in find_sections(text):
        if section.name != "last_paragraph":
            assert text[section.start : section.start + len(section.text)] == section.text
            assert section.start >= end
            end = section.start + len(section.text)


@given(st.text(max_size=60), st.text(max_size=60))
def test_mgca_sentences_are_lower_case_words(impression: str, findings: str) -> None:
    sentences = mgca_sentences(impression, findings)
    words = " ".join(sentences)
    assert words.isascii() and words == words.lower() and "\n" not in words
    assert not sentences or len(words.split()) >= 3


@pytest.mark.fault("T3")
def test_long_texts_take_linear_time() -> None:
    for piece in ("\n FINDINGS:  A.\n", "\n A", "A " * 50, "\n FINDINGS:\n", "\n \n"):
        started = time.perf_counter()
        find_sections(piece * (100_000 // len(piece)))
        assert time.perf_counter() - started < 0.5
