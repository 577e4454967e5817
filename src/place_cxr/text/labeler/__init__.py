"""Rule labeler: the value of each of the 14 CheXpert findings in a report.

Its limits are in docs/labeler.md.
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
    """``values`` maps each of CHEXPERT_FINDINGS to PRESENT, ABSENT, UNCERTAIN or NOT_MENTIONED.

    ``evidence`` holds, for each mentioned finding, the first sentence that gives it its value. "No
    Finding" has no evidence: it follows from the whole report.
    """

    values: Mapping[str, float]
    evidence: Mapping[str, str]


def label_report(text: str) -> ReportLabels:
    """Labels of one report, from its observations (``reports.read_report``).

    Over sentences, present wins over uncertain, uncertain over absent, except that an addendum that
    corrects the report wins over the text before it. "No Finding" is present
    where the report mentions a finding, but states or suspects neither one (devices aside) nor
    another abnormality; else it is not mentioned, never absent. A text without a sentence mentions
    nothing. Linear in the length of ``text``.
    """
    try:
        report = read_report(text)
    except PlaceError:
        return ReportLabels(dict.fromkeys(CHEXPERT_FINDINGS, NOT_MENTIONED), {})

    values: dict[str, float] = {}
    evidence: dict[str, str] = {}
    corrected: dict[str, float] = {}  # by an addendum, whatever the text before it says
    first_correction = len(report.sentences)
    if report.corrected_from is not None:
        first_correction = report.corrected_from
    for i, sentence in enumerate(report.sentences):
        if not report.is_observation[i]:
            continue
        known = values if i < first_correction else corrected
        for name, value in label_sentence(sentence).items():
            if keep_strongest(known, name, value):
                evidence[name] = sentence

    values |= corrected
    evidence.pop(OTHER_ABNORMALITY, None)

    # Devices are no abnormality; an abnormality outside the 14 findings is one.
    abnormal = any(value != ABSENT and name != "Support Devices" for name, value in values.items())
    if values and not abnormal:
        values["No Finding"] = PRESENT

    labels = {name: values.get(name, NOT_MENTIONED) for name in CHEXPERT_FINDINGS}
    return ReportLabels(labels, evidence)
