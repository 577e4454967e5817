"""Made-up reports with what pycocoevalcap answers on them, so that tests need not install it.

python -m tests.metrics.text_oracle    writes text_oracle.json again (needs pip install
'place-cxr[meteor]')
"""

from __future__ import annotations

import json
import random
from pathlib import Path

FILE = Path(__file__).parent / "text_oracle.json"
TEXT = (
    "the heart is normal large lungs are clear no effusion or edema small left right mild opacity "
    "in base"
)
WORDS = TEXT.split()


def texts(seed: int, reports: int) -> tuple[list[str], list[str]]:
    """Generated and reference token strings; a generated one is its reference with words lost,
    changed and moved.
    """
    rng = random.Random(seed)
    references = [
        " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 40))) for _ in range(reports)
    ]
    generated = []
    for reference in references:
        words = [
            rng.choice(WORDS) if rng.random() < 0.2 else word
            for word in reference.split()
            if rng.random() < 0.9
        ]
        at = rng.randrange(len(words) + 1)
        generated.append(" ".join(words[at:] + words[:at]))
    return generated, references


def answer(generated: list[str], references: list[str]) -> dict[str, list[float]]:
    """BLEU-1 to 4 of the corpus, ROUGE-L and CIDEr of each report."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    scorer = BleuScorer(n=4)
    for guess, truth in zip(generated, references, strict=True):
        scorer += (guess, [truth])
    truths = {row: [truth] for row, truth in enumerate(references)}
    guesses = {row: [guess] for row, guess in enumerate(generated)}
    return {
        "BLEU": [float(value) for value in scorer.compute_score(option="closest")[0]],
        "ROUGE-L": [float(value) for value in Rouge().compute_score(truths, guesses)[1]],
        "CIDEr": [float(value) for value in Cider().compute_score(truths, guesses)[1]],
    }


if __name__ == "__main__":
    cases = [
        {"generated": g, "references": r, **answer(g, r)}
        for g, r in (texts(seed, 12) for seed in range(3))
    ]
    FILE.write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
