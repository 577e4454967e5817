"""The generative grammar: choices, slots, articles by sound, refusals."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from place_cxr.phantom.grammar import HABIT_EXPONENT, Die, Grammar, compile_rule, tidy_sentence


def test_choices_nest_and_slots_fill() -> None:
    grammar = Grammar({"say": "{who} [sees|saw [a|the]|] {what}", "what": "[cat|dog]"})
    die = Die(np.random.default_rng(0))
    texts = {grammar.say("say", die, {"who": "she"}) for _ in range(400)}
    verbs = ("sees ", "saw a ", "saw the ", "")
    assert texts == {f"she {verb}{what}" for verb, what in product(verbs, ("cat", "dog"))}


def test_earlier_alternatives_come_more_often() -> None:
    """Alternative i of n has the chance ((i + 1) / n) ** (1 / h) - (i / n) ** (1 / h)."""
    grammar = Grammar({"say": "[a|b|[c|d]]"})
    die = Die(np.random.default_rng(1))
    said = [grammar.say("say", die, {}) for _ in range(6000)]
    third, two_thirds, half = (part ** (1 / HABIT_EXPONENT) for part in (1 / 3, 2 / 3, 1 / 2))
    chances = [third, two_thirds - third, (1 - two_thirds) * half, (1 - two_thirds) * (1 - half)]
    assert [said.count(letter) / len(said) for letter in "abcd"] == pytest.approx(
        chances, abs=0.015
    )


def test_unknown_slot_is_an_error() -> None:
    with pytest.raises(KeyError, match="nobody"):
        Grammar({"say": "{nobody}"}).say("say", Die(np.random.default_rng(0)), {})


@pytest.mark.parametrize("rule", ["[a|b", "a]", "a|b", "{a", "[{a]}"])
def test_brackets_must_match(rule: str) -> None:
    with pytest.raises(ValueError, match="rule"):
        compile_rule(rule)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("there is a  effusion ", "There is an effusion."),
        ("a 8 mm nodule", "An 8 mm nodule."),
        (
            "a 11 mm nodule, a 1.8 cm one , a 18 mm one",
            "An 11 mm nodule, a 1.8 cm one, an 18 mm one.",
        ),
        ("a ET tube and a unilateral line", "An ET tube and a unilateral line."),
        ("an small effusion.", "A small effusion."),
    ],
)
def test_tidy(raw: str, said: str) -> None:
    assert tidy_sentence(raw) == said
