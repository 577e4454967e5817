"""What a report may say: rules of :mod:`~place_cxr.phantom.grammar`, by name.

``<finding>`` and ``<finding> several`` (both sides, or many) are noun phrases. Their first letter
tells the verb: ``a`` one thing (with article), ``p`` several, ``m`` a mass noun. ``... maybe`` are
those of doubt, ``... plain`` those within a sentence that has already said where. ``... own`` are
whole positive sentences, with severity as suffix where the wording depends on it and ``any`` where
it fits both sides; ``... doubt`` are whole uncertain ones; ``... name`` is how a denial calls it;
``... absent`` are whole denials. ``... device`` are the frames of what was put into a patient.
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
