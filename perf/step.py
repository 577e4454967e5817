"""Goal 4: a whole training step as PLACE takes it against the same step without the free factors.

The goal names MGCA's step; MGCA's heads are not ours to run, so the baseline is the nearest honest
thing: PLACE's own step in float32, on padded reports, with 6 text layers as MGCA keeps, and AdamW
unfused. Ours: bfloat16 autocast, real tokens only, 12 text layers, fused AdamW. Both at ViT-B/16,
224 px, with the teacher's forward pass, clipping, and the teacher's update. MGCA has no teacher and
fewer losses: against MGCA itself the ratio would be higher.
"""

from __future__ import annotations

import torch
from torch import nn

from perf.measure import (
    Figure,
    interleave,
    ratios,
    record_figures,
    side_milliseconds,
    use_one_thread,
)
from perf.parts import recipe, settings, tokens, views
from place_cxr.core.tensors import Features, Tokens
from place_cxr.losses import total_loss
from place_cxr.models.place import PlaceModel
from place_cxr.models.text import TextEncoder
from place_cxr.training.optim import OptimSettings, build_optimizers

BATCH, ROUNDS = 4, 4


class Padded(nn.Module):
    """The first layers of the same text encoder, run on padding too."""

    def __init__(self, encoder: TextEncoder, layers: int) -> None:
        super().__init__()
        self.body, self.layers = encoder.body, layers

    def forward(self, batch: Tokens, *_: bool) -> Features:
        """As `TextEncoder.forward`, padded."""
        all_layers = self.body.encoder.layer
        self.body.encoder.layer = all_layers[: self.layers]
        states = self.body(input_ids=batch.ids, attention_mask=batch.mask.long()).last_hidden_state
        # The other sides share this encoder and need all its layers.
        self.body.encoder.layer = all_layers
        return Features(states[:, 0], states, (1, states.shape[1]))


def figures() -> list[Figure]:
    """One model, two ways to take a step with it."""
    use_one_thread()
    torch.manual_seed(0)
    model = PlaceModel(settings()).train()
    batch, images, terms = tokens(BATCH), views(BATCH), recipe().losses
    unpadded, padded = model.text_encoder, Padded(model.text_encoder, 6)
    trained = [p for p in model.parameters() if p.requires_grad]
    # Both optimizers step the same weights; only time is compared.
    [fused] = build_optimizers(model, OptimSettings())
    # The plain loop over parameters, as fused AdamW's counterpart.
    plain = torch.optim.AdamW(trained, lr=2e-5, foreach=False)

    def step(text: nn.Module, optimizer: torch.optim.Optimizer, bf16: bool) -> None:
        model.text_encoder = text  # type: ignore[assignment]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value, _ = total_loss(model(images, batch), terms)
        value.backward()

        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        model.zero_grad(set_to_none=True)
        model.update_teacher()

    sides = {
        "fast": lambda: step(unpadded, fused, True),
        "padded float32, 6 layers": lambda: step(padded, plain, False),
        "float32 alone": lambda: step(unpadded, fused, False),
    }
    seconds = interleave(sides, ROUNDS)
    notes = side_milliseconds(seconds)
    baseline = "own step, padded float32, 6 text layers, unfused"
    return [
        Figure(
            "fast step, 12 text layers",
            baseline,
            ratios(seconds["fast"], seconds["padded float32, 6 layers"]),
            0.65,
            number="4",
            notes=notes,
        ),
        Figure(
            "fast step",
            "same step in float32",
            ratios(seconds["fast"], seconds["float32 alone"]),
            0.65,
        ),
    ]


if __name__ == "__main__":
    record_figures("step", figures())
