"""Rule labeller: what a report says of the 14 CheXpert findings. See docs/labeler.md for what it
cannot do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, NOT_MENTIONED, PRESENT
from place_cxr.text.labeler.statements import OTHER_ABNORMALITY, keep_strongest, label_sentence
from place_cxr.text.labeler.terms import CHEXPERT_FINDINGS
from place_cxr.text.reports import read_report

__all__ = ["CHEXPERT_FINDINGS", "ReportLabels", "label_report", "label_sentence"]


@dataclass(frozen=True, slots=True)
class ReportLabels:
    """``values`` maps each of CHEXPERT to PRESENT, ABSENT, UNCERTAIN or NOT_MENTIONED (NaN).

    ``decided`` holds, for each mentioned finding, the first sentence that says so as strongly as
    the report does; "No Finding" is decided by no single sentence.
    """

    values: Mapping[str, float]
    evidence: Mapping[str, str]


def label_report(text: str) -> ReportLabels:
    """Labels of one report, from the sentences that tell something about the picture
    (``reports.read_report``).

    Over sentences, present wins over uncertain, uncertain over absent. "No Finding" is present
    where the report says something and states or suspects no finding but devices and no other
    abnormality; it is never absent, and not mentioned otherwise. A text without a sentence mentions
    nothing. Linear in the length of ``text``.
    """
    try:
        report = read_report(text)
    except PlaceError:
        return ReportLabels(dict.fromkeys(CHEXPERT_FINDINGS, NOT_MENTIONED), {})
    values: dict[str, float] = {}
    evidence: dict[str, str] = {}
    for sentence, is_observation in zip(report.sentences, report.is_observation, strict=True):
        for name, value in (label_sentence(sentence) if is_observation else {}).items():
            if keep_strongest(values, name, value):
                evidence[name] = sentence
    evidence.pop(OTHER_ABNORMALITY, None)
    if values and all(
        value == ABSENT or name == "Support Devices" for name, value in values.items()
    ):
        values["No Finding"] = PRESENT
    return ReportLabels(
        {name: values.get(name, NOT_MENTIONED) for name in CHEXPERT_FINDINGS}, evidence
    )
