"""Words of a sentence to spans: phrases of cues, parts of the body and findings.

All phrases stand in one table (a prefix tree). The longest phrase at a position counts; the time is
linear in the number of words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from place_cxr.text.labeler.anatomy import BODY_PART_WORDS
from place_cxr.text.labeler.cues import CUES
from place_cxr.text.labeler.findings import FINDING_WORDS
from place_cxr.text.labeler.terms import Term

_ABBREVIATIONS = {
    "w/o": " without ",
    "w/out": " without ",
    "r/o": " rule out ",
    "s/p": " status post ",
    "h/o": " history of ",
    "c/w": " consistent with ",
    "can't": " cannot ",
    "can not": " cannot ",
    "isn't": " is not ",
    "aren't": " are not ",
    "doesn't": " does not ",
    "didn't": " did not ",
    "hasn't": " has not ",
    "haven't": " have not ",
    "wasn't": " was not ",
    "weren't": " were not ",
    "couldn't": " cannot ",
    "don't": " do not ",
}
_ABBREVIATION = re.compile("|".join(rf"\b{re.escape(short)}\b" for short in _ABBREVIATIONS))
_TOKEN = re.compile(r"[a-z0-9.]+|[,;:()/?]")
_END = ()  # the key of a node of the table that holds the meaning of the phrase up to it


@dataclass(frozen=True, slots=True)
class Span:
    """A phrase of a sentence: tokens ``start <= i < end``.

    ``kind`` is "term" (a finding), "place" (a part of the body) or a key of CUES; ``term`` is the
    meaning of the first two, None for a cue.
    """

    kind: str
    term: Term | None
    start: int
    end: int


def tokenize_sentence(sentence: str) -> list[str]:
    """Lower-case words and the marks , ; : ( ) / ? of a sentence.

    Hyphens separate words, and abbreviations are written out.
    """
    text = sentence.lower().replace("’", "'")
    text = _ABBREVIATION.sub(lambda match: _ABBREVIATIONS[match[0]], text)

    tokens = [token.rstrip(".") for token in _TOKEN.findall(text)]
    return [token for token in tokens if token]


def find_spans(words: list[str]) -> list[Span]:
    """The phrases in ``words``, from left to right; words that belong to none are skipped."""
    spans, position = [], 0
    while position < len(words):
        node, end, meaning = _TABLE, position, None
        while end < len(words) and words[end] in node:
            node, end = node[words[end]], end + 1
            if _END in node:
                meaning = (*node[_END], position, end)

        if meaning is None:
            position += 1
        else:
            spans.append(Span(*meaning))
            position = meaning[-1]

    return spans


def _expand_alternatives(lines: str) -> Iterator[tuple[str, ...]]:
    """``a|b c|`` -> (a, c), (a,), (b, c), (b,)."""
    for line in lines.strip().splitlines():
        alternatives = [word.split("|") for word in line.split()]
        for words in product(*alternatives):
            if phrase := tuple(filter(None, words)):
                yield phrase


def _build_table() -> dict[Any, Any]:
    meanings: dict[tuple[str, ...], tuple[str, Term | None]] = {}

    # A phrase in two lists belongs to the later one: cues before parts of the body before findings.
    for kind, lines in CUES.items():
        meanings |= dict.fromkeys(_expand_alternatives(lines), (kind, None))
    for term, lines in BODY_PART_WORDS.values():
        meanings |= dict.fromkeys(_expand_alternatives(lines), ("place", term))
    for term, lines in FINDING_WORDS.values():
        meanings |= dict.fromkeys(_expand_alternatives(lines), ("term", term))

    root: dict[Any, Any] = {}
    for phrase, meaning in meanings.items():
        node = root
        for word in phrase:
            node = node.setdefault(word, {})
        node[_END] = meaning

    return root


_TABLE = _build_table()
