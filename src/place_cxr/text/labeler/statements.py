"""The value of each finding in one sentence: how far "no", "may" and "has resolved" reach.

A sentence has clauses (separated by "but", "there is", ";"), and a clause has segments. A comma,
"and" or "with" starts a new segment where a new statement opens ("and a small nodule"), or where
the statement before has had its verb ("no effusion is seen, nodules are").

A cue of denial or doubt before a finding reaches to the end of the segment, past "or" and through
lists. A cue after it ("has resolved", "cannot be excluded") reaches back through the segment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

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
# Words between a state and the part of the body that follows: "enlarged ... heart".
_MAX_STATE_DISTANCE = 5
# Words on either side in which "left lung" restricts a denial to that lung.
_ONE_LUNG_WINDOW = 5


@dataclass(slots=True)
class _Mention:
    """A mention of a finding, or of the state of a part of the body."""

    term: Term
    value: float
    segment: int
    clause: int
    item: int  # of a list with commas
    end: int


@dataclass(slots=True)
class _BodyParts:
    """Parts of the body without a state so far, and a state without its part so far."""

    named: list[Term] = field(default_factory=list)
    has_state: bool = False  # the named parts have a state
    separated: bool = False  # a comma, "and" or break stands after them
    pending_state: tuple[str, float] | None = None  # stands before its part: "enlarged heart"


def keep_strongest(values: dict[str, float], name: str, value: float) -> bool:
    """Keep the stronger value of a finding: present, then uncertain, then absent.

    Returns whether ``values`` changed.
    """
    if name in values and _RANK[values[name]] >= _RANK[value]:
        return False

    values[name] = value
    return True


def label_sentence(sentence: str) -> dict[str, float]:
    """Finding -> PRESENT, ABSENT or UNCERTAIN, for the findings that the sentence mentions.

    The key OTHER_ABNORMALITY stands for all other abnormalities. "No Finding" is a property of
    whole reports and never a key.
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
    """One pass over the spans of a sentence; ``events`` holds the mentions that result."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.spans = words, find_spans(words)
        self.events: list[_Mention] = []
        self.segment = self.clause = self.item = 0
        self.listed = False  # "and" or "or" stands in the last item of the list
        self.body_parts = _BodyParts()
        self.last_revised: _Mention | None = None
        self._start_segment()

        last_or = max((i for i, span in enumerate(self.spans) if span.kind == "or"), default=-1)
        for i, span in enumerate(self.spans):
            self._process_span(i, span, listing=i < last_or)

    def _start_segment(self) -> None:
        """A new statement begins: nothing is denied, doubted or set aside."""
        self.segment += 1
        self.denied = self.uncertain = self.aside = self.unchanged = False
        self.denied_by_without = False
        self.named = False  # a finding or state has been mentioned
        self.complete = False  # and its verb has followed

    def _process_span(self, i: int, span: Span, *, listing: bool) -> None:
        kind = span.kind
        if kind == "break":
            self.clause += 1
            self.body_parts.separated = self.body_parts.has_state = True
            self._start_segment()
        elif kind == "colon":
            self.body_parts.separated = True
            self._start_segment()
        elif kind in ("comma", "and"):
            self._handle_join(i, span, listing=listing)
        elif kind == "or":
            self._handle_or(i, span)
        elif kind == "no":
            self.denied, self.aside, self.complete, self.named = True, False, False, False
            self.denied_by_without = span.start > 0 and self.words[span.start] == "without"
        elif kind == "unchanged":
            self.unchanged = True
        elif kind == "maybe":
            self._handle_doubt(i, span)
        elif kind == "aside":
            self.aside = True
        elif kind == "verb":
            self.complete = self.named
            # "lucency without markings represents a pneumothorax"
            self.denied = self.denied and not self.denied_by_without
        elif kind in ("gone", "unsure"):
            self._apply_backwards(ABSENT if kind == "gone" else UNCERTAIN)
        elif kind == "term":
            assert span.term is not None
            self._handle_finding(span.term, span.end)
            self.body_parts.pending_state = None
        elif kind == "place":
            self._handle_body_part(span)
        elif kind in _STATES:
            self._handle_state(i, span)

    def _handle_finding(self, term: Term, end: int) -> None:
        self.named = True
        if not self.aside:
            value = ABSENT if self.denied else UNCERTAIN if self.uncertain else PRESENT
            self._add(term, value, end)

    def _add(self, term: Term, value: float, end: int) -> None:
        nearby = self.words[max(0, end - _ONE_LUNG_WINDOW) : end + _ONE_LUNG_WINDOW]
        one_lung = any(
            first in ("left", "right") and second == "lung" for first, second in pairwise(nearby)
        )
        # "No abnormality of the left lung" excludes nothing: the right one may have a finding.
        if not (value == ABSENT and one_lung and not term.shows):
            self.events.append(_Mention(term, value, self.segment, self.clause, self.item, end))

    def _handle_doubt(self, i: int, span: Span) -> None:
        """A cue of doubt concerns what follows; at the end, what precedes: "effusion possible"."""
        last = i + 1 == len(self.spans) or self.spans[i + 1].kind in ("break", "comma")
        adjectives = ("possible", "suspected", "questionable", "questioned")
        if last and self.named and self.words[span.start] in adjectives:
            self._apply_backwards(UNCERTAIN)
        else:
            self.uncertain = True

    def _handle_join(self, i: int, span: Span, *, listing: bool) -> None:
        """A comma, "and" or "with": does the list go on, or does a new statement begin?"""
        word = self.words[span.end] if span.end < len(self.words) else ""
        after = self.spans[i + 1] if i + 1 < len(self.spans) else None
        # ", and", ", or": the second word decides.
        if after is not None and after.start == span.end and after.kind in ("and", "or"):
            return

        comma = span.kind == "comma"
        self.item, self.listed = self.item + comma, not comma
        self.body_parts.separated = True
        if comma and self.body_parts.pending_state and self.body_parts.pending_state[0] != "normal":
            self.body_parts.pending_state = None
        self.aside = False

        at_body_part = after is not None and after.kind == "place" and after.start - span.end <= 1
        at_body_part = at_body_part and self.named and not listing
        opens = word in OPENERS or (word in SOFT_OPENERS and not listing) or at_body_part
        if opens or self.complete:
            self.body_parts.named = []
            self._start_segment()
        elif self.uncertain and not self.denied and not listing and self.words[span.start] != "and":
            self.uncertain = False

    def _handle_or(self, i: int, span: Span) -> None:
        """Atelectasis *or* pneumonia: neither is sure. No effusion *or* edema: both are denied."""
        self.listed = True
        before = self.events[-1] if self.events and self.events[-1].clause == self.clause else None
        versus = self.words[span.start] in ("versus", "vs")
        near = before is not None and span.start - before.end <= 1
        # Between two findings only, not "thickening/sclerosis".
        if self.words[span.start] == "/":
            near = near and i + 1 < len(self.spans) and self.spans[i + 1].kind == "term"
        if self.denied or self.unchanged or before is None or not (versus or near):
            return

        if before.value == PRESENT:
            before.value = UNCERTAIN
        self.uncertain = True

    def _apply_backwards(self, value: float) -> None:
        """A cue after its findings ("has resolved", "cannot be excluded") gives them ``value``.

        It concerns the last segment of the clause with a mention; in a list without "and" or "or"
        the last item alone ("opacity at the base, pneumonia not excluded").
        """
        last = self.events[-1] if self.events and self.events[-1].clause == self.clause else None
        if last is None:  # "Resolved effusion"
            self.denied, self.uncertain = value == ABSENT, value == UNCERTAIN
        elif last is not self.last_revised:
            for event in reversed(self.events):
                if event.segment != last.segment:
                    break
                if event.value != ABSENT and (self.listed or event.item == last.item):
                    event.value = value
            self.last_revised = last
            # The next cue starts from here: each mention is revised once, which keeps this linear.
            self.segment += 1
        self.complete = True

    # Parts of the body ----------------------------------------------------------------------------

    def _handle_body_part(self, span: Span) -> None:
        assert span.term is not None
        parts = self.body_parts
        if parts.has_state:
            parts.named, parts.has_state = [], False
        parts.named.append(span.term)
        parts.separated = False

        if parts.pending_state:
            kind, value = parts.pending_state
            self._add_state(kind, value, [span.term], span.end)

    def _handle_state(self, i: int, span: Span) -> None:
        """A state ("enlarged", "normal") belongs to the part before it, or to the one after it."""
        parts = self.body_parts
        value = ABSENT if self.denied else UNCERTAIN if self.uncertain else PRESENT
        self.uncertain = self.uncertain or span.kind == "borderline"

        following = self.spans[i + 1 : i + 3]
        # "normal size and contour of the heart"
        if following and following[0].kind == "and":
            following = following[1:]
        after = following[0] if following else None
        near = (
            after is not None
            and after.kind == "place"
            and after.start - span.end <= _MAX_STATE_DISTANCE
        )

        if near and (not parts.named or parts.has_state or parts.separated):
            parts.pending_state = (span.kind, value)
        elif parts.named and (span.kind == "normal" or not parts.separated):
            # "The film of the chest shows a heart ...": the state is not that of the chest.
            named = [term for term in parts.named if term is not _CHEST]
            self._add_state(span.kind, value, named or parts.named, span.end)
            parts.has_state, parts.pending_state = True, None

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
