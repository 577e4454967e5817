"""What one sentence says of each finding: clauses, and how far "no", "may" and "has resolved"
reach.

A sentence falls into clauses ("but", "there is", ";") and a clause into segments: a comma, "and" or
"with" starts a new segment where a new statement opens ("and a small nodule") or the one before has
had its verb ("no effusion is seen, nodules are"). Denial and doubt reach from their cue to the end
of the segment, past "or" and through lists. Cues that follow ("has resolved", "cannot be excluded")
reach back through the segment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise, takewhile

from place_cxr.core.records import ABSENT, PRESENT, UNCERTAIN
from place_cxr.text.labeler.anatomy import BODY_PART_WORDS
from place_cxr.text.labeler.cues import OPENERS, SOFT_OPENERS
from place_cxr.text.labeler.phrases import Span, find_spans, tokenize_sentence
from place_cxr.text.labeler.terms import Term

_RANK = {ABSENT: 0, UNCERTAIN: 1, PRESENT: 2}
OTHER_ABNORMALITY = ""  # the key of abnormalities that are none of the 14 findings
_STATES = ("large", "prominent", "borderline", "blunt", "normal")
_ANGLES = BODY_PART_WORDS["angles"][0]
_CHEST = BODY_PART_WORDS["chest"][0]
_MAX_STATE_DISTANCE = (
    5  # words between "enlarged" and "heart" in which it still belongs to what follows
)
_ONE_LUNG_WINDOW = (
    5  # words on either side in which "left lung" makes a denial one of that lung alone
)


@dataclass(slots=True)
class _Mention:
    """A mention of a finding, or a part of the body's state."""

    term: Term
    value: float
    segment: int
    clause: int
    item: int  # of a list with commas
    end: int


@dataclass(slots=True)
class _BodyParts:
    """Parts of the body that wait for their state, and the state that waits for them."""

    named: list[Term] = field(default_factory=list)
    has_state: bool = False  # they have had a state
    separated: bool = False  # a comma, "and" or break stands after them
    ahead: tuple[str, float] | None = None  # a state before its part: "enlarged heart"


def keep_strongest(values: dict[str, float], name: str, value: float) -> bool:
    """Keeps the stronger of two statements in ``values``: present, then uncertain, then absent.
    True if it is new.
    """
    if name in values and _RANK[values[name]] >= _RANK[value]:
        return False
    values[name] = value
    return True


def label_sentence(sentence: str) -> dict[str, float]:
    """Finding -> PRESENT, ABSENT or UNCERTAIN for what the sentence speaks of; the key OTHER for
    other abnormalities.

    "No Finding" is a property of whole reports and never in it.
    """
    values: dict[str, float] = {}
    for event in _SentenceParser(tokenize_sentence(sentence)).events:
        term, value = event.term, event.value
        if value == ABSENT:
            for name in term.denies:
                keep_strongest(values, name, ABSENT)
        else:
            value = UNCERTAIN if term.doubtful else value
            for name in term.shows or (OTHER_ABNORMALITY,):
                keep_strongest(values, name, value)
    return values


class _SentenceParser:
    """One pass over a sentence's spans; ``events`` is the answer."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.found = words, find_spans(words)
        self.events: list[_Mention] = []
        self.segment = self.clause = self.item = 0
        self.listed = False  # "and" or "or" stands in the last item of the list
        self.places = _BodyParts()
        self.looked_back: _Mention | None = None
        self._start_segment()
        last_or = max((i for i, span in enumerate(self.found) if span.kind == "or"), default=-1)
        for i, span in enumerate(self.found):
            self._process_span(i, span, listing=i < last_or)

    def _start_segment(self) -> None:
        """A new statement begins: nothing is denied, doubted or set aside."""
        self.segment += 1
        self.denied = self.maybe = self.aside = self.named = self.closed = self.known = (
            self.attribute
        ) = False

    def _process_span(self, i: int, span: Span, *, listing: bool) -> None:
        kind = span.kind
        if kind == "break":
            self.clause += 1
            self.places.separated = self.places.has_state = True
            self._start_segment()
        elif kind == "colon":
            self.places.separated = True
            self._start_segment()
        elif kind in ("comma", "and"):
            self._handle_join(i, span, listing=listing)
        elif kind == "or":
            self._handle_or(i, span)
        elif kind == "no":
            self.denied, self.aside, self.closed, self.named = True, False, False, False
            self.attribute = span.start > 0 and self.words[span.start] == "without"
        elif kind == "unchanged":
            self.known = True
        elif kind == "maybe":
            self._handle_doubt(i, span)
        elif kind == "aside":
            self.aside = True
        elif kind == "verb":
            self.closed = self.named
            self.denied = (
                self.denied and not self.attribute
            )  # "lucency without markings represents a pneumothorax"
        elif kind in ("gone", "unsure"):
            self._apply_backwards(ABSENT if kind == "gone" else UNCERTAIN)
        elif kind == "term":
            assert span.term is not None
            self._handle_finding(span.term, span.end)
            self.places.ahead = None
        elif kind == "place":
            self._handle_body_part(span)
        elif kind in _STATES:
            self._handle_state(i, span)

    def _handle_finding(self, term: Term, end: int) -> None:
        self.named = True
        if not self.aside:
            value = ABSENT if self.denied else UNCERTAIN if self.maybe else PRESENT
            self._add(term, value, end)

    def _add(self, term: Term, value: float, end: int) -> None:
        around = pairwise(self.words[max(0, end - _ONE_LUNG_WINDOW) : end + _ONE_LUNG_WINDOW])
        one_lung = any(first in ("left", "right") and then == "lung" for first, then in around)
        if not (
            value == ABSENT and one_lung and not term.shows
        ):  # "no abnormality of the left lung"
            self.events.append(_Mention(term, value, self.segment, self.clause, self.item, end))

    def _handle_doubt(self, i: int, span: Span) -> None:
        """A cue of doubt speaks of what follows; "effusion possible" at the end speaks of what went
        before.
        """
        last = i + 1 == len(self.found) or self.found[i + 1].kind in ("break", "comma")
        if (
            last
            and self.named
            and self.words[span.start] in ("possible", "suspected", "questionable", "questioned")
        ):
            self._apply_backwards(UNCERTAIN)
        else:
            self.maybe = True

    def _handle_join(self, i: int, span: Span, *, listing: bool) -> None:
        """A comma, "and" or "with": does the list go on, or does a new statement begin?"""
        word = self.words[span.end] if span.end < len(self.words) else ""
        after = self.found[i + 1] if i + 1 < len(self.found) else None
        follows = after is not None and after.start == span.end
        if (
            follows and after is not None and after.kind in ("and", "or")
        ):  # ", and", ", or": the second word decides
            return
        comma = span.kind == "comma"
        self.item, self.listed = self.item + comma, not comma
        self.places.separated = True
        if comma and self.places.ahead and self.places.ahead[0] != "normal":
            self.places.ahead = None
        self.aside = False
        on_place = after is not None and after.kind == "place" and after.start - span.end <= 1
        on_place = on_place and self.named and not listing
        opens = word in OPENERS or (word in SOFT_OPENERS and not listing) or on_place
        if opens or self.closed:
            self.places.named = []
            self._start_segment()
        elif self.maybe and not self.denied and not listing and self.words[span.start] != "and":
            self.maybe = False

    def _handle_or(self, i: int, span: Span) -> None:
        """ "Atelectasis or pneumonia": neither is sure. "No effusion or edema": both are denied."""
        self.listed = True
        before = self.events[-1] if self.events and self.events[-1].clause == self.clause else None
        versus = self.words[span.start] in ("versus", "vs")
        near = before is not None and span.start - before.end <= 1
        if self.words[span.start] == "/":  # between two findings only, not "thickening/sclerosis"
            near = near and i + 1 < len(self.found) and self.found[i + 1].kind == "term"
        if self.denied or self.known or before is None or not (versus or near):
            return
        if before.value == PRESENT:
            before.value = UNCERTAIN
        self.maybe = True

    def _apply_backwards(self, value: float) -> None:
        """ "... has resolved", "... cannot be excluded": for the last segment of the clause that
        says anything.

        In a list without "and" or "or" for its last item alone ("opacity at the base, pneumonia not
        excluded").
        """
        last = self.events[-1] if self.events and self.events[-1].clause == self.clause else None
        if last is None:  # "Resolved effusion"
            self.denied, self.maybe = value == ABSENT, value == UNCERTAIN
        elif last is not self.looked_back:
            for event in takewhile(
                lambda event: event.segment == last.segment, reversed(self.events)
            ):
                if event.value != ABSENT and (self.listed or event.item == last.item):
                    event.value = value
            self.looked_back = last
            self.segment += 1  # each event is looked back at once, which keeps this linear
        self.closed = True

    # Parts of the body ----------------------------------------------------------------------------

    def _handle_body_part(self, span: Span) -> None:
        assert span.term is not None
        places = self.places
        if places.has_state:
            places.named, places.has_state = [], False
        places.named.append(span.term)
        places.separated = False
        if places.ahead:
            kind, value = places.ahead
            self._add_state(kind, value, [span.term], span.end)

    def _handle_state(self, i: int, span: Span) -> None:
        """ "Enlarged" and "normal" belong to the part named before, or to the one that follows at
        once.
        """
        places = self.places
        value = ABSENT if self.denied else UNCERTAIN if self.maybe else PRESENT
        self.maybe = self.maybe or span.kind == "borderline"
        following = self.found[i + 1 : i + 3]
        if following and following[0].kind == "and":  # "normal size and contour of the heart"
            following = following[1:]
        after = following[0] if following else None
        near = (
            after is not None
            and after.kind == "place"
            and after.start - span.end <= _MAX_STATE_DISTANCE
        )
        if near and (not places.named or places.has_state or places.separated):
            places.ahead = (span.kind, value)
        elif places.named and (span.kind == "normal" or not places.separated):
            parts = [
                term for term in places.named if term is not _CHEST
            ]  # "the film of the chest shows a heart ..."
            self._add_state(span.kind, value, parts or places.named, span.end)
            places.has_state, places.ahead = True, None

    def _add_state(self, kind: str, value: float, named: list[Term], end: int) -> None:
        if self.aside:
            return
        if kind == "normal":
            if self.words[end - 2 : end - 1] == ["not"] or value == UNCERTAIN:
                return
            value = ABSENT
        elif kind == "blunt":
            named = [term for term in named if term is _ANGLES]
        elif value == PRESENT and kind in ("borderline", "prominent"):
            value = UNCERTAIN
        self.named = True
        for term in named:
            self._add(term, value, end)
