"""Sections of a report: what counts as a header, and what it is called here.

A header is a known name and a colon: at the start of a line or of the text, in capitals after a
blank, or in any case after the end of a sentence. Capitals on a line of their own need no colon,
nor do findings and impression in any case. A line that starts with capitals that name a view
("PORTABLE AP CHEST:") heads findings, unless there is a findings section with text. All other words
with a colon ("Left knee:", "HEART:") are text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Our name -> the headers that count as it, typing errors of real reports among them.
_HEADER_NAMES = {
    "findings": """
        findings, finding, imaging findings, imaging notes, radiographic findings, chest findings,
        observations, description,
        findigns, finidngs, findins, fndings, findngs
    """,
    "impression": """
        impression, impressions, final impression, conclusion, conclusions, opinion, summary,
        interpretation, summary of findings,
        findings and impression, findings/impression, findings & impression,
        impression and findings, impression/findings,
        impresson, impresion, impressoin, impreession, imression, imprression
    """,
    "indication": """
        indication, indications, clinical indication, clinical indications,
        reason for exam, reason for examination, reason for this examination, reason for study,
        reason for the exam, reason for request,
        clinical information, clinical details, clinical question, clinical data,
        underlying medical condition, medical condition,
        inidication, indcation
    """,
    "history": """
        history, clinical history, patient history, medical history, case history,
        clinical context, pfi, hpi
    """,
    "comparison": """
        comparison, comparisons, comparison study, comparison studies, comparison exam,
        comparison films, prior studies, prior study, old comparison, compared to,
        comparsion, comparision, comparisions
    """,
    "technique": """
        technique, techniques, procedure, protocol, views, projection, projections,
        techinique
    """,
    "examination": """
        examination, exam, examinations, exam type, type of exam, type of examination, study,
        modality, exam date, date, date of exam, time, accession number, patient name, patient id
    """,
    "recommendations": """
        recommendation, recommendations, recommendation(s), recommendations/plan, plan,
        recommedation
    """,
    "notification": """
        notification, notifications, communication, critical results, critical result,
        critical findings communication,
        notificaton
    """,
    "presentation": "presentation, case presentation",
    "discussion": "discussion, case discussion",
    "addendum": "addendum, addenda",
    "wet read": "wet read, wet reading, preliminary report",
    "signature": """
        signed, signed by, electronically signed by, dictated by, interpreted by, reported by,
        transcribed by, transcriptionist, radiologist, attending, attending radiologist, resident
    """,
    "preamble": "final report, radiology report, report, final reading",
}


def invert_names(variants: dict[str, str]) -> dict[str, str]:
    """Header -> our name, from our name -> headers separated by commas."""
    names = {}
    for ours, headers in variants.items():
        for header in headers.split(","):
            names[" ".join(header.split())] = ours

    return names


SECTION_NAMES = invert_names(_HEADER_NAMES)
# Sections that never describe the image. Text before the first header may, and so may the sections
# of a published case.
SECTIONS_WITHOUT_OBSERVATIONS = frozenset(_HEADER_NAMES) - {
    "findings",
    "impression",
    "presentation",
    "discussion",
    "preamble",
}
_MAX_HEADER_WORDS = max(name.count(" ") for name in SECTION_NAMES) + 1
_LAST_HEADER_WORDS = frozenset(re.split("[ /]", name)[-1] for name in SECTION_NAMES)
# Limits the characters before a colon that are read, so that time stays linear.
_MAX_HEADER_CHARACTERS = 60
_VIEW = re.compile(
    r"\b(?:VIEWS?|RADIOGRAPHS?|FILMS?|X-?RAYS?|CXR"
    r"|PORTABLE|FRONTAL|LATERAL|SUPINE|SEMI-?UPRIGHT|UPRIGHT|ERECT|AP|PA)\b"
)
# A line of capitals, and a line of letters that may be a header without colon.
_VIEW_LINE = re.compile(r"[A-Z][A-Z ()/,&-]*")
_BARE_HEADER = re.compile(r"^([A-Za-z][A-Za-z()/& ]{2,40}[A-Za-z)])$", re.M)
_DESCRIPTIVE = frozenset(("findings", "impression"))


@dataclass(frozen=True, slots=True)
class SectionHeader:
    """The header of section ``name``, from ``start`` to ``end``, where its text starts."""

    name: str
    start: int
    end: int


def find_headers(text: str) -> list[SectionHeader]:
    """Headers of a cleaned text, in order.

    Linear in the length of the text: for each colon at most 60 characters before it are read.
    """
    headers: list[SectionHeader] = []
    previous_end = 0

    position = text.find(":")
    while position >= 0:
        described = bool(headers) and headers[-1].name in _DESCRIPTIVE
        header = _header_before_colon(text, previous_end, position, described=described)
        if header:
            headers.append(header)
            previous_end = header.end
        position = text.find(":", position + 1)

    for match in _BARE_HEADER.finditer(text):
        if header := _header_without_colon(match):
            headers.append(header)

    return sorted(headers, key=lambda header: header.start)


def _header_before_colon(
    text: str, previous_end: int, colon: int, *, described: bool
) -> SectionHeader | None:
    floor = max(previous_end, colon - _MAX_HEADER_CHARACTERS)
    line = max(text.rfind("\n", floor, colon) + 1, floor)
    words = text[line:colon].split()
    if not words:
        return None

    # The whole line up to the colon: a known name, or capitals that name a view.
    at_line_start = line == 0 or line == previous_end or text[line - 1] == "\n"
    line_text = " ".join(words)
    if at_line_start and (name := SECTION_NAMES.get(line_text.lower().lstrip("*#[( "))):
        return SectionHeader(name, line, colon + 1)
    if at_line_start and _names_views(line_text, described):
        return SectionHeader("views", line, colon + 1)

    # A known name within the line: the longest one that ends at the colon.
    if words[-1].lower().rsplit("/", 1)[-1].lstrip("*#[(") in _LAST_HEADER_WORDS:
        for count in range(min(_MAX_HEADER_WORDS, len(words) - 1), 0, -1):
            name = SECTION_NAMES.get(" ".join(words[-count:]).lower())
            if name and _may_be_inline_header(words, count):
                return SectionHeader(name, colon - len(" ".join(words[-count:])), colon + 1)

    return None


def _names_views(line: str, described: bool) -> bool:
    """Whether ``line`` names views, in capitals.

    ``described``: the line stands in findings or impression, where CHEST alone names no view.
    """
    named = _VIEW.search(line) is not None or (line == "CHEST" and not described)
    return named and _VIEW_LINE.fullmatch(line) is not None


def _may_be_inline_header(words: list[str], count: int) -> bool:
    """Whether the last ``count`` of ``words`` may be a header inside a line."""
    return words[-count - 1][-1] in ".!?)]" or "".join(words[-count:]).isupper()


def _header_without_colon(match: re.Match[str]) -> SectionHeader | None:
    line = match[1]
    name = SECTION_NAMES.get(line.lower())
    if name and (line.isupper() or name in _DESCRIPTIVE):
        return SectionHeader(name, match.start(), match.end())

    return None


def section_texts(text: str, headers: list[SectionHeader]) -> dict[str, str]:
    """Our name -> text, without sections that have none.

    Of a repeated section the last one that has text counts. "preamble" is the text before the first
    header, and the text after boilerplate lines such as FINAL REPORT.
    """
    starts = [*(header.start for header in headers), len(text)]
    texts: dict[str, str] = {}
    opening = text[: starts[0]].strip()

    for header, end in zip(headers, starts[1:], strict=True):
        if part := text[header.end : end].strip():
            name = "preamble" if header.name == "preamble" and opening else header.name
            texts[name] = f"{opening}\n\n{part}" if name == "preamble" and opening else part

    if opening:
        texts.setdefault("preamble", opening)

    # A header that names views heads findings only where no findings section has text.
    views = texts.pop("views", "")
    if views:
        texts.setdefault("findings", views)

    return texts
