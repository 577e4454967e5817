"""Report text to observation sentences.

The text that is read (``origin``) is the first of these that has a sentence:

- findings and impression, or the one of them that has words, and the addendum;
- the paragraphs after the first one of the last section ("last_paragraph");
- the text outside sections that only say why and how the image was taken ("whole").

A report with none of them is empty (PL-D301).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.text.markup import decode_markup
from place_cxr.text.observation_filter import is_observation
from place_cxr.text.sections import (
    SECTIONS_WITHOUT_OBSERVATIONS,
    SectionHeader,
    find_headers,
    section_texts,
)
from place_cxr.text.sentences import has_words, split_sentences

TEXT_ORIGINS = ("findings+impression", "findings", "impression", "last_paragraph", "whole")


_CORRECTS = re.compile(
    r"\bcorrect|\bshould (?:read|state|say|be)\b|\berror|\binstead\b|\brevis|\bamend|\bretract",
    re.I,
)


@dataclass(frozen=True, slots=True)
class ReportText:
    """Sentences in reading order.

    ``is_observation[i]`` is False where ``sentences[i]`` does not describe the image; the rule is
    in ``observation_filter``. ``origin`` is one of TEXT_ORIGINS.
    """

    sentences: tuple[str, ...]
    is_observation: tuple[bool, ...]
    origin: str
    corrected_from: int | None = None  # the first sentence that corrects those before it


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
        sentences = tuple(chain.from_iterable(map(split_sentences, body)))
        if sentences:
            # Only findings and impression are sure to describe the image.
            may_be_history = origin in ("last_paragraph", "whole")
            observed = [is_observation(item, may_be_history=may_be_history) for item in sentences]
            added = split_sentences(body[-1]) if body[-1] == parts.get("addendum") else []
            corrects = _CORRECTS.search(" ".join(added)) and len(added) < len(sentences)
            start = len(sentences) - len(added) if corrects else None
            return ReportText(sentences, tuple(observed), origin, start)

    raise PlaceError(
        "the report has no sentence",
        code="PL-D301",
        fix="leave the row out or name the report's column",
    )


def select_with_report(studies: Sequence[Study]) -> list[Study]:
    """The studies whose report has a sentence.

    Where none has one, as in a data set without reports, all studies.
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
    """(origin, texts) that may be read, best first."""
    findings, impression = parts.get("findings", ""), parts.get("impression", "")

    # What was added later belongs to the text that it completes or corrects.
    addendum = [parts["addendum"]] if has_words(parts.get("addendum", "")) else []

    if has_words(findings) and has_words(impression):
        yield "findings+impression", [findings, impression, *addendum]
    if has_words(findings):
        yield "findings", [findings, *addendum]
    if has_words(impression):
        yield "impression", [impression, *addendum]

    if headers:
        yield "last_paragraph", text[headers[-1].end :].strip().split("\n\n")[1:]

    others = [part for name, part in parts.items() if name not in SECTIONS_WITHOUT_OBSERVATIONS]
    yield "whole", [*others, *addendum]


class _Characters(dict[int, str]):
    """A table for ``str.translate``.

    Line breaks become newlines, white space and lost characters blanks; control and format
    characters vanish.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029":
            replacement = "\n"
        # U+FFFD is mostly a blank that was lost in transfer.
        elif character.isspace() or character == "\ufffd":
            replacement = " "
        else:
            invisible = unicodedata.category(character) in ("Cc", "Cf", "Cs")
            replacement = "" if invisible else character

        self[code] = replacement
        return replacement


_CHARACTERS = _Characters()
_BLANKS = re.compile(r" {2,}")
_AROUND_BREAK = re.compile(r" ?\n ?")
_BREAKS = re.compile(r"\n{3,}")
# Layers of markup that are taken off; no export nests them deeper.
_MAX_MARKUP_LAYERS = 4
_WITHOUT_MARKUP = str.maketrans(dict.fromkeys("&<\\~_", " "))
# Unicode's stream-safe limit. Sorting a longer run of combining marks takes quadratic time.
_MAX_COMBINING_MARKS = 30


def clean_text(text: str) -> str:
    """Canonical form of a text: NFC, without control or format characters.

    Line breaks are ``\\n``, blanks are single, and at most one line in a row is empty. Characters
    that a wrong decoding lost (U+FFFD, lone surrogates) become a blank or vanish. Markup of exports
    becomes plain text (``markup``). Idempotent.
    """
    text = _to_plain(text)
    for _ in range(_MAX_MARKUP_LAYERS):
        decoded = _to_plain(decode_markup(text))
        if decoded == text:
            break
        text = decoded
    else:
        if decode_markup(text) != text:
            text = text.translate(_WITHOUT_MARKUP)

    return _to_plain(text)


def _to_plain(text: str) -> str:
    text = _to_nfc(text.replace("\r\n", "\n").translate(_CHARACTERS))
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
    """The form in which equal sentences are equal: lower case, no punctuation, single blanks.

    Numbers (1.5), < and > are kept.
    """
    return " ".join(_PUNCTUATION.sub(" ", sentence.lower()).split())


def hash_sentence(sentence: str) -> int:
    """Hash of the normalized sentence, 1 to 2**63 - 1, the same on every machine."""
    return hash_bytes(normalize_sentence(sentence).encode("utf-8", "surrogatepass"))


def hash_bytes(data: bytes) -> int:
    """A 63-bit hash of ``data`` that is never 0."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") >> 1 or 1
