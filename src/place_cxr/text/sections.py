"""Sections of a report: what counts as a header, and what it is called here.

A header is a known name and a colon: at the start of a line or of the text, in capitals after a
blank, or in any case after the end of a sentence. Capitals on a line of their own need no colon,
nor do findings and impression in any case. A line that starts with capitals that name a view
("PORTABLE AP CHEST:") heads findings, unless there is a findings section with text. All other words
with a colon ("Left knee:", "HEART:") are text, but end a section that does not describe the image:
RESULT, COMMENT and the like, organs, and, in a report without findings and impression, any heading
at the start of a line.
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
        exam indication, indication for exam, indication for study, reason for the study,
        reason for the examination, reason for visit, reason for test,
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
        ordering physician, referring physician, allergies, medications, date of birth, mrn,
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

# Headings of what the image shows, behind a section that does not: the text itself, or an organ.
_BODY_NAMES = """
    result, results, narrative, comment, comments, details, text, reading, body, report text,
    report body, body of report, radiology report, radiographic report, x-ray report
"""
_ORGAN_NAMES = """
    lung, lungs, lung fields, lungs and pleura, lungs/pleura, lungs and airways, pleura,
    pleural spaces, pleural space, heart, heart and mediastinum, heart/mediastinum, heart size,
    cardiac, cardiac silhouette, cardiomediastinal silhouette, cardiomediastinum, mediastinum,
    mediastinum and hila, hila, bones, bones and soft tissues, bones/soft tissues, osseous
    structures, soft tissues, chest wall, chest, airway, airways, trachea, diaphragm, abdomen,
    upper abdomen, lines, tubes, lines and tubes, lines/tubes, tubes and lines, support devices,
    devices, vasculature, pulmonary vasculature
"""


def invert_names(variants: dict[str, str]) -> dict[str, str]:
    """Header -> our name, from our name -> headers separated by commas."""
    names = {}
    for ours, headers in variants.items():
        for header in headers.split(","):
            names[" ".join(header.split())] = ours

    return names


SECTION_NAMES = invert_names(_HEADER_NAMES)
_BODY_HEADINGS = invert_names({"body": _BODY_NAMES, "organ": _ORGAN_NAMES})
_UNKNOWN_HEADING = re.compile(r"[A-Z][A-Za-z/&-]+(?: [A-Za-z/&-]+){0,3}")
# Sections that never describe the image. Text before the first header may, and so may the sections
# of a published case.
SECTIONS_WITHOUT_OBSERVATIONS = frozenset(_HEADER_NAMES) - {
    "findings",
    "impression",
    "presentation",
    "discussion",
    "preamble",
}
_CLOSED_SECTIONS = SECTIONS_WITHOUT_OBSERVATIONS - {"addendum", "wet read", "signature"}
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
    body_headers: list[SectionHeader] = []
    previous_end = 0

    position = text.find(":")
    while position >= 0:
        described = bool(headers) and headers[-1].name in _DESCRIPTIVE
        header = _header_before_colon(text, previous_end, position, described=described)
        if header:
            headers.append(header)
            previous_end = header.end
        elif heading := _body_heading(text, previous_end, position):
            body_headers.append(heading)
        position = text.find(":", position + 1)

    for match in _BARE_HEADER.finditer(text):
        if header := _header_without_colon(match):
            headers.append(header)

    return _end_closed_sections(headers, body_headers)


def _body_heading(text: str, previous_end: int, colon: int) -> SectionHeader | None:
    """A heading before ``colon`` that may end an indication; an organ's stays in the text."""
    floor = max(previous_end, colon - _MAX_HEADER_CHARACTERS)
    line = max(text.rfind("\n", floor, colon) + 1, floor)
    at_line_start = line in (0, previous_end) or text[line - 1] == "\n"
    words = text[line:colon].split()

    # "RESULT:" at the start of a line; "cough. LUNGS:" within it.
    for count in range(min(_MAX_HEADER_WORDS, len(words)), 0, -1):
        phrase = " ".join(words[-count:])
        kind = _BODY_HEADINGS.get(phrase.lower())
        whole = at_line_start and count == len(words)
        if kind and (whole or (count < len(words) and _may_be_inline_header(words, count))):
            start = colon - len(phrase)
            return SectionHeader("body", start, colon + 1 if kind == "body" else start)

    if at_line_start and _UNKNOWN_HEADING.fullmatch(" ".join(words)):
        return SectionHeader("unknown", line, line)

    return None


def _end_closed_sections(
    headers: list[SectionHeader], body_headers: list[SectionHeader]
) -> list[SectionHeader]:
    """All headers in order, with those of ``body_headers`` that follow a closed section."""
    kept: list[SectionHeader] = []
    for header in sorted(headers + body_headers, key=lambda header: header.start):
        # An unknown heading may only be a part of the indication: a known one ends it, too.
        closed = bool(kept) and kept[-1].name in _CLOSED_SECTIONS | {"unknown"}
        if header.name not in ("body", "unknown") or (
            closed and not (header.name == "unknown" and kept[-1].name == "unknown")
        ):
            kept.append(header)

    return kept


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
            # All of what was added, and of what stands below headings of organs, is kept.
            if name in ("addendum", "body") and name in texts:
                part = f"{texts[name]}\n{part}"
            texts[name] = f"{opening}\n\n{part}" if name == "preamble" and opening else part

    if opening:
        texts.setdefault("preamble", opening)

    # A header that names views heads findings only where no findings section has text.
    views = texts.pop("views", "")
    if views:
        texts.setdefault("findings", views)

    body, unknown = texts.pop("body", ""), texts.pop("unknown", "")
    if body:
        texts["findings"] = "\n".join(filter(None, (texts.get("findings"), body)))
    if unknown and not texts.keys() & _DESCRIPTIVE:
        texts["findings"] = unknown

    return texts
