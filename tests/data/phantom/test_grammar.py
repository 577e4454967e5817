"""The generative grammar: choices, slots, articles by sound, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from place_cxr.data.phantom.grammar import Die, Grammar, compile_rule, tidy


def test_choices_nest_and_slots_fill() -> None:
    grammar = Grammar({"say": "{who} [sees|saw [a|the]|] {what}", "what": "[cat|dog]"})
    die = Die(np.random.default_rng(0))
    said = {grammar.say("say", die, {"who": "she"}) for _ in range(400)}
    verbs = ("sees ", "saw a ", "saw the ", "")
    assert said == {f"she {verb}{what}" for verb in verbs for what in ("cat", "dog")}


def test_alternatives_come_equally_often() -> None:
    grammar = Grammar({"say": "[a|b|[c|d]]"})
    die = Die(np.random.default_rng(1))
    said = [grammar.say("say", die, {}) for _ in range(6000)]
    assert [round(said.count(letter) / 1000) for letter in "abcd"] == [2, 2, 1, 1]


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
        ("a 11 mm nodule, a 1.8 cm one , a 18 mm one", "An 11 mm nodule, a 1.8 cm one, an 18 mm one."),
        ("a ET tube and a unilateral line", "An ET tube and a unilateral line."),
        ("an small effusion.", "A small effusion."),
    ],
)
def test_tidy(raw: str, said: str) -> None:
    assert tidy(raw) == said
