"""Sections of MIMIC-CXR reports by the field's own rule, and the text that MGCA makes of them.

``text.reports`` reads reports of any hospital and tolerates more. This file is for numbers that are
compared with papers: it gives the sections of the published section files, quirks included.

A header is a line break, one blank, capitals (with blanks and ``()/,-``), a colon and white space.
So a header right below an empty one is text, and lower case, digits or a missing blank make no
header. The published rule cuts 54 studies by their id; this file does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from place_cxr.text.sections import invert_names

_HEADER = re.compile(r"\n ([A-Z ()/,-]+):\s")
# Section -> other headers that count as it. Most are typing errors that occur in MIMIC-CXR.
_OTHER_HEADERS = {
    "impression": """
        conclusion, findings and impression, findings/impression, findings/ impression,
        impresson, imprression, imoression, impressoin, imprssion, impresion, imperssion,
        mpression, impession, ndication
    """,
    "findings": """
        finding, reference findings, chest, two views,
        findins, findindgs, findgings, findngs, findnings, finidngs
    """,
    "indication": "reason for examination, reason for exam, clinical indication, idication",
    "history": "clinical information, pfi",
    "comparison": "reference exam, comparision, comparsion, comparrison, comparisions",
    "examination": "exam, type of examination",
    "recommendations": "recommendation, recommendation(s)",
    "wet read": "wetread",
}
_NAMES = invert_names(_OTHER_HEADERS)
# The first one that is part of a header names its section.
_CONTAINED = ("impression", "findings", "history", "comparison", "addendum")
# Headers that name views head findings.
_VIEWS = re.compile(
    r"chest|portable|pa and lat|ap and lateral|lateral and (?:pa|ap)"
    r"|frontal (?:and|view|upright|semi-upright)"
    r"|two views|one view|(?:pa|ap|lateral) view|bone window|ribs"
)
_BODY = ("impression", "findings")
_BREAK = "\n \n"  # between paragraphs
# In the order in which one of them is chosen.
KEPT_SECTIONS = ("impression", "findings", "last_paragraph", "comparison")


@dataclass(frozen=True, slots=True)
class MimicSection:
    """``text`` as it stands in the report from character ``start``."""

    name: str
    start: int
    text: str


def find_sections(report: str) -> list[MimicSection]:
    """The report's sections in order, without findings and impression sections that have no text.

    Text before the first header is "preamble". A report without headers is one section, "full
    report". Where neither findings nor impression are left, the last section is cut after its first
    paragraph, and the rest becomes "last_paragraph".
    """
    sections = [
        section
        for section in _split_at_headers(report)
        if section.name not in _BODY or section.text.strip()
    ]

    if not any(section.name in _BODY for section in sections) and _BREAK in sections[-1].text:
        last = sections.pop()
        first, _, paragraphs = last.text.partition(_BREAK)
        sections += [
            MimicSection(last.name, last.start, first),
            MimicSection("last_paragraph", last.start + len(first), paragraphs),
        ]

    return sections


def _split_at_headers(report: str) -> list[MimicSection]:
    header = _HEADER.search(report)
    if header is None:
        return [MimicSection("full report", 0, report)]

    sections = [MimicSection("preamble", 0, report[: header.start(1)])]
    while header:
        # The white space after a colon can be the line break that a header right below needs. That
        # header is then text.
        start = header.end()
        following = _HEADER.search(report, start)
        end = following.start() if following else len(report)
        name = canonical_section_name(header[1])
        sections.append(MimicSection(name, start, report[start:end]))
        header = following

    return sections


def canonical_section_name(header: str) -> str:
    """The section that a header names; an unknown header names itself, in lower case."""
    name = header.lower().strip()
    if name in _NAMES:
        return _NAMES[name]

    contained = next((main for main in _CONTAINED if main in name), None)
    return contained or ("findings" if _VIEWS.search(name) else name)


def read_kept_sections(report: str) -> dict[str, str]:
    """Name -> stripped text of those KEPT_SECTIONS that a report has; the last one of a name."""
    texts = {section.name: section.text.strip() for section in find_sections(report)}

    return {name: texts[name] for name in KEPT_SECTIONS if name in texts}


_LIST_MARK = re.compile(r"[0-9]+\.")
_WORD = re.compile(r"\w+")
_MIN_WORDS = 3


def mgca_sentences(impression: str, findings: str) -> list[str]:
    """MGCA's sentences of a report: impression, then findings, as lower-case ASCII words.

    Sentences end at full stops and at numbers with a stop (so 1.5 loses its 1). Sentences of one
    word are dropped. A report of fewer than three words has no sentence: MGCA drops its study
    [MGCA].
    """
    text = f"{impression} {findings}".replace("\n", " ")
    sentences = []
    for piece in _LIST_MARK.sub(".", text).split("."):
        # Words are counted before other characters are dropped: a word may have no ASCII letter.
        words = _WORD.findall(piece.lower())
        ascii_words = " ".join(words).encode("ascii", "ignore").decode().split()
        if len(words) > 1 and ascii_words:
            sentences.append(" ".join(ascii_words))

    word_count = sum(len(sentence.split()) for sentence in sentences)
    return sentences if word_count >= _MIN_WORDS else []
