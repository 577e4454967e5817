"""Markup that exports leave in report text: HTML, XML, RTF, HL7 and spreadsheet escapes.

What ends a line or a paragraph there becomes a line break; what only changes the look vanishes.
Tags that are not known ("<NAME>") are text.
"""

from __future__ import annotations

import html
import re

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
_PARAGRAPH_TAGS = """
    address article blockquote body caption center dd div dl dt footer form h1 h2 h3 h4 h5 h6
    header hr html item li list ol p paragraph pre section table tbody text tfoot thead title tr ul
"""
_INLINE_TAGS = """
    a abbr b big code content em font i ins label linkhtml mark meta o:p s small span strike strong
    style sub sup td th tt u
"""
_PARAGRAPH, _INLINE = frozenset(_PARAGRAPH_TAGS.split()), frozenset(_INLINE_TAGS.split())
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9:]{0,15})(?:[\s/][^<>]*)?>|<[!?][^<>]*>")
# HL7: \.br\ and other commands between backslashes, and ~ between repeated values.
_HL7_CHARACTERS = {"T": "&", "S": "^", "R": "~", "E": "\\", "F": "|", "H": "", "N": ""}
_HL7 = re.compile(r"\\(?:(\.(?:br|sp|fi|nf|in|ti|sk|ce)[+-]?\d{0,3})|([TSREFHN])|X(0[AaDd])+)\\")
_HL7_REPEAT = re.compile(r"(?<=[.:;!?~])~|~(?=[A-Z~\n])|~$|(?<=\w)~(?=[a-z])")
# Line breaks and blanks that were written out, and Excel's characters: _x000D_
_WRITTEN_BREAK = re.compile(r"\\r\\n|\\n|\\r")
_EXCEL = re.compile(r"_x([0-9A-Fa-f]{4})_")
_RTF = re.compile(
    r"\\([a-z]{1,32})(-?\d{1,9})? ?|\\'([0-9a-fA-F]{2})|\\([^a-z'])|([{}])|(\n)|([^\\{}\n]+)"
)
_RTF_CHARACTERS = {"tab": " ", "cell": " ", "emdash": "—", "endash": "–", "bullet": "\n- "}
_RTF_CHARACTERS |= {"par": "\n\n", "line": "\n", "row": "\n\n", "sect": "\n\n", "page": "\n"}
# Groups whose text is none of the document's.
_RTF_HIDDEN = frozenset(
    ("fonttbl", "colortbl", "stylesheet", "info", "pict", "header", "footer", "generator")
)


def decode_markup(text: str) -> str:
    """One layer of markup in ``text`` as plain text, in linear time."""
    if text.lstrip().startswith("{\\rtf"):
        text = _decode_rtf(text)

    if "\\" in text:
        text = _HL7.sub(_replace_hl7, text)
        text = _WRITTEN_BREAK.sub("\n", text).replace("\\t", " ")
    if "~" in text:
        text = _HL7_REPEAT.sub("\n", text)
    if "_x" in text:
        text = _EXCEL.sub(lambda match: chr(int(match[1], 16)), text)
    if "<" in text:
        text = _TAG.sub(_replace_tag, text)
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)

    return text


def _replace_hl7(match: re.Match[str]) -> str:
    return _HL7_CHARACTERS[match[2]] if match[2] else "\n"


def _replace_tag(match: re.Match[str]) -> str:
    name = (match[1] or "").lower()
    if name == "br":
        return "\n"
    if name in _PARAGRAPH:
        return "\n\n"
    if name and name not in _INLINE:
        return match[0]

    # "<b>Effusion</b>." has no blank before its stop.
    following = match.string[match.end() : match.end() + 1]
    return "" if following in tuple(".,;:!?)") else " "


def _decode_rtf(text: str) -> str:
    """The text of an RTF document, without its tables of fonts and styles."""
    parts: list[str] = []
    hidden_at: int | None = None  # the depth of the group that is no text
    depth = skip = 0  # skip: characters that stand for the Unicode one before

    for match in _RTF.finditer(text):
        word, number, code, symbol, brace, _, plain = match.groups()
        if brace:
            depth += 1 if brace == "{" else -1
            hidden_at = None if hidden_at is not None and depth < hidden_at else hidden_at
        elif word in _RTF_HIDDEN or symbol == "*":
            hidden_at = depth if hidden_at is None else hidden_at
        elif hidden_at is not None:
            continue
        elif word == "u" and number:
            parts.append(chr(int(number) % 0x10000))
            skip = 1
        elif word:
            parts.append(_RTF_CHARACTERS.get(word, ""))
        elif code:
            parts.append("" if skip else bytes.fromhex(code).decode("cp1252", "replace"))
            skip = 0
        elif symbol:
            parts.append({"~": " ", "_": "-", "-": ""}.get(symbol, symbol))
        elif plain:
            parts.append(plain[skip:])
            skip = 0

    return "".join(parts)
