"""A small generative grammar: rules of text with choices and slots, expanded by a seeded die.

``[a|b|]`` picks one alternative; earlier ones are likelier, one may be empty, and choices nest.
``{name}`` is filled from the slots of the call, else from the rule of that name. All other
characters are text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

# People have favorite phrases: the alternative at u ** HABIT_EXPONENT of the list is picked, with u
# uniform. With 3, sentences recur as often as in the Indiana University reports: a sentence occurs
# in 1.0 other reports of 64, as in theirs; with 1, in 0.4.
HABIT_EXPONENT = 3


@dataclass(frozen=True, slots=True)
class _Choice:
    options: tuple[tuple[_Part, ...], ...]


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str


_T = TypeVar("_T")
_Part = str | _Choice | _Slot
Rule = tuple[_Part, ...]
_TOKEN = re.compile(r"[\[\]|]|\{[^{}]*\}|[^\[\]|{}]+")
_ARTICLE = re.compile(r"\b([Aa])n? (?=(\w[\w-]*))")
_VOWEL_SOUND = re.compile(r"[aeio]|u(?!ni)|8|1[18]\b|ET|AP\b|IJ|NG|MR|EC")
_BEFORE_STOP = re.compile(r" +([,.;:])")


def compile_rule(text: str) -> Rule:
    """The tree of one rule. Raises ValueError on brackets that do not match."""
    # One entry for each open bracket: its alternatives so far, the last one still growing.
    stack: list[list[list[_Part]]] = [[[]]]
    consumed = 0

    for token in _TOKEN.finditer(text):
        consumed += len(token[0])
        if token[0] == "[":
            stack.append([[]])
        elif token[0] == "|" and len(stack) > 1:
            stack[-1].append([])
        elif token[0] == "]" and len(stack) > 1:
            options = tuple(tuple(option) for option in stack.pop())
            stack[-1][-1].append(_Choice(options))
        elif token[0][0] == "{":
            stack[-1][-1].append(_Slot(token[0][1:-1]))
        elif token[0] in "]|":
            raise ValueError(f"stray {token[0]!r} in rule {text!r}")
        else:
            stack[-1][-1].append(token[0])

    if len(stack) != 1 or consumed != len(text):
        raise ValueError(f"unclosed bracket in rule {text!r}")

    return tuple(stack[0][0])


class Die:
    """The random draws of one report, seeded by one draw from a numpy generator.

    Python's generator is much faster than numpy's for single draws.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        source = random.Random(int(rng.integers(2**63)))  # noqa: S311
        self.draw: Callable[[], float] = source.random
        self._shuffle = source.shuffle

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.draw() < probability

    def pick(self, options: Sequence[_T]) -> _T:
        """One of the options, all equally likely."""
        return options[int(self.draw() * len(options))]

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        """A copy in random order."""
        copy = list(items)
        self._shuffle(copy)
        return copy


class Grammar:
    """Named rules that may use each other."""

    def __init__(self, rules: Mapping[str, str]) -> None:
        self.rules = {name: compile_rule(text) for name, text in rules.items()}

    def __contains__(self, name: str) -> bool:
        return name in self.rules

    def say(self, rule: str, die: Die, slots: Mapping[str, str | Rule]) -> str:
        """One expansion of the named rule, with single spaces.

        Raises KeyError on an unknown slot.
        """
        words: list[str] = []
        self._expand(self.rules[rule], die.draw, slots, words)

        return " ".join("".join(words).split())

    def _expand(
        self,
        rule: Rule,
        draw: Callable[[], float],
        slots: Mapping[str, str | Rule],
        words: list[str],
    ) -> None:
        for part in rule:
            if type(part) is str:
                words.append(part)
            elif type(part) is _Choice:
                index = int(draw() ** HABIT_EXPONENT * len(part.options))
                self._expand(part.options[index], draw, slots, words)
            elif type(part) is _Slot:
                value = slots.get(part.name)
                if value is None:
                    value = self.rules[part.name]
                if type(value) is str:
                    words.append(value)
                else:
                    self._expand(value, draw, slots, words)  # type: ignore[arg-type]


def tidy_sentence(text: str) -> str:
    """A sentence from raw words: single spaces, *a* or *an* by sound, a capital, a full stop."""
    text = _BEFORE_STOP.sub(r"\1", " ".join(text.split()))
    text = _ARTICLE.sub(lambda m: m[1] + ("n " if _VOWEL_SOUND.match(m[2]) else " "), text)
    text = text[0].upper() + text[1:]
    return text if text[-1] == "." else text + "."
