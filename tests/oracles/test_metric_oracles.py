"""Scores and label policies that agree with published code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from place_cxr.metrics.classification import UncertainPolicy, binary_labels
from place_cxr.metrics.overlap import compute_overlap
from place_cxr.metrics.retrieval import first_hit
from place_cxr.tasks import similarity
from place_cxr.tasks.zero_shot import pool_and_standardize
from tests.oracles.oracle import Oracle

SINGLE = 1e-6  # the originals compute these in single precision


def test_dice_of_a_batch(test_data: Path) -> None:
    oracle = Oracle(test_data, "mgca_get_dice")
    found = [
        compute_overlap(probability > 0.5, truth > 0.5).dice.mean()
        for probability, truth in zip(
            oracle.arrays["probability"], oracle.arrays["truth"], strict=True
        )
    ]
    oracle.check("dice", np.array(found), SINGLE)


@pytest.mark.parametrize(
    ("images", "name"), [(6, "class_scores"), (1, "class_scores_first_image_alone")]
)
def test_zero_shot_of_several_classes(test_data: Path, images: int, name: str) -> None:
    """From GLoRIA's similarities with each prompt to its scores of classes; similarities of whole
    images are ours.
    """
    oracle = Oracle(test_data, "gloria_zero_shot", torch.float32)
    scores = oracle.arrays["similarity_both"][:, :images]
    # Theirs is computed in single precision.
    oracle.check(name, pool_and_standardize(list(scores), "max"), 2e-5)
    image, prompts = (
        F.normalize(oracle.raw(f"{kind}_global"), dim=-1).numpy() for kind in ("image", "prompt")
    )
    found = np.stack([similarity.instance_scores(image, one) for one in prompts])
    oracle.check("similarity_global", found)


@pytest.mark.parametrize("k", [1, 5])
def test_retrieval_within_a_batch(test_data: Path, k: int) -> None:
    oracle = Oracle(test_data, "mgca_ita")
    scores = oracle.arrays["scores__float64"]
    own = np.eye(len(scores), dtype=bool)
    both = [first_hit(table, own).recall_at_k(k).mean() for table in (scores, scores.T)]
    oracle.check(f"acc{k}_percent", np.array([100 * np.mean(both)]), SINGLE)


def test_uncertain_labels(test_data: Path) -> None:
    table: dict[str, Any] = json.loads(
        (test_data / "oracles" / "chexpert_uncertainty.json").read_text()
    )
    raw = np.array(
        [[np.nan if x is None else x for x in row["labels"]] for row in table["rows"]], float
    )
    expected = np.array([row["labels"] for row in table["all_views"]])
    policy: dict[int, UncertainPolicy] = {1: "present", 0: "absent"}
    for column, name in enumerate(table["label_columns"]):
        labels = raw[:, table["columns"].index(name)]
        ours = binary_labels(labels, policy[table["uncertain_becomes"][name]])
        # Theirs makes a blank negative; ours keeps it unknown.
        np.testing.assert_array_equal(np.nan_to_num(ours, nan=0.0), expected[:, column])
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(labels))
