"""The rule labeler on answers, sides, brackets, lists and doubt, as field reports write them.

``labeler_kinds_seen.json`` corrected the rules; ``labeler_kinds_fresh.json`` were written before
their first results were known (docs/labeler.md), and is kept so that what it showed stays mended.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest

from place_cxr.core.records import ABSENT, PRESENT, UNCERTAIN
from place_cxr.text.labeler import label_report, label_sentence

FOLDER = Path(__file__).parent
CASES = [
    *json.loads((FOLDER / "labeler_kinds_seen.json").read_text("utf-8")),
    *json.loads((FOLDER / "labeler_kinds_fresh.json").read_text("utf-8")),
]
VALUES = {"present": PRESENT, "uncertain": UNCERTAIN, "absent": ABSENT}
DATA = os.environ.get("PLACE_TEST_DATA", "")
needs_cases = pytest.mark.skipif(
    not (Path(DATA) / "cases").is_dir() or not DATA, reason="PLACE_TEST_DATA has no cases"
)
# The text states it, though the sample's answers leave it out.
ALSO_STATED = {
    "Neither the effusion nor the atelectasis has changed.": "Atelectasis",
    "Atelectasis at the base; pneumonia is less likely.": "Atelectasis",
}


def stated(text: str) -> dict[str, float]:
    """What a report says of each finding that it mentions."""
    values = label_report(text).values
    return {
        name: value
        for name, value in values.items()
        if name != "No Finding" and not math.isnan(value)
    }


@pytest.mark.parametrize("case", CASES, ids=[case["text"] for case in CASES])
def test_sentence_of_a_known_kind(case: dict[str, Any]) -> None:
    expected: dict[str, float] = {}
    for word, value in VALUES.items():
        expected |= dict.fromkeys(case.get(word, ()), value)
    assert stated(case["text"]) == expected


@needs_cases
def test_texts_of_public_bug_reports() -> None:
    wrong = []
    for line in (Path(DATA) / "cases" / "texts.jsonl").read_text("utf-8").splitlines():
        case = json.loads(line)
        if "want" not in case:
            continue

        values = label_report(case["text"]).values
        right = all(
            (None if math.isnan(values[name]) else values[name]) in allowed
            for name, allowed in case["want"].items()
        )
        also = stated(case["text"]).items() - {(ALSO_STATED.get(case["text"]), PRESENT)}
        extra = {name for name, value in also if value != ABSENT} - case["want"].keys()
        if extra or not right:
            wrong.append(case["text"])

    assert not wrong


@pytest.mark.parametrize(
    "piece",
    [
        "effusion: no ",
        "effusion no, ",
        "effusion? ",
        "(",
        "(no effusion) ",
        "((effusion ",
        "neither effusion nor edema has changed ",
        "effusion on the right, none on the left ",
        "no effusion; ",
        "base no ",
        "no: ",
    ],
)
def test_time_is_linear_in_answers_and_brackets(piece: str) -> None:
    label_sentence(piece)
    text = piece * (200_000 // len(piece))

    start = time.process_time()
    label_sentence(text)
    assert time.process_time() - start < 1.5  # a quadratic rule takes minutes
