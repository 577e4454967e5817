"""Sections of a report: what counts as a header, and what it is called here.

A header is a known name and a colon: at the start of a line or of the text, in capitals after a blank, or in any case
after the end of a sentence. Capitals on a line of their own need no colon, nor do findings and impression in any case.
A line that starts with capitals naming a view ("PORTABLE AP CHEST:") heads findings, unless a findings section with
text exists. All other words with a colon ("Left knee:", "HEART:") are text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMES = {
    "findings": """findings, finding, findigns, finidngs, findins, fndings, findngs, imaging findings, imaging notes,
        radiographic findings, chest findings, observations, description""",
    "impression": """impression, impressions, impresson, impresion, impressoin, impreession, imression, imprression,
        conclusion, conclusions, opinion, summary, interpretation, final impression, findings and impression,
        impression and findings, findings/impression, impression/findings, findings & impression,
        summary of findings""",
    "indication": """indication, indications, inidication, indcation, clinical indication, clinical indications,
        reason for exam, reason for examination, reason for this examination, reason for study, reason for the exam,
        reason for request, clinical information, clinical details, clinical question, clinical data, underlying
        medical condition, medical condition""",
    "history": "history, clinical history, patient history, medical history, clinical context, pfi, hpi, case history",
    "comparison": """comparison, comparisons, comparsion, comparision, comparisions, comparison study, comparison
        studies, comparison exam, comparison films, prior studies, prior study, old comparison, compared to""",
    "technique": "technique, techniques, techinique, procedure, protocol, views, projection, projections",
    "examination": """examination, exam, examinations, exam type, type of exam, type of examination, study, modality,
        exam date, date, date of exam, time, accession number, patient name, patient id""",
    "recommendations": "recommendation, recommendations, recommendation(s), recommedation, recommendations/plan, plan",
    "notification": """notification, notifications, notificaton, communication, critical results, critical result,
        critical findings communication""",
    "presentation": "presentation, case presentation",
    "discussion": "discussion, case discussion",
    "addendum": "addendum, addenda",
    "wet read": "wet read, wet reading, preliminary report",
    "signature": """signed, signed by, electronically signed by, dictated by, interpreted by, reported by, transcribed
        by, transcriptionist, radiologist, attending, attending radiologist, resident""",
    "preamble": "final report, radiology report, report, final reading",
}
NAMES = {" ".join(name.split()): ours for ours, names in _NAMES.items() for name in names.split(",")}
# Sections that never describe the picture; text before headers may, and a case's story.
NO_OBSERVATION = frozenset(_NAMES) - {"findings", "impression", "presentation", "discussion", "preamble"}
_WORDS = max(name.count(" ") for name in NAMES) + 1
_LAST = frozenset(re.split("[ /]", name)[-1] for name in NAMES)
_LONGEST = 60  # characters of a header
_VIEW = re.compile(
    r"\b(?:VIEWS?|RADIOGRAPHS?|FILMS?|X-?RAYS?|CXR|PORTABLE|FRONTAL|LATERAL|SUPINE|SEMI-?UPRIGHT|UPRIGHT|ERECT|AP|PA)\b"
)
_VIEW_LINE = re.compile(r"[A-Z][A-Z ()/,&-]*")
_BARE = re.compile(r"^([A-Za-z][A-Za-z()/& ]{2,40}[A-Za-z)])$", re.M)
_DESCRIBE = frozenset(("findings", "impression"))


@dataclass(frozen=True, slots=True)
class Header:
    """``name`` of the section whose text starts at ``end``; ``start``: where the header itself starts."""

    name: str
    start: int
    end: int


def find_headers(text: str) -> list[Header]:
    """Headers of a cleaned text in order. Linear: each colon looks at no more than 60 characters before it."""
    found: list[Header] = []
    taken = 0
    position = text.find(":")
    while position >= 0:
        if header := _before_colon(text, taken, position, described=bool(found) and found[-1].name in _DESCRIBE):
            found.append(header)
            taken = header.end
        position = text.find(":", position + 1)
    found += [header for header in map(_alone, _BARE.finditer(text)) if header]
    return sorted(found, key=lambda header: header.start)


def _before_colon(text: str, taken: int, colon: int, *, described: bool) -> Header | None:
    floor = max(taken, colon - _LONGEST)
    line = max(text.rfind("\n", floor, colon) + 1, floor)
    words = text[line:colon].split()
    if not words:
        return None
    whole = line == 0 or line == taken or text[line - 1] == "\n"
    line_text = " ".join(words)
    if whole and (name := NAMES.get(line_text.lower().lstrip("*#[( "))):
        return Header(name, line, colon + 1)
    if whole and _views(line_text, described):
        return Header("views", line, colon + 1)
    if words[-1].lower().rsplit("/", 1)[-1].lstrip("*#[(") in _LAST:
        for count in range(min(_WORDS, len(words) - 1), 0, -1):
            name = NAMES.get(" ".join(words[-count:]).lower())
            if name and _stands(words, count):
                return Header(name, colon - len(" ".join(words[-count:])), colon + 1)
    return None


def _views(line: str, described: bool) -> bool:
    """Whether capitals name views; CHEST alone does so only outside findings and impression (``described``)."""
    named = _VIEW.search(line) is not None or (line == "CHEST" and not described)
    return named and _VIEW_LINE.fullmatch(line) is not None


def _stands(words: list[str], count: int) -> bool:
    """Whether the last ``count`` of ``words`` may be a header inside a line."""
    return words[-count - 1][-1] in ".!?)]" or "".join(words[-count:]).isupper()


def _alone(found: re.Match[str]) -> Header | None:
    line = found[1]
    name = NAMES.get(line.lower())
    if name and (line.isupper() or name in _DESCRIBE):
        return Header(name, found.start(), found.end())
    return None


def section_texts(text: str, headers: list[Header]) -> dict[str, str]:
    """Our name -> text. Of a repeated section the last one that has text counts; empty sections are left out.

    Text before the first header, and boilerplate lines such as FINAL REPORT with what follows them, is "preamble".
    """
    starts = [*(header.start for header in headers), len(text)]
    found: dict[str, str] = {}
    opening = text[: starts[0]].strip()
    for header, end in zip(headers, starts[1:], strict=True):
        if part := text[header.end : end].strip():
            name = "preamble" if header.name == "preamble" and opening else header.name
            found[name] = f"{opening}\n\n{part}" if name == "preamble" and opening else part
    if opening:
        found.setdefault("preamble", opening)
    views = found.pop("views", "")
    if views:
        found.setdefault("findings", views)
    return found
