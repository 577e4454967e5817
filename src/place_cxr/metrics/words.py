"""Report text to the tokens that text metrics count. The choice moves every number, so it is part
of the signature.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_WORD = re.compile(r"\d+\.\d+|\w+")
_DELETED = str.maketrans("", "", "\"/\\'.,?;*!%^&_+():<=>@[]{}")


def plain_words(text: str) -> list[str]:
    """Lower-case words and decimal numbers; punctuation is dropped."""
    return _WORD.findall(text.lower())


def r2gen_iu(text: str) -> list[str]:
    """As R2Gen cleans reports of the Indiana University set: sentence ends are tokens, 1.5 is 15,
    marks 1. to 5. go.

    What it does is kept, mistakes too (an empty report is one stop), so that numbers can be
    compared. Its vocabulary, cut at 60 or 100 tokens, is the caller's business.
    """
    return _r2gen(text).split()


def r2gen_mimic(text: str) -> list[str]:
    """As R2Gen cleans MIMIC-CXR reports: line breaks are blanks, and a blank before a list mark can
    so be one that ends a sentence.
    """
    return _r2gen(re.sub(r" {2,}", " ", re.sub(r"_{2,}", "_", text.replace("\n", " ")))).split()


def _r2gen(text: str) -> str:
    text = re.sub(r"\.{2,}", ".", text).replace("1. ", "")
    for mark in "2345":
        text = text.replace(f". {mark}. ", ". ")
    for mark in "2345":
        text = text.replace(f" {mark}. ", ". ")
    cleaned = [
        sentence.strip().translate(_DELETED) for sentence in text.strip().lower().split(". ")
    ]

    return " . ".join(cleaned) + " ."


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "words": plain_words,
    "r2gen-iu": r2gen_iu,
    "r2gen-mimic": r2gen_mimic,
}
