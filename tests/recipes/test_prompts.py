"""The phantom's prompts: each finding, stated and denied in whole sentences, and a phrase that
points.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from place_cxr.phantom.scene import PHANTOM_FINDINGS
from place_cxr.tasks.prompts import read_prompts

PROMPTS = Path(str(files("place_cxr.recipes"))) / "prompts" / "phantom.yaml"
DENIES = ("No ", "There is no ", "The lungs are not", "The lungs are without")
HEALTHY = ("sharp.", "normal.", "limits.", "in size.", "intact.", "hyperinflation.")
SIDELESS = {"Edema", "Cardiomegaly", "Emphysema", "Endotracheal Tube"}


def test_phantom_prompts_state_and_deny_every_finding() -> None:
    prompts = read_prompts(PROMPTS)
    assert tuple(prompts) == PHANTOM_FINDINGS
    for name, prompt in prompts.items():
        assert 3 <= len(prompt.positive) <= 5 and 3 <= len(prompt.negative) <= 5
        for sentence in prompt.positive + prompt.negative:
            assert sentence[0].isupper() and sentence.endswith(".")
            denies = sentence.startswith(DENIES) or sentence.endswith(HEALTHY)
            assert denies == (sentence in prompt.negative), sentence
        assert ("left" in prompt.phrase("left")) == (name not in SIDELESS)
        assert prompt.phrase("") == prompt.phrase("").strip() and prompt.phrase("").endswith(".")
