"""A pre-training run of a second: a recipe with every part of the method, too small to learn."""

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
    """The configuration of a small run on ``manifest``; writes its recipe next to the manifest."""
    recipe = manifest.parent / "small.yaml"
    if not recipe.exists():
        recipe.write_text(RECIPE)
    return load_recipe(str(recipe), [f"data.manifest={manifest}", *overrides])


def digest(weights: dict[str, torch.Tensor]) -> str:
    """One hash of all weights, to the bit."""
    checksum = hashlib.sha256()
    for name, value in sorted(weights.items()):
        value_bytes = value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        checksum.update(name.encode() + value_bytes)
    return checksum.hexdigest()


def records(run: Path) -> list[dict[str, Any]]:
    """The logged records of a run, without the values that depend on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    for line in lines:
        line.pop("images_per_s", None)
        line.pop("data_wait", None)
    return lines
