"""Report text to observation sentences.

What is read, in this order (``origin``): findings and impression, either of them alone, the
paragraphs after the first one of the last section ("last_paragraph"), or whatever text stands
outside sections that only tell why and how the picture was taken ("whole"). Nothing of that: the
report is empty (PL-D301).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.text.observation_filter import is_observation
from place_cxr.text.sections import (
    SECTIONS_WITHOUT_OBSERVATIONS,
    SectionHeader,
    find_headers,
    section_texts,
)
from place_cxr.text.sentences import has_words, split_sentences

TEXT_ORIGINS = ("findings+impression", "findings", "impression", "last_paragraph", "whole")


@dataclass(frozen=True, slots=True)
class ReportText:
    """Sentences in reading order; ``observes[i]`` is False where ``sentences[i]`` tells nothing
    about the picture.

    ``origin`` is one of ORIGINS. See ``observing`` for the rule.
    """

    sentences: tuple[str, ...]
    is_observation: tuple[bool, ...]
    origin: str


def read_report(text: str) -> ReportText:
    """The sentences of one report.

    Raises ``PlaceError`` PL-D301 where ``text`` is no string or has no sentence: nothing, blanks,
    only headers, only redactions. The words "NA" or "None" are text like any other. 100,000
    characters take less than 0.2 s.
    """
    if not isinstance(text, str):
        raise PlaceError(
            "the report is no text",
            code="PL-D301",
            fix="read the column as text, without NA parsing",
        )
    text = clean_text(text)
    headers = find_headers(text)
    parts = section_texts(text, headers)
    for origin, body in _candidate_bodies(text, headers, parts):
        if report_sentences := [sentence for part in body for sentence in split_sentences(part)]:
            may_be_story = origin in ("last_paragraph", "whole")
            return ReportText(
                tuple(report_sentences),
                tuple(
                    is_observation(sentence, may_be_story=may_be_story)
                    for sentence in report_sentences
                ),
                origin,
            )
    raise PlaceError(
        "the report has no sentence",
        code="PL-D301",
        fix="leave the row out or name the report's column",
    )


def select_with_report(studies: Sequence[Study]) -> list[Study]:
    """The studies whose report has a sentence; all of them where none has, as in a data set of
    labels alone.
    """
    kept = []
    for study in studies:
        try:
            read_report(study.report)
        except PlaceError:
            continue
        kept.append(study)
    return kept or list(studies)


def _candidate_bodies(
    text: str, headers: list[SectionHeader], parts: dict[str, str]
) -> Iterator[tuple[str, list[str]]]:
    """What may be read, best first."""
    findings, impression = parts.get("findings", ""), parts.get("impression", "")
    if has_words(findings) and has_words(impression):
        yield "findings+impression", [findings, impression]
    yield "findings", [findings]
    yield "impression", [impression]
    if headers:
        yield "last_paragraph", text[headers[-1].end :].strip().split("\n\n")[1:]
    yield (
        "whole",
        [part for name, part in parts.items() if name not in SECTIONS_WITHOUT_OBSERVATIONS],
    )


def read_sections(text: str) -> dict[str, str]:
    """Our section name -> text, for the sections that have text; "preamble" stands before the first
    header.

    Of a repeated section the last one with text counts, as in the MIMIC-CXR section files.
    """
    text = clean_text(text)
    return section_texts(text, find_headers(text))


def read_sentences(text: str) -> list[str]:
    """All sentences of a text without sections, cleaned, without list marks."""
    return split_sentences(clean_text(text))


class _Characters(dict[int, str]):
    """A table for ``str.translate``: breaks to newlines, lost characters to blanks, control and
    format ones away.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029":
            replacement = "\n"
        elif (
            character.isspace() or character == "\ufffd"
        ):  # U+FFFD is mostly a blank that was lost in transfer
            replacement = " "
        else:
            replacement = "" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character
        self[code] = replacement
        return replacement


_CHARACTERS = _Characters()
_TAG = re.compile(r"<br ?/?>", re.I)
_BLANKS = re.compile(r" {2,}")
_AROUND_BREAK = re.compile(r" ?\n ?")
_BREAKS = re.compile(r"\n{3,}")
# Unicode's stream-safe limit; putting a longer run of combining marks in order takes quadratic time
_MAX_COMBINING_MARKS = 30


def clean_text(text: str) -> str:
    """Canonical form: NFC, no control or format characters, ``\\n`` breaks, single blanks, at most
    one empty line.

    Idempotent. What a wrong decoding lost (U+FFFD, lone surrogates) becomes a blank or vanishes.
    """
    text = _to_nfc(text.replace("\r\n", "\n").translate(_CHARACTERS))
    if "&" in text or "<" in text:
        text = _to_nfc(_TAG.sub(" ", text.replace("&lt;", "<").replace("&gt;", ">")))
    text = _AROUND_BREAK.sub("\n", _BLANKS.sub(" ", text))
    return _BREAKS.sub("\n\n", text).strip()


def _to_nfc(text: str) -> str:
    """NFC of ``text``, in linear time."""
    if text.isascii():
        return text
    characters, run = [], 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run <= _MAX_COMBINING_MARKS:
            characters.append(character)
    return unicodedata.normalize("NFC", "".join(characters))


_PUNCTUATION = re.compile(r"(?<!\d)\.|\.(?!\d)|[^\w.<>]+|_+")


def normalize_sentence(sentence: str) -> str:
    """What makes two sentences the same: lower case, no punctuation, single blanks; numbers (1.5),
    < and > are kept.
    """
    return " ".join(_PUNCTUATION.sub(" ", sentence.lower()).split())


def hash_sentence(sentence: str) -> int:
    """A number of the normalised sentence, 1 to 2**63 - 1, the same on every machine."""
    return hash_bytes(normalize_sentence(sentence).encode("utf-8", "surrogatepass"))


def hash_bytes(data: bytes) -> int:
    """A 63-bit hash of ``data`` that is never 0."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") >> 1 or 1
