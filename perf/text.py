"""Goal 10: the text encoder on real tokens alone against the same weights run on padded reports.

BERT with 12 layers, reports of 89 tokens on average padded to 112, forward and backward; the padded
side is the transformers library's own BERT with its fused attention.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perf.measure import (
    Figure,
    interleave,
    ratios,
    record_figures,
    side_milliseconds,
    use_one_thread,
)
from perf.parts import settings, tokens
from place_cxr.models.text import TextEncoder

BATCH, ROUNDS = 4, 4


def figures() -> list[Figure]:
    """Time with dropout as in training; the difference without."""
    use_one_thread()
    torch.manual_seed(0)
    encoder, batch = TextEncoder(settings().text), tokens(BATCH)

    def ours() -> Tensor:
        return encoder(batch).local

    # The same weights, run on padding as well.
    def padded() -> Tensor:
        return encoder.body(input_ids=batch.ids, attention_mask=batch.mask.long()).last_hidden_state

    def both_passes(states: Tensor) -> None:
        encoder.zero_grad(set_to_none=True)
        states.backward(torch.full_like(states, 1e-3))

    sides = {"unpadded": lambda: both_passes(ours()), "padded": lambda: both_passes(padded())}
    seconds = interleave(sides, ROUNDS)

    # Without dropout both sides must give the same states for real tokens.
    encoder.eval()
    with torch.no_grad():
        difference = float((ours() - padded())[batch.mask].abs().max())
    real_fraction = batch.mask.float().mean().item()
    notes = side_milliseconds(seconds) | {"tokens": f"{real_fraction:.3f} of all"}
    return [
        Figure(
            "unpadded text encoder",
            "padded",
            ratios(seconds["unpadded"], seconds["padded"]),
            0.86,
            number="10",
            notes=notes,
        ),
        Figure(
            "furthest state of a real token", "padded", [difference], 1e-5, unit="", number="10"
        ),
    ]


if __name__ == "__main__":
    record_figures("text", figures())
