"""Small encoders and a dozen studies: enough for every task to run to its end in a second."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from place_cxr.data.corpus import DataSettings, prepare_corpus
from place_cxr.images.views import ViewSettings
from place_cxr.models.place import ModelSettings, PlaceModel
from place_cxr.tasks.data import EvaluationDataset

VIEWS = ViewSettings(size=64)
IMAGES = {
    "CNN": {
        "name": "resnet18",
        "size": 64,
        "local_strides": [8, 16],
        "options": {"channels": [16, 16, 16, 32]},
    },
    "ViT": {
        "name": "vit_tiny_patch16_224",
        "size": 64,
        "local_strides": [16],
        "options": {"embed_dim": 32, "depth": 2, "num_heads": 2},
    },
}


def model(kind: str, vocabulary: int = 400, seed: int = 0) -> PlaceModel:
    """A network with random weights."""
    torch.manual_seed(seed)
    settings = {
        "image": IMAGES[kind],
        "text": {"width": 32, "layers": 1, "heads": 2, "max_tokens": 64, "vocab_size": vocabulary},
        "shared": 16,
        "hidden": 32,
        "observations": {"queries": 4, "width": 32, "heads": 2},
        "correlation": None,
    }
    return (
        PlaceModel(ModelSettings.model_validate(settings, strict=False))
        .eval()
        .requires_grad_(False)
    )


def corpus(manifest: Path) -> EvaluationDataset:
    """All studies of a phantom, in packs of 64 pixels."""
    made = prepare_corpus(
        DataSettings(manifest=str(manifest), pack_size=64, vocab_size=400, max_sentences=6),
        max_tokens=64,
    )
    return EvaluationDataset.of(made, VIEWS, source="phantom", max_tokens=64)


def dozen(manifest: Path) -> EvaluationDataset:
    """Twelve of them: six teach, three choose, three test, those first that have something
    outlined.
    """
    data = corpus(manifest)
    counts = {"train": 6, "val": 3, "test": 3}
    rows = {split: data.rows[split][:count] for split, count in counts.items()}
    rows["test"] = np.array(
        sorted(data.rows["test"], key=lambda row: not data.studies[row].masks)[: counts["test"]]
    )
    return dataclasses.replace(data, rows=rows)


def with_rows(data: EvaluationDataset, **rows: list[int]) -> EvaluationDataset:
    """Other splits of the same studies."""
    found = {split: np.array(chosen, dtype=np.int64) for split, chosen in rows.items()}
    return dataclasses.replace(data, rows={**data.rows, **found})
