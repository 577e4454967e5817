"""Sections of MIMIC-CXR reports by the field's own rule, and the text that MGCA makes of them.

``data.reports`` reads reports of any hospital and forgives more. This file is for numbers that are
compared with papers: it answers what the section files everybody trains on answer, quirks included.
A header is a line break, one blank, capitals (with blanks and ``()/,-``), a colon and white space.
So a header right below an empty one is text, and lower case, digits or a missing blank make no
header. Not here: the 54 studies whose sections the field cuts by id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADER = re.compile(r"\n ([A-Z ()/,-]+):\s")
# Names that are neither a main section's nor contain one; those right of the colon are typing
# errors that occur.
_EXACT = {
    "impression": """conclusion, findings and impression, findings/impression, findings/ impression, ndication,
        impresson, imprression, imoression, impressoin, imprssion, impresion, imperssion, mpression, impession""",
    "findings": """finding, reference findings, chest, two views, findins, findindgs, findgings, findngs, findnings,
        finidngs""",
    "indication": "reason for examination, reason for exam, clinical indication, idication",
    "history": "clinical information, pfi",
    "comparison": "reference exam, comparision, comparsion, comparrison, comparisions",
    "examination": "exam, type of examination",
    "recommendations": "recommendation, recommendation(s)",
    "wet read": "wetread",
}
_NAMES = {
    " ".join(name.split()): ours for ours, names in _EXACT.items() for name in names.split(",")
}
_CONTAINED = (
    "impression",
    "findings",
    "history",
    "comparison",
    "addendum",
)  # the first that is part of a name
_VIEWS = re.compile(
    r"chest|portable|pa and lat|ap and lateral|lateral and (?:pa|ap)|frontal "
    r"(?:and|view|upright|semi-upright)|two views|one view|(?:pa|ap|lateral) view|bone window|ribs"
)
_BODY = ("impression", "findings")
_BREAK = "\n \n"  # what stands between paragraphs
KEPT_SECTIONS = (
    "impression",
    "findings",
    "last_paragraph",
    "comparison",
)  # in the order in which one of them is chosen


@dataclass(frozen=True, slots=True)
class MimicSection:
    """``text`` as it stands in the report from character ``start``."""

    name: str
    start: int
    text: str


def find_sections(report: str) -> list[MimicSection]:
    """The report's sections in order, without findings and impression sections that have no text.

    Text before the first header is "preamble", a report without headers one "full report". Where
    neither findings nor impression are left, the paragraphs after the first one of the last section
    become "last_paragraph".
    """
    sections = _split_at_headers(report)
    sections = [
        section for section in sections if section.name not in _BODY or section.text.strip()
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
        # The white space after a colon can be the line break that a header right below would need:
        # that one is text.
        following = _HEADER.search(report, header.end())
        end = following.start() if following else len(report)
        sections.append(
            MimicSection(
                canonical_section_name(header[1]), header.end(), report[header.end() : end]
            )
        )
        header = following
    return sections


def canonical_section_name(header: str) -> str:
    """The name that a header counts as; one that is not known stays itself, in lower case."""
    name = header.lower().strip()
    if name in _NAMES:
        return _NAMES[name]
    contained = next((main for main in _CONTAINED if main in name), None)
    return contained or ("findings" if _VIEWS.search(name) else name)


def read_kept_sections(report: str) -> dict[str, str]:
    """The sections of KEPT that a report has, stripped; of several with one name the last."""
    texts = {section.name: section.text.strip() for section in find_sections(report)}
    return {name: texts[name] for name in KEPT_SECTIONS if name in texts}


def text_for_labeler(report: str) -> str:
    """The one text that labellers read: impression, else findings, last paragraph, comparison, else
    nothing.
    """
    return next(iter(read_kept_sections(report).values()), "")


_LIST_MARK = re.compile(r"[0-9]+\.")
_WORD = re.compile(r"\w+")
_FEWEST_WORDS = 3


def mgca_sentences(impression: str, findings: str) -> list[str]:
    """MGCA's text of a report: impression, then findings, as lower-case ASCII words; empty where
    MGCA drops the study.

    Sentences end at full stops and at numbers with a stop (so 1.5 loses its 1). Sentences of one
    word are dropped, and so is a report of fewer than three words [MGCA].
    """
    text = f"{impression} {findings}".replace("\n", " ")
    sentences = []
    for piece in _LIST_MARK.sub(".", text).split("."):
        raw_words = _WORD.findall(piece.lower())
        words = [
            word for word in (word.encode("ascii", "ignore").decode() for word in raw_words) if word
        ]
        if len(raw_words) > 1 and words:
            sentences.append(" ".join(words))
    return (
        sentences if sum(len(sentence.split()) for sentence in sentences) >= _FEWEST_WORDS else []
    )
