"""Reports as other programs export them: markup, unknown headings, wrapped capitals, addenda."""

from __future__ import annotations

import json
import math
import os
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from place_cxr.text.labeler import label_report
from place_cxr.text.reports import clean_text, read_report

DATA = os.environ.get("PLACE_TEST_DATA", "")
needs_cases = pytest.mark.skipif(
    not DATA or not (Path(DATA) / "cases").is_dir(), reason="PLACE_TEST_DATA has no cases"
)
NO_PNEUMOTHORAX_BUT_EFFUSION = {"Pneumothorax": 0.0, "Pleural Effusion": 1.0}


def stated(text: str) -> dict[str, float]:
    """What a report says of each finding that it mentions."""
    values = label_report(text).values
    return {
        name: value
        for name, value in values.items()
        if name != "No Finding" and not math.isnan(value)
    }


RTF = r"""{\rtf1\ansi\deff0{\fonttbl{\f0 Times New Roman;}{\f1 Arial;}}
{\colortbl;\red0\green0\blue0;}{\*\generator Writer;}{\info{\author Effusion}}
\pard\b FINDINGS:\b0\par
No pneumothorax\par
small left pleural effu
sion.\par}"""


@pytest.mark.fault("T4")
@pytest.mark.parametrize(
    "text",
    [
        "<p>No pneumothorax</p><p>small left pleural effusion</p>",
        "<table><tr><td>No pneumothorax</td></tr><tr><td>small effusion</td></tr></table>",
        "<DIV class='a'>No <b>pneumothorax</b></DIV>\n<div>small <i>effusion</i>.</div>",
        "<ol><li>No pneumothorax</li><li>Small effusion</li></ol>",
        "<text><paragraph>No pneumothorax</paragraph><paragraph>effusion</paragraph></text>",
        "<!-- a -->No pneumothorax<br/><br/>small effusion",
        "&lt;p&gt;No pneumothorax&lt;/p&gt;&lt;p&gt;small effusion&lt;/p&gt;",
        "&amp;lt;p&amp;gt;No pneumothorax&amp;lt;/p&amp;gt;small effusion",
        "No&nbsp;pneumothorax.&#xA0;Small&ensp;effusion.",
        "No pneumothorax&#13;&#10;&#13;&#10;small effusion",
        r"No pneumothorax\.br\\.br\small effusion",
        r"No pneumothorax\.br\Small effusion\.br\ ",
        "No pneumothorax~Small effusion",
        "No pneumothorax.~1. Small effusion.~",
        "NO PNEUMOTHORAX~SMALL EFFUSION",
        r"No pneumothorax\n\nsmall effusion",
        r"No pneumothorax\r\nSmall effusion",
        r"FINDINGS:\nNo pneumothorax.\nSmall effusion.",
        "No pneumothorax_x000D_\nSmall effusion",
        "No pneumothorax._x000D_\n_x000D_\nSmall effusion",
        RTF,
    ],
)
def test_markup_ends_sentences_and_is_no_text(text: str) -> None:
    assert stated(text) == NO_PNEUMOTHORAX_BUT_EFFUSION
    assert not set("<>\\{}&;~") & set(" ".join(read_report(text).sentences))


def test_signs_that_are_no_markup_stay() -> None:
    for text in (
        "Nodule < 5 mm and > 3 mm.",
        "R&D of <NAME>, a&b; ~3 cm.",
        "Effusion ~ 2 cm on the left.",
        "Seen on ___ and _x_.",
    ):
        assert clean_text(text) == text


def test_headings_are_found_behind_markup() -> None:
    text = r"<b>INDICATION:</b> fracture?<br>FINDINGS:<br>Small effusion."
    assert stated(text) == {"Pleural Effusion": 1.0}
    assert stated(r"INDICATION: fracture?\.br\IMPRESSION: Small effusion.") == {
        "Pleural Effusion": 1.0
    }


@pytest.mark.fault("T2")
@pytest.mark.parametrize(
    "text",
    [
        "INDICATION: fracture.\nRESULT: Small effusion.",
        "INDICATION: fracture.\nRESULTS:\nSmall effusion.",
        "TECHNIQUE: AP view.\nNARRATIVE: Small effusion.",
        "CLINICAL HISTORY: fracture.\nCOMMENT: Small effusion.",
        "HISTORY: fracture. COMMENTS: Small effusion.",
        "INDICATION: fracture.\nPLEURA: Small effusion.",
        "Indication: fracture.\nPleural spaces: Small effusion.",
        "INDICATION: fracture.\nLUNGS: Small effusion.\nIMPRESSION: Small effusion.",
        "INDICATION: fracture. PLEURA: Small effusion.",
        "Reason for the study: fracture\nRadiographic report: Small effusion.",
        "INDICATION: fracture.\nDEPICTION: Small effusion.",
        "COMPARISON: None.\nRead out: Small effusion.",
        "INDICATION: fracture.\nALLERGIES: none.\nFINDINGS: Small effusion.",
        "INDICATION: fracture.\nFINDINGS\nSmall effusion.",
    ],
)
def test_headings_that_end_an_indication(text: str) -> None:
    assert stated(text) == {"Pleural Effusion": 1.0}


def test_headings_of_organs_are_all_read() -> None:
    text = "INDICATION: fracture.\nLUNGS: No consolidation.\nPLEURA: Small effusion.\n"
    text += "HEART: Cardiomegaly.\nIMPRESSION: Small effusion."
    expected = {"Consolidation": 0.0, "Pleural Effusion": 1.0, "Cardiomegaly": 1.0}
    assert stated(text) == expected

    text = "FINDINGS\nNo edema.\nLUNGS: No consolidation.\nCOMMENT: Small effusion."
    assert stated(text) == {"Edema": 0.0, "Consolidation": 0.0, "Pleural Effusion": 1.0}


@pytest.mark.fault("T2")
def test_an_addendum_is_read_and_corrects() -> None:
    report = "FINDINGS: Small pneumothorax.\nIMPRESSION: Small pneumothorax.\n"
    added = label_report(report + "ADDENDUM: There is also a rib fracture.")
    assert added.values["Fracture"] == added.values["Pneumothorax"] == 1

    corrected = label_report(report + "ADDENDUM: Correction: no pneumothorax.")
    assert corrected.values["Pneumothorax"] == 0
    assert corrected.evidence["Pneumothorax"] == "Correction: no pneumothorax."

    before = "ADDENDUM: The report should read: no pneumothorax.\nFINAL REPORT\n"
    assert label_report(before + report).values["Pneumothorax"] == 0
    assert label_report(report + "ADDENDUM: Dr. X was informed.").values["Pneumothorax"] == 1


STATEMENTS = [
    "THE HEART SIZE IS NORMAL",
    "NO PLEURAL EFFUSION OR PNEUMOTHORAX IS SEEN",
    "A RIGHT PICC ENDS IN THE LOWER SVC",
    "MILD DEGENERATIVE CHANGES OF THE SPINE",
    "THERE IS NO CONVINCING EVIDENCE OF FOCAL AIRSPACE CONSOLIDATION",
    "SMALL LEFT APICAL PNEUMOTHORAX, UNCHANGED",
    "NO RIB FRACTURE",
    "LINEAR ATELECTASIS AT BOTH LUNG BASES IS LESS MARKED THAN BEFORE",
]


@pytest.mark.fault("T2")
def test_capitals_may_be_wrapped_anywhere() -> None:
    generator = np.random.default_rng(5)
    for _ in range(300):
        chosen = generator.choice(STATEMENTS, size=5, replace=False)
        plain = "FINDINGS: " + " ".join(f"{statement}." for statement in chosen)
        wrapped = "\n".join(textwrap.wrap(plain, int(generator.integers(40, 90))))
        assert read_report(wrapped).sentences == read_report(plain).sentences


def test_lines_of_capitals_without_stops_are_statements() -> None:
    text = "NO PNEUMOTHORAX\nSMALL LEFT EFFUSION\nNORMAL HEART"
    assert len(read_report(text).sentences) == 3
    text = "LUNGS: CLEAR.\nNO PNEUMOTHORAX.\nSMALL LEFT EFFUSION."
    assert len(read_report(text).sentences) == 3


@needs_cases
def test_wrapped_capitals_of_public_bug_reports() -> None:
    lines = (Path(DATA) / "cases" / "wrapped_capitals.jsonl").read_text("utf-8").splitlines()
    for case in map(json.loads, lines):
        assert read_report(case["wrapped"]).sentences == read_report(case["plain"]).sentences
        assert stated(case["wrapped"]) == stated(case["plain"])


@pytest.mark.fault("T3")
@pytest.mark.parametrize(
    "piece",
    ["<p ", "&amp;", "<<b>", "{", r"{\rtf1 ", r"\.br\\", "~", "_x005F_", "LUNGS: x\n", "A\n"],
)
def test_time_is_linear_in_markup(piece: str) -> None:
    text = r"{\rtf1 A heart. " + piece * (100_000 // len(piece))

    start = time.process_time()
    cleaned = clean_text(text)
    read_report("A HEART. B " + text[15:])
    assert time.process_time() - start < 1.5
    assert clean_text(cleaned) == cleaned
