"""Masks and boxes under the mgca profile: loss, decoding and score of MGCA's segmenter and
detector.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from place_cxr.core.records import Box, Study
from place_cxr.images.letterbox import Letterbox
from place_cxr.metrics import detection as metric
from place_cxr.models import detect
from place_cxr.tasks.detection import CONFIDENT_SCORE, Detection
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.segmentation import Segmentation
from tests.oracles.oracle import Oracle

Read = Callable[[str], Oracle]
SIDE = 224
MAPS = ("map_28", "map_14", "map_7")  # fine to coarse
TARGETS = 1e-6  # the original keeps anchors and targets in single precision, also in the double run


@pytest.mark.parametrize("case", ["", "_soft_target", "_all_empty_and_saturated"])
def test_segmentation_loss(read: Read, case: str) -> None:
    oracle = read(f"segmentation_loss{case}")
    logits = oracle.input("logits")
    truth = {
        "masks": oracle.raw("target")[:, None],
        "known": torch.ones(len(logits), 1, dtype=torch.bool),
    }
    loss = Segmentation(Segmentation.Settings(), ("A",), "mgca").loss(logits[:, None], truth)
    oracle.check("mixed", loss)
    oracle.check("grad_logits_of_mixed", torch.autograd.grad(loss, logits)[0])


def said(oracle: Oracle) -> tuple[detect._YoloOutput, list[Tensor], Tensor, Tensor]:
    """Answers of the head, their maps, and true boxes as corners with labels."""
    maps = [oracle.input(name) for name in MAPS]
    rows = oracle.raw("labels").to(oracle.dtype)
    middle, extent = rows[..., 1:3], rows[..., 3:]
    corners = torch.cat([middle - extent / 2, middle + extent / 2], dim=-1) * SIDE
    return detect._YoloOutput(maps, SIDE, 1), maps, corners, torch.where(extent.prod(-1) > 0, 0, -1)


def test_detection_loss(read: Read) -> None:
    oracle = read("mgca_detection_step")
    answers, maps, corners, labels = said(oracle)
    loss = answers.loss(corners, labels)
    oracle.check("loss", loss, TARGETS)
    oracle.check_gradients(loss, dict(zip(MAPS, maps, strict=True)), 2 * TARGETS)


def test_anchors_and_decoding(read: Read) -> None:
    oracle = read("mgca_detection_step")
    answers = said(oracle)[0]
    levels = (2, 1, 0)  # theirs are coarse to fine
    oracle.check(
        "anchors",
        torch.stack([answers._anchors(level, answers.answers[0]) for level in levels]),
        TARGETS,
    )
    parts = [answers._decoded(level) for level in levels]
    corners, sure, kinds = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    middle, extent = (corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]
    oracle.check(
        "decoded_before_nms", torch.cat([middle, extent, sure[..., None], kinds], dim=-1), TARGETS
    )


def test_a_step_of_detection(test_data: Path) -> None:
    """From the head's answers through the task's table to the mean average precision, images
    skipped as published.
    """
    oracle = Oracle(test_data, "mgca_detection_step", torch.float32)
    answers, _, corners, labels = said(oracle)
    with torch.no_grad():
        found = answers.boxes(CONFIDENT_SCORE, 0.5, 20)
    table = [
        [place, *box, score]
        for place, one in enumerate(found)
        for box, score in zip(one.boxes.tolist(), one.scores.tolist(), strict=True)
    ]
    np.testing.assert_allclose(
        np.array(table), oracle.arrays["detections"][:, :6], rtol=1e-5, atol=1e-3
    )

    studies = [
        Study(
            f"s{row}",
            Path("x"),
            "",
            boxes=tuple(Box("A", *box) for box in corners[row][labels[row] >= 0].tolist()),
        )
        for row in range(len(corners))
    ]
    data = SimpleNamespace(
        studies=studies,
        view_size=SIDE,
        pack=SimpleNamespace(letterbox=lambda row: Letterbox(SIDE, SIDE, SIDE)),
    )
    rows = np.arange(len(studies))
    scores = {}
    for profile in ("mgca", "strict"):
        task = Detection(
            Detection.Settings.model_validate(Detection.defaults(profile, "frozen")),
            ("A",),
            profile,
        )
        columns = task.predict(SimpleNamespace(boxes=lambda *how: found), data, rows)
        constants = {
            "fraction": [1.0] * len(rows),
            "seed": [0] * len(rows),
            "split": ["test"] * len(rows),
        }
        told = pa.table({**constants, "row": rows, "patient": rows, **columns})
        scores[profile] = task.score(Predictions({"left_out": {}}, told))
    whole, half = scores["mgca"]["100%/AP 40-75/A"], scores["mgca"]["100%/AP 50/A"]
    oracle.check("map", np.array(whole.value))
    oracle.check("map_50", np.array(half.value))
    assert whole.n == len(oracle.arrays["images_entering_map"])
    oracle.check(
        "map_if_no_image_were_skipped", np.array(scores["strict"]["100%/AP 40-75/A"].value)
    )


def test_overlaps_of_boxes(test_data: Path) -> None:
    """Plain where we score; with one more pixel where MGCA's head matches anchors and
    suppresses.
    """
    oracle = Oracle(test_data, "mgca_average_precision", torch.float32)
    first, second = (oracle.arrays[name].astype(np.float64) for name in ("boxes_a", "boxes_b"))
    oracle.check("iou_plain", metric._overlap(first, second))
    grown = [
        boxes + np.array([0, 0, detect._PIXEL_OFFSET, detect._PIXEL_OFFSET])
        for boxes in (first, second)
    ]
    oracle.check("iou_plus_one_pixel", metric._overlap(*grown))
