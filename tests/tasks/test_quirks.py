"""Faults of published protocols on made-up cases: the mgca profile has them, strict has none.

Images that are skipped and empty masks that score 1: test_detection.py, test_segmentation.py,
test_degenerate.py.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box, Study
from place_cxr.images.letterbox import Letterbox
from place_cxr.predict import load
from place_cxr.tasks import engine
from place_cxr.tasks.data import read_evaluation_dataset
from place_cxr.tasks.detection import Detection
from place_cxr.tasks.engine import FractionsAndSeeds, ModelOrigin, make_task, run_task
from tests import heads
from tests.data.sources.trees import write
from tests.images.dicoms import dicom


@pytest.mark.fault("X6")
def test_a_split_by_rows_shares_images_and_only_mgca_takes_it(
    trained: Path, tmp_path: Path, caplog
) -> None:
    """SIIM as published (protocol 4.2, 2): an image of several masks lies in train and in test."""
    ramp = np.tile(np.linspace(0, 255, 1024).astype(np.uint8), (1024, 1))
    lines = ["ImageId, EncodedPixels"]
    for image in range(5):
        write(tmp_path, f"dicom-images-train/a/b/i{image}.dcm", dicom(ramp))
        lines += (
            [f"i{image}, {1000 * mask + image} 90" for mask in range(4)] if image else ["i0, -1"]
        )
    write(tmp_path, "train-rle.csv", "\n".join(lines) + "\n")
    _, processor = load(trained, device="cpu")
    read = {
        "name": "siim",
        "root": tmp_path,
        "processor": processor,
        "reports": False,
        "data_settings": {"split": "mgca"},
    }
    with pytest.raises(PlaceError, match="PL-D207"):
        read_evaluation_dataset(**read)
    data = read_evaluation_dataset(**read, allow_split_overlap=True)
    assert "as published" in caplog.text and "in two splits" in caplog.text
    parts = Counter(data.studies[row].id for rows in data.rows.values() for row in rows)
    assert sum(map(len, data.rows.values())) == len(data.studies) > 5 and max(parts.values()) > 1
    train, test = (
        {data.studies[row].id for row in data.rows[split]} for split in ("train", "test")
    )
    assert train & test


@pytest.mark.fault("X5")
def test_more_boxes_than_there_is_room_for_fail_under_mgca_alone() -> None:
    """The published data set pads to a number of boxes and fails beyond (protocol 4.2, 5)."""
    boxes = tuple(Box("A", float(n), 0.0, n + 9.0, 9.0) for n in range(21))
    pack = SimpleNamespace(letterbox=lambda row: Letterbox(64, 64, 64))
    studies = [Study("s", "x", "", boxes=boxes[:count]) for count in (20, 21)]
    data = SimpleNamespace(source="made up", studies=studies, pack=pack, view_size=64)

    def truth(profile, row):
        return Detection(Detection.Settings(), ("A",), profile).targets(data)(np.array([row]))[
            "boxes"
        ]

    assert truth("mgca", 0).shape == (1, 20, 4) and truth("strict", 1).shape == (1, 21, 4)
    with pytest.raises(PlaceError, match="PL-D229"):
        truth("mgca", 1)


@pytest.mark.fault("X5")
@pytest.mark.parametrize(
    ("profile", "shrinking", "sizes"),
    [("strict", False, [1, 1, 1]), ("strict", True, [1, 1, 1]), ("mgca", False, [1, 1, 1]),
     ("mgca", True, [1, 1 / 64, 1 / 64**2])],
)  # fmt: skip
def test_boxes_shrink_at_every_read_where_mgca_is_told_so_and_never_elsewhere(
    profile, shrinking, sizes
) -> None:
    """The published data set divides its stored boxes in place (protocol 4.2, 5)."""
    data = SimpleNamespace(
        source="made up",
        studies=[Study("s", "x", "", boxes=(Box("A", 8.0, 8.0, 24.0, 40.0),))],
        pack=SimpleNamespace(letterbox=lambda row: Letterbox(64, 64, 64)),
        view_size=64,
    )
    task = Detection(Detection.Settings(shrinking=shrinking), ("A",), profile)
    truth = task.targets(data)
    for size in sizes:
        expected = np.array([[[8, 8, 24, 40]]]) * size
        np.testing.assert_allclose(truth(np.array([0]))["boxes"].numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(
        task.targets(data)(np.array([0]))["boxes"].numpy(), [[[8, 8, 24, 40]]]
    )  # a new run


@pytest.fixture(scope="module")
def studies(phantom):
    return heads.dozen(phantom)


@pytest.mark.parametrize("name", ["segmentation", "detection", "classification"])
@pytest.mark.parametrize("profile", ["strict", "mgca"])
def test_a_frozen_encoders_batch_statistics_move_under_mgca_alone(
    name, profile, studies, tmp_path, monkeypatch
):
    """Of dense heads; its linear layer has an encoder in evaluation mode (protocol 4.2, 6). Weights
    never move.
    """
    taught = []

    def teach(task, learner, *rest, **more):
        engine_teach(task, learner, *rest, **more)
        taught.append(learner)

    engine_teach = engine.train_head
    monkeypatch.setattr(engine, "train_head", teach)
    model = heads.model("CNN")
    brief = ["steps=2", "checks=1", "batch_size=4", *(["epochs=1"] if profile == "mgca" else []), *(
        ["exact=false"] if name == "classification" else [])]  # fmt: skip
    run_task(
        make_task(name, studies.studies, brief, profile=profile),
        model,
        studies,
        tmp_path,
        FractionsAndSeeds((1.0,), (0,)),
        origin=ModelOrigin("m"),
    )
    [learner] = taught
    moves = profile == "mgca" and name != "classification"
    assert (learner.encoder is not None) == moves
    if moves:
        before, after = (
            dict(part.named_buffers()) for part in (model.image_encoder, learner.encoder)
        )
        assert any(
            not torch.equal(before[key], after[key])
            for key in before
            if key.endswith("running_mean")
        )
        weights = dict(model.image_encoder.named_parameters())
        assert all(
            torch.equal(weights[key], value) for key, value in learner.encoder.named_parameters()
        )
