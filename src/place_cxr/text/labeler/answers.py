"""Brackets and answers: what the words of a sentence are before its clauses are read."""

from __future__ import annotations

from dataclasses import replace

from place_cxr.text.labeler.cues import OPENERS, SOFT_OPENERS
from place_cxr.text.labeler.phrases import Span, find_spans

# Kinds of spans that tell the state of a part of the body.
BODY_STATES = ("large", "prominent", "borderline", "blunt", "normal")
# Brackets within brackets deeper than this are read as if they were not there.
_MAX_BRACKET_DEPTH = 3
# Words that may end an answer: "Effusion: no evidence", "no definite one seen".
_ANSWER_WORDS = """
    evidence sign signs definite obvious seen identified detected visible present noted found
    visualized demonstrated evident one any of it such thereof
"""
_ANSWER_ENDS = frozenset(_ANSWER_WORDS.split())


def separate_brackets(words: list[str]) -> list[list[str]]:
    """The words without their brackets, then those of each bracket that states something.

    "No (new) effusion" is one statement, "No effusion (small scar)" two.
    """
    if "(" not in words and ")" not in words:
        return [words]

    statements: list[list[str]] = []
    open_parts: list[list[str]] = [[]]
    for word in words:
        if word == "(":
            open_parts.append([])
        elif word == ")":
            if len(open_parts) > 1:
                _close_bracket(open_parts, statements)
        else:
            open_parts[-1].append(word)

    while len(open_parts) > 1:
        _close_bracket(open_parts, statements)

    return [open_parts[0], *statements]


def _close_bracket(open_parts: list[list[str]], statements: list[list[str]]) -> None:
    inner = open_parts.pop()

    if len(open_parts) <= _MAX_BRACKET_DEPTH and _states_something(inner):
        statements.append(inner)
    elif inner:
        open_parts[-1].extend(inner)


def _states_something(words: list[str]) -> bool:
    """Whether words in brackets are a statement: a finding with a cue, a size or an article."""
    spans = find_spans(words)
    kinds = {span.kind for span in spans}
    if not kinds & {"term", "place"}:
        return False

    opens = words[0] in OPENERS or words[0] in SOFT_OPENERS
    return opens or bool(kinds & {"no", "verb", "break", "aside", "unchanged", "maybe"})


def find_answers(words: list[str], spans: list[Span]) -> list[Span]:
    """``spans``, in which a "no" that answers a finding before it has the kind of "resolved"."""
    answered = []
    subject = False  # a finding stands before, with nothing but its place in between
    for i, span in enumerate(spans):
        if subject and _is_answer(words, spans, i):
            span = replace(span, kind="gone")
        answered.append(span)

        if span.kind in ("term", *BODY_STATES):
            subject = True
        elif span.kind not in ("place", "colon", "question", "or"):
            subject = False

    return answered


def _is_answer(words: list[str], spans: list[Span], i: int) -> bool:
    """Whether nothing that "no", "negative" or "absent" could deny follows."""
    span = spans[i]
    denies = span.kind == "no" and words[span.start] in ("no", "not", "without")
    if not (denies or span.kind == "absent"):
        return False

    end = span.end
    while end < len(words) and words[end] in _ANSWER_ENDS and end - span.end < 4:
        end += 1

    return end == len(words) or words[end] in (",", ";") or side_after(words, end) is not None


def side_after(words: list[str], position: int) -> str | None:
    """The side of "on the left" at ``position``; None for both sides, or none."""
    if words[position : position + 1] not in (["on"], ["in"], ["at"], ["over"]):
        return None

    position += 2 if words[position + 1 : position + 2] == ["the"] else 1
    side, joins = words[position : position + 1], words[position + 1 : position + 2]
    one_side = side in (["left"], ["right"]) and joins not in (["or"], ["and"], ["nor"])
    return side[0] if one_side else None
