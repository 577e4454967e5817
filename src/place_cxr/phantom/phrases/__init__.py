"""The wording of synthetic reports: rules of :mod:`~place_cxr.phantom.grammar`, by name.

Names of rules:

- ``<finding>`` and ``<finding> several`` (both sides, or many) are noun phrases. The first letter
  decides the verb: ``a`` a singular (with article), ``p`` a plural, ``m`` a mass noun.
- ``<finding> maybe`` is the noun phrase of an uncertain sentence, ``<finding> plain`` the one of a
  sentence that has named the side already.
- ``<finding> own`` is a whole positive sentence. A severity as suffix restricts it to that
  severity; ``any`` means that it fits both sides too.
- ``<finding> doubt`` is a whole uncertain sentence, ``<finding> absent`` a whole denial.
- ``<finding> name`` is the noun in a denial of several findings.
- ``<frame> device`` replaces a frame where the finding is a device or an object.

A rule that does not fit on a line has one alternative a line, where they are long. An alternative
may stand twice, which makes it likelier.
"""

from __future__ import annotations

from place_cxr.phantom.grammar import Grammar
from place_cxr.phantom.phrases.body import BODY_RULES, DEVICE_RULES, SHORT_NAME_RULES
from place_cxr.phantom.phrases.frames import DENIAL_RULES, FRAME_RULES, HEADER_RULES, NORMAL_RULES
from place_cxr.phantom.phrases.lungs import LUNG_RULES, PLEURA_RULES, WORD_RULES

GRAMMAR = Grammar(
    WORD_RULES
    | PLEURA_RULES
    | LUNG_RULES
    | BODY_RULES
    | DEVICE_RULES
    | FRAME_RULES
    | DENIAL_RULES
    | NORMAL_RULES
    | HEADER_RULES
)
SHORT_NAMES = Grammar(WORD_RULES | SHORT_NAME_RULES)
