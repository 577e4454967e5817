"""What to say about a finding: sentences that state it, sentences that deny it, and a phrase that
points at it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, field_validator

from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import Settings
from place_cxr.text.reports import ReportText
from place_cxr.text.tokenizer import EncodedReports, Tokenizer

_Sentences = Annotated[tuple[str, ...], Field(min_length=1)]


class Prompt(Settings):
    """Sentences for one finding; ``grounding`` may hold ``{side}``: left, right or bilateral."""

    positive: _Sentences
    negative: _Sentences
    grounding: str = ""

    @field_validator("positive", "negative", "grounding")
    @classmethod
    def _uses_encoder_maps(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        sentences = [value.replace("{side}", "")] if isinstance(value, str) else value
        if any(re.search(r"[{}]", sentence) for sentence in sentences):
            raise ValueError("the only field is {side}, and only in grounding")
        if not isinstance(value, str) and any(not sentence.strip() for sentence in sentences):
            raise ValueError("a sentence is empty")
        return value

    def phrase(self, side: str) -> str:
        """The pointing phrase with its side filled in, spaces tidied when ``side`` is empty."""
        return " ".join(self.grounding.replace("{side}", side).split())


def make_phrase_tokenizer(
    tokenizer: Tokenizer, max_tokens: int
) -> Callable[[Sequence[str]], EncodedReports]:
    """Makes of each phrase a report of one observation.

    The function returned raises PL-C031 for a phrase that the model would see cut off.
    """

    def tokenize(phrases: Sequence[str]) -> EncodedReports:
        encoded = tokenizer.encode(
            [ReportText((phrase,), (True,), "prompt") for phrase in phrases], max_tokens, 1
        )
        if encoded.truncated:
            raise PlaceError(
                f"{encoded.truncated} prompts have more than {max_tokens} tokens",
                code="PL-C031",
                fix="shorten them",
            )

        return encoded

    return tokenize


def read_prompt_set(name: str) -> dict[str, Prompt]:
    """Prompts of a shipped set, by its name, or of a YAML file. Raises PlaceError PL-C030 as
    `read_prompts`.
    """
    shipped = Path(str(resources.files("place_cxr") / "recipes" / "prompts" / f"{name}.yaml"))
    return read_prompts(shipped if shipped.is_file() else name)


def read_prompts(path: str | Path) -> dict[str, Prompt]:
    """Prompts of a YAML file: finding -> {positive: [...], negative: [...], grounding: ...}.

    Raises:
        PlaceError: PL-C030 if it cannot be read, is empty, repeats a finding, or an entry is wrong;
        all are named.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        table = yaml.safe_load(text)
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise PlaceError(
            "not a readable prompt file", code="PL-C030", file=path, fix="give a YAML file"
        ) from error

    if not isinstance(table, Mapping) or not table:
        raise PlaceError(
            "no findings",
            code="PL-C030",
            file=path,
            fix="name at least one finding with its sentences",
        )

    names = re.findall(r"^(\S[^#\n]*?)\s*:", text, flags=re.MULTILINE)
    problems = [f"{name}: named twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    prompts = {}

    for name, entry in table.items():
        try:
            prompts[str(name)] = Prompt.model_validate(entry)
        except ValidationError as error:
            problems += [
                f"{'.'.join(map(str, (name, *e['loc'])))}: {e['msg']}" for e in error.errors()
            ]

    if problems:
        raise PlaceError(
            "; ".join(problems), code="PL-C030", file=path, fix="correct these entries"
        )

    return prompts
