"""Tokenizers of text metrics. The choice changes every number, so it is part of the signature."""

from __future__ import annotations

import re
from collections.abc import Callable

# A decimal number is one token.
_WORD = re.compile(r"\d+\.\d+|\w+")
# Characters that R2Gen deletes.
_DELETED = str.maketrans("", "", "\"/\\'.,?;*!%^&_+():<=>@[]{}")


def plain_words(text: str) -> list[str]:
    """Lower-case words and decimal numbers; punctuation is dropped."""
    return _WORD.findall(text.lower())


def r2gen_iu(text: str) -> list[str]:
    """As R2Gen cleans reports of the Indiana University set: sentence ends are tokens, 1.5 becomes
    15, and the list marks 1. to 5. are dropped.

    Its mistakes are kept (an empty report is one full stop), so that numbers can be compared. Its
    vocabulary and its cut at 60 or 100 tokens are left to the caller.
    """
    return _r2gen(text).split()


def r2gen_mimic(text: str) -> list[str]:
    """As R2Gen cleans MIMIC-CXR reports: line breaks become blanks first, so that list marks at the
    start of a line are dropped too.
    """
    text = text.replace("\n", " ")
    text = re.sub(r"_{2,}", "_", text)  # MIMIC-CXR writes ___ for a removed name
    text = re.sub(r" {2,}", " ", text)

    return _r2gen(text).split()


def _r2gen(text: str) -> str:
    # The order is R2Gen's: marks behind a full stop first, then those behind any word.
    text = re.sub(r"\.{2,}", ".", text).replace("1. ", "")
    for mark in "2345":
        text = text.replace(f". {mark}. ", ". ")
    for mark in "2345":
        text = text.replace(f" {mark}. ", ". ")

    sentences = text.strip().lower().split(". ")
    cleaned = [sentence.strip().translate(_DELETED) for sentence in sentences]

    return " . ".join(cleaned) + " ."


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "words": plain_words,
    "r2gen-iu": r2gen_iu,
    "r2gen-mimic": r2gen_mimic,
}
