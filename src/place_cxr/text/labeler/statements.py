"""The value of each finding in one sentence: how far "no", "may" and "has resolved" reach.

A sentence has clauses (separated by "but", "there is", ";"), and a clause has segments. A comma,
"and" or "with" starts a new segment where a new statement opens ("and a small nodule"), or where
the statement before has had its verb ("no effusion is seen, nodules are").

A cue of denial or doubt before a finding reaches to the end of the segment, past "or" and through
lists. A cue after it ("has resolved", "cannot be excluded") reaches back through the segment, and
so does an answer ("Effusion: no"). Words in brackets that state something are read as a sentence
of their own, all others as if the brackets were not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from place_cxr.core.records import ABSENT, PRESENT, UNCERTAIN
from place_cxr.text.labeler.anatomy import BODY_PART_WORDS
from place_cxr.text.labeler.answers import BODY_STATES, find_answers, separate_brackets, side_after
from place_cxr.text.labeler.cues import OPENERS, SOFT_OPENERS
from place_cxr.text.labeler.phrases import Span, find_spans, tokenize_sentence
from place_cxr.text.labeler.terms import Term

_RANK = {ABSENT: 0, UNCERTAIN: 1, PRESENT: 2}
OTHER_ABNORMALITY = ""  # the key of abnormalities that are none of the 14 findings
_ANGLES = BODY_PART_WORDS["angles"][0]
_CHEST = BODY_PART_WORDS["chest"][0]
# Words between a state and the part of the body that follows: "enlarged ... heart".
_MAX_STATE_DISTANCE = 5
_OPPOSITE = {"left": "right", "right": "left"}
_BOTH_SIDES = frozenset(("bilateral", "bilaterally", "bibasilar", "both"))
# Words in which the side of the last finding, and the other one after "none", may stand.
_SIDE_WINDOW = 12
# Words of doubt that concern what precedes where no cue or finding follows, or no word at all.
_DOUBTFUL = frozenset(("possible", "suspected", "questionable", "questioned", "less", "doubtful"))
_DOUBTFUL_WORDS = """
    possibly probable probably perhaps maybe dubious unconfirmed equivocal favored favoured
"""
_DOUBTFUL_LAST = frozenset(_DOUBTFUL_WORDS.split())
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
    headed: bool = False  # a colon stands directly after them: "Heart: enlarged"
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
    mentions: list[_Mention] = []
    for words in separate_brackets(tokenize_sentence(sentence)):
        mentions += _SentenceParser(words).events

    for mention in mentions:
        term, value = mention.term, mention.value
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
        self.words = words
        self.spans = find_answers(words, find_spans(words))
        self.events: list[_Mention] = []
        self.segment = self.clause = self.item = 0
        self.listed = False  # "and" or "or" stands in the last item of the list
        self.body_parts = _BodyParts()
        self.last_revised: _Mention | None = None
        self.label: _Mention | None = None  # stands before a colon: "Lung mass: no mass"
        self.opening_doubt = False  # "If any, there is an effusion"
        self.neither: int | None = None  # the first mention after "neither" or "none of"
        self._start_segment()

        self.last_or = max(
            (i for i, span in enumerate(self.spans) if span.kind == "or"), default=-1
        )
        # The last semicolon before "or" or "and".
        self.last_item = max(
            (
                i
                for i, (span, after) in enumerate(pairwise(self.spans))
                if words[span.start] == ";" and after.kind in ("or", "and")
            ),
            default=-1,
        )
        for i, span in enumerate(self.spans):
            self._process_span(i, span, listing=i < self.last_or)

    def _start_segment(self) -> None:
        """A new statement begins: nothing is denied, doubted or set aside."""
        self.segment += 1
        self.denied = self.aside = self.unchanged = False
        self.uncertain = self.opening_doubt
        self.denied_by_without = False
        self.list_after_cue = False  # "No evidence of the following: "
        self.doubt_holds = False  # past the next comma: "small, if any, effusion"
        self.named = False  # a finding or state has been mentioned
        self.complete = False  # and its verb has followed

    def _process_span(self, i: int, span: Span, *, listing: bool) -> None:
        kind = span.kind
        if kind == "break":
            if not (self.words[span.start] == ";" and self._list_goes_on(i, span)):
                self.clause += 1
                self.neither = None
                self.body_parts.separated = self.body_parts.has_state = True
                self._start_segment()
        elif kind == "colon":
            self.body_parts.separated = True
            before = self.spans[i - 1] if i else None
            heading = before.kind if before and before.end == span.start else ""
            self.body_parts.headed = heading == "place"
            self.label = self.events[-1] if heading == "term" and self.events else None
            # "No evidence of the following: effusion"
            if self.named or not (self.denied or self.uncertain):
                self._start_segment()
            else:
                self.list_after_cue, self.complete = True, False
        elif kind in ("comma", "and"):
            self._handle_join(i, span, listing=listing)
        elif kind == "or":
            self._handle_or(i, span)
        elif kind == "no":
            self.denied, self.aside, self.complete, self.named = True, False, False, False
            self.denied_by_without = span.start > 0 and self.words[span.start] == "without"
            if self.words[span.start] in ("neither", "none"):
                self.neither = len(self.events)
        elif kind == "unchanged":
            self.unchanged = True
        elif kind == "maybe":
            self._handle_doubt(i, span)
        elif kind == "aside":
            self.aside = True
        elif kind == "if any":
            self._handle_if_any()
        elif kind == "another":
            self._handle_another(i, span)
        elif kind == "question":
            self._handle_question(i, span)
        elif kind == "absent":
            heads = self.words[span.end : span.end + 1] == [":"]
            self.denied = self.denied or heads or self._next_is_finding(i, span)
        elif kind == "changed":
            self.complete = self.named
            self._undo_neither()
        elif kind == "verb":
            self.complete = self.named
            if self.words[span.end : span.end + 1] in (["increased"], ["enlarged"]):
                self._undo_neither()
            # "lucency without markings represents a pneumothorax"
            self.denied = self.denied and not self.denied_by_without
        elif kind in ("gone", "unsure"):
            # "Consolidation, effusion: none" answers for all.
            self.listed = self.listed or (i > 0 and self.spans[i - 1].kind == "colon")
            has = self.words[span.start] in ("has", "have")
            if not (
                kind == "gone" and (self._concerns_other_side(span) or has and self._undo_neither())
            ):
                self._apply_backwards(ABSENT if kind == "gone" else UNCERTAIN)
        elif kind == "term":
            assert span.term is not None
            self._handle_finding(span.term, span.end)
            self.body_parts.pending_state = None
        elif kind == "place":
            self._handle_body_part(span)
        elif kind in BODY_STATES:
            self._handle_state(i, span)

    def _handle_finding(self, term: Term, end: int) -> None:
        self.named = True
        if not self.aside:
            value = ABSENT if self.denied else UNCERTAIN if self.uncertain else PRESENT
            self._add(term, value, end)

    def _add(self, term: Term, value: float, end: int) -> None:
        if self.label is not None and self.label.term is term:
            self.label.value = value
        self.label, self.opening_doubt = None, False

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
        answers = i > 0 and self.spans[i - 1].kind in ("colon", "question")
        after, word = self.words[span.end : span.end + 1], self.words[span.start]
        # "Atelectasis or, less likely, pneumonia"
        inserted = i > 0 and self.spans[i - 1].kind in ("comma", "or") and after == [","]
        self.doubt_holds = self.doubt_holds or inserted
        self.opening_doubt = span.start == 0 and after == [","]
        concerns = (last or after == ["than"]) and word in _DOUBTFUL
        concerns = concerns or (word in _DOUBTFUL_LAST and after in ([], [","], [";"]))
        if concerns and not inserted and (self.named or answers):
            self._apply_backwards(UNCERTAIN)
        else:
            self.uncertain = True

    def _list_goes_on(self, i: int, span: Span) -> bool:
        """Whether a denied list goes on after a semicolon: "no effusion; edema; or fracture"."""
        after = self.spans[i + 1] if i + 1 < len(self.spans) else None
        if after is None or after.start - span.end > 2 or not self.denied:
            return False

        bare = self.words[span.end] not in OPENERS and self.words[span.end] not in SOFT_OPENERS
        item = after.kind in ("term", "and") or self.words[after.start] == ";"
        return after.kind == "or" or (
            item and bare and (self.list_after_cue or i <= max(self.last_item, self.last_or))
        )

    def _handle_if_any(self) -> None:
        """ "Effusion, if any, is small"; "a small, if any, effusion"."""
        if self.events and self.events[-1].clause == self.clause and self.named:
            self._apply_backwards(UNCERTAIN)
        else:
            self.uncertain = self.doubt_holds = True
            self.opening_doubt = not self.events

    def _handle_question(self, i: int, span: Span) -> None:
        """ "?pneumonia" and "pneumonia?" are doubts, unless an answer follows."""
        if self._next_is_finding(i, span):
            self.uncertain = True
        elif self.named and span.end == len(self.words):
            self._apply_backwards(UNCERTAIN)

    def _next_is_finding(self, i: int, span: Span) -> bool:
        after = self.spans[i + 1] if i + 1 < len(self.spans) else None
        return after is not None and after.kind == "term" and after.start == span.end

    def _handle_another(self, i: int, span: Span) -> None:
        """ "No effusion on the left, a small one on the right": the last finding once more."""
        if self.events and not self._next_is_finding(i, span):
            self._handle_finding(self.events[-1].term, span.end)
            self.complete = True

    def _undo_neither(self) -> bool:
        """ "Neither the effusion nor the edema has changed": both are still there."""
        if self.neither is None:
            return False

        for event in self.events[self.neither :]:
            if event.value == ABSENT:
                event.value = PRESENT
        self.neither, self.denied = None, False
        return True

    def _concerns_other_side(self, span: Span) -> bool:
        """Whether a denial leaves the finding of the other side: "right effusion, left none"."""
        if not self.events:
            return False

        side = side_after(self.words, span.end)
        before = self.words[max(0, span.start - 2) : span.start]
        if before[-1:] in (["one"], ["side"], [":"]):
            before.pop()
        side = side or (before[-1] if before and before[-1] in _OPPOSITE else None)
        if side is None:
            return False

        first = max(0, self.events[-1].end - _SIDE_WINDOW // 2, span.start - _SIDE_WINDOW)
        earlier = self.words[first : span.start]
        return _OPPOSITE[side] in earlier or not _BOTH_SIDES.isdisjoint(earlier)

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
        elif self.doubt_holds and comma:
            self.doubt_holds = False
        elif self.uncertain and not self.denied and not listing and self.words[span.start] != "and":
            self.uncertain = False

    def _handle_or(self, i: int, span: Span) -> None:
        """Atelectasis *or* pneumonia: neither is sure. No effusion *or* edema: both are denied."""
        self.listed = True
        before = self.events[-1] if self.events and self.events[-1].clause == self.clause else None
        # "versus" or "difficult to distinguish from"
        versus = self.words[span.start] not in ("or", "/", "and")
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
        elif parts.named and (
            span.kind == "normal"
            or not parts.separated
            or (parts.headed and self.words[span.start] in ("enlarged", "widened", "dilated"))
        ):
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
