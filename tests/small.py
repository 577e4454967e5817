"""A whole pre-training in a second: a recipe with every part of the method, far too small to learn
anything.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from place_cxr.pretrain import PretrainConfig, load_recipe

RECIPE = """\
name: small
data: {pack_size: 64, vocab_size: 400, max_sentences: 6}
views: {size: 48, degrees: 5, scale: [0.95, 1.05], contrast: 0.1, noise: 0.02}
model:
  image: {name: resnet18, size: 48, local_strides: [8, 16], options: {channels: [16, 16, 16, 32]}}
  text: {width: 32, layers: 1, heads: 2, max_tokens: 64, dropout: 0.1}
  shared: 16
  hidden: 32
  observations: {queries: 4, width: 32, heads: 2}
  correlation: {width: 32, heads: 2, out: 8, target: teacher, momentum: 0.9}
losses:
  instance: {}
  pathology_pair: {}
  pathology_image: {}
  pathology_sentence: {}
  correlation: {}
optim: {lr: 1e-3, warmup: 0.1}
train: {steps: 7, batch_size: 8, log_every: 2, save_every: 100, seed: 3}
"""


def small(manifest: Path, *overrides: str) -> PretrainConfig:
    """The configuration of a small run on ``manifest``, beside which the recipe is written."""
    recipe = manifest.parent / "small.yaml"
    if not recipe.exists():
        recipe.write_text(RECIPE)
    return load_recipe(str(recipe), [f"data.manifest={manifest}", *overrides])


def digest(weights: dict[str, torch.Tensor]) -> str:
    """One hash of all weights, to the bit."""
    found = hashlib.sha256()
    for name, value in sorted(weights.items()):
        found.update(
            name.encode() + value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return found.hexdigest()


def records(run: Path) -> list[dict[str, Any]]:
    """What a run logged, without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("images_per_s", "data_wait")} for line in lines
    ]
