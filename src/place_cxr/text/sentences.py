"""Report text to sentences: own rules, linear time.

A full stop ends a sentence unless it belongs to a number (1.5 cm), an abbreviation (Dr., approx.,
e.g.), an initial or a list mark (``2.``); a small letter or a missing blank after it does not
matter for whole words, because dictated reports have both. Empty lines end sentences; a single line
break does where the next line starts a list item or an answer, or where a short line is followed by
a capital; in capitals, only where the line is too short to be hard-wrapped. Semicolons and colons
end nothing. List marks are removed.
"""

from __future__ import annotations

import re

# Abbreviations after which the sentence goes on.
_OPEN_WORDS = "dr drs mr mrs ms prof st vs approx e.g eg i.e fig figs cf ca versus incl viz resp"
# Abbreviations that end a sentence only before a capitalized word.
_SOFT_WORDS = """
    etc al a.m p.m am pm yr yrs yo hr hrs wk wks mo mos min
    cm mm ml mg kg max diff no nos
    lat bilat ant post sup inf rt lt abd prob poss esp
    pt pts med hx dx tx sx fx dept hosp jr sr m.d md ph.d r.n rn
"""
_NEVER_FINAL, _SELDOM_FINAL = frozenset(_OPEN_WORDS.split()), frozenset(_SOFT_WORDS.split())
# A full stop with the brackets that it closes, a line break, a bullet.
_STOP = re.compile(r"[.!?]+[\"'”’)\]>}]{0,4}|[。！？]|\n+|[•●▪]")
# The start of a list item. Digits directly after the stop make a decimal number, not a mark.
_MARK = re.compile(
    r"[\s.,;]*"
    r"(?:(?:\(?(\d{1,2})[.)](?![.)])(?!\d)"  # 2. or (2)
    r"|[-*•●▪·–—>#]+(?!\d)"  # a dash or bullet
    r"|[a-hA-H]\)(?=\s))"  # b)
    r",?\s*)?"
)
_NEXT = re.compile(r"\s*[(\[{<\"'“‘*]{0,4}")
_LINE_ITEM = re.compile(r"\(?\d{1,2}[.)](?!\d)\s*\S|[-*•●▪·–—#]+ ?\S|[a-hA-H]\)\s")
_INNER_MARK = re.compile(r"(?<=[\w)\]]) \d{1,2}\.\s(?=[A-Z\d(])")
_SHORT_LINE = 40  # characters; hard-wrapped text breaks lines later than this
_MAX_HEADER = 13  # characters of "IMPRESSION: ", which stood before the first line
_INNER_STOP = re.compile(r"[.!?] +\S")
_FIRST_WORD = re.compile(r"\S{1,30}")
# The end of a line that the next line goes on with.
_HANGING = re.compile(
    r"(?:[,:;(/-]"
    r"|\b(?:a|an|the|of|and|or|with|without|in|on|at|to|by|for|from|is|are|no|as|dr\.?))$",
    re.I,
)
# A short answer, after a question and at the end of a line ("Fracture? No.", "Effusion: none").
_ANSWER = (
    r"(?:yes|no|none|nil|absent|present|negative|positive|possible|possibly|unlikely"
    r"|not (?:seen|present|identified))"
)
_ANSWER_AFTER_QUESTION = re.compile(rf"\s*{_ANSWER}\b(?=\s*(?:[.,;]|$))", re.I)
_ANSWERED_LINE = re.compile(rf"(?:[:?=]| [-–—]) ?{_ANSWER}$", re.I)
_ANSWER_LINE = re.compile(rf"[a-z][a-z ,/-]{{2,40}}(?:[:?=]| [-–—]) ?{_ANSWER}\b", re.I)
_LEFT_CONTEXT = 24  # characters before a stop that are read
# A number or size whose decimal point has a blank after it: "1. 5 cm".
_SPLIT_NUMBER = re.compile(r"\d+ ?(?:x \d|[cm]m\b)")
_REDACTED = re.compile(r"X{3,}|_{2,}")
_MESSAGE = re.compile(r"discuss|called|notif|communicat|inform|contact|convey|relay|please", re.I)


def split_sentences(text: str) -> list[str]:
    """Sentences of ``text`` (as ``reports.clean_text`` returns it) in order, without list marks.

    Sentences without a letter outside redactions (``___``, ``XXXX``) are dropped. Linear in the
    length of ``text``.
    """
    sentences: list[str] = []
    start, item = _after_mark(text, 0, 0)
    position = start
    wrap_width = _capitals_width(text)

    while stop := _STOP.search(text, position):
        position = stop.end()
        if mark := _inner_mark(text, start, stop, item):
            _add_sentence(sentences, text[start : mark.start()])
            start, item = mark.end(), item + 1
        elif not (stop[0] == "\n" and _is_wrapped(text, stop.start(), wrap_width)) and (
            _ends_sentence(text, start, stop)
        ):
            _add_sentence(sentences, text[start:position])
            start, item = _after_mark(text, position, item)
        position = max(position, start)

    _add_sentence(sentences, text[start:])
    return sentences


def _capitals_width(text: str) -> int:
    """The longest line of a text in capitals whose sentences end with stops; 0 for all others."""
    upper, lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
    if upper < 10 * lower or not upper or not _INNER_STOP.search(text):
        return 0

    return max(map(len, text.split("\n")))


def _is_wrapped(text: str, end: int, width: int) -> bool:
    """Whether the line that ends at ``end`` goes on in the next one, in a text in capitals."""
    if not width or text[end - 1] in ".!?:":
        return False
    if _LINE_ITEM.match(text, end + 1) or _ANSWER_LINE.match(text, end + 1):
        return False

    earliest = max(0, end - 2 * _SHORT_LINE)
    begin = text.rfind("\n", earliest, end) + 1 or earliest
    length = end - begin + (_MAX_HEADER if begin == 0 else 0)
    if _ANSWERED_LINE.search(text[begin:end]):
        return False

    word = _FIRST_WORD.match(text, end + 1)
    return length >= _SHORT_LINE or length + 1 + (len(word[0]) if word else 0) > width


def _after_mark(text: str, position: int, item: int) -> tuple[int, int]:
    """Start of the next sentence's words, and the number of its list item.

    The number is ``item`` where the sentence has no mark of its own.
    """
    mark = _MARK.match(text, position)
    assert mark is not None  # every part of it is optional
    return mark.end(), int(mark[1]) if mark[1] else item


def _inner_mark(text: str, start: int, stop: re.Match[str], item: int) -> re.Match[str] | None:
    """The mark of the next list item without a stop before it ("small effusion 2. Fracture").

    Only after item 1, so that no number within a sentence becomes a mark.
    """
    number = f" {item + 1}"
    if not item or stop[0] != "." or not text.endswith(number, start, stop.start()):
        return None

    mark = _INNER_MARK.match(text, stop.start() - len(number))
    return None if mark and _SPLIT_NUMBER.match(text, mark.end()) else mark


def _add_sentence(sentences: list[str], piece: str) -> None:
    sentence = " ".join(piece.split()).strip(" •●▪")
    if sentence.endswith("..") and not sentence.endswith("..."):
        sentence = sentence[:-1]

    if has_words(sentence):
        sentences.append(sentence)


def has_words(text: str) -> bool:
    """Whether ``text`` has a letter outside redactions; that of "2 x 3" counts."""
    return any(character.isalpha() for character in _REDACTED.sub(" ", text))


def _ends_sentence(text: str, start: int, stop: re.Match[str]) -> bool:
    mark = stop[0]
    if mark[0] == "\n":
        return len(mark) > 1 or _line_ends_sentence(text, start, stop.start(), stop.end())
    if mark[0] in "。！？•●▪":
        return True

    if mark == "?" and _ANSWER_AFTER_QUESTION.match(text, stop.end()):
        return False

    following = _NEXT.match(text, stop.end())
    assert following is not None  # every part of it is optional
    position = following.end()
    after = text[position : position + 1]
    if not after:
        return True

    left = _left_word(text, start, stop.start())
    # "bilaterally.There": two words without a blank. A number, address or initial is none of them.
    if not text[stop.end()].isspace():
        return (
            mark == "."
            and left.isalpha()
            and len(left) > 1
            and _starts_capitalized_word(text, position)
            and left.lower() not in _NEVER_FINAL
        )

    # A question mark may stand for a character lost in transfer: 39?C, 3 ? 5, ?ground-glass?
    if mark[0] == "?":
        return bool(left) and text[stop.start() - 1] != " " and not after.islower()

    if mark.startswith("..") and after.islower():
        return False

    return mark[0] == "!" or _full_stop_ends(text, start, left, position)


def _left_word(text: str, start: int, end: int) -> str:
    """The word before a stop, without brackets."""
    words = text[max(start, end - _LEFT_CONTEXT) : end].split()
    return words[-1].lstrip("([{<\"'") if words and not text[end - 1].isspace() else ""


def _starts_capitalized_word(text: str, position: int) -> bool:
    """Whether a capitalized word of more than one letter starts at ``position``."""
    return text[position].isupper() and text[position + 1 : position + 2].islower()


def _full_stop_ends(text: str, start: int, left: str, position: int) -> bool:
    after, word = text[position], left.lower()
    if word in _NEVER_FINAL:
        return False
    if word == "no" and after.isdigit():
        return False

    if word in _SELDOM_FINAL or ("." in word and not word[-1].isdigit()):
        return _starts_capitalized_word(text, position) or (
            word != "no" and after.isdigit() and bool(_LINE_ITEM.match(text, position))
        )

    if len(left) == 1 and left.isalpha():
        return not (after.islower() or _is_initial(text, start, position))

    # "1. 5 cm"
    short_number = left.isdigit() and len(left) <= 2
    if short_number and after.isdigit() and _SPLIT_NUMBER.match(text, position):
        return False

    # A stop between two redactions of one message: "called XXXX. XXXX at ..."
    redacted = left.strip("X_") == "" and text.startswith(("XXX", "___"), position)
    message_start = max(start, position - 120)
    return not (redacted and left and _MESSAGE.search(text, message_start, position))


def _is_initial(text: str, start: int, position: int) -> bool:
    """Whether the single capital before ``position`` is the initial of a name.

    Examples: "J. Smith", "Dr. J. R. Smith", "Mary J. Smith".
    """
    words = text[max(start, position - 2 * _LEFT_CONTEXT) : position].split()
    before = words[-2] if len(words) > 1 else ""
    named = _starts_capitalized_word(text, position) or (
        text[position].isupper() and text[position + 1 : position + 2] == "."
    )

    return named and (not before or before[0].isupper() or before.lower() in ("by", "with", "md"))


def _line_ends_sentence(text: str, start: int, end: int, following: int) -> bool:
    if _LINE_ITEM.match(text, following):
        return True

    # At most the last 40 characters of the line: a longer one does not end the sentence anyway.
    earliest = max(start, end - _SHORT_LINE)
    line = text[max(text.rfind("\n", earliest, end) + 1, earliest) : end]
    if _ANSWERED_LINE.search(line) or _ANSWER_LINE.match(text, following):
        return True

    opens = text[following : following + 1].isupper() or text[following : following + 1] == "_"
    return opens and len(line) < _SHORT_LINE and not _HANGING.search(line)
