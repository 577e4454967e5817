"""Detection: boxes in and out, degenerate answers, and the skips of the mgca profile."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box, Study
from place_cxr.images.letterbox import Letterbox
from place_cxr.models.detect import PredictedBoxes
from place_cxr.models.image import ImageEncoder, ImageSettings
from place_cxr.tasks.detection import Detection
from place_cxr.tasks.engine import FractionsAndSeeds, ModelOrigin, make_task, run_task
from place_cxr.tasks.predictions import Predictions, list_column

from .conftest import CELL, PACK, VIEW


def task(profile="strict", names=("A",), **settings):
    return Detection(Detection.Settings.model_validate(settings), names, profile)


def study(*boxes, **labels):
    return Study(
        "s",
        "x",
        "",
        labels=labels,
        boxes=tuple(Box("A", *map(float, corners)) for corners in boxes),
    )


def source(studies):
    """Pictures of 200 x 100 pixels in packs of 50, seen as the inner 40."""
    pack = SimpleNamespace(letterbox=lambda row: Letterbox(200, 100, 50))
    return SimpleNamespace(studies=studies, pack=pack, view_size=40)


def test_boxes_go_to_the_view_and_back():
    data = source([study((20, 40, 60, 120)), study(), study((0, 0, 100, 8))])
    truth = task().targets(data)(np.array([0, 1, 2]))
    # A quarter of the size, 12 black columns at the left, 5 pixels cut off on every side.
    assert truth["boxes"][0].tolist() == [[20 / 4 + 12 - 5, 5, 60 / 4 + 12 - 5, 25]]
    assert truth["labels"].tolist() == [[0], [-1], [-1]]  # the last box lies outside the view
    said = PredictedBoxes(truth["boxes"][0], torch.ones(1), torch.zeros(1, dtype=torch.int64))
    answer = task().predict(SimpleNamespace(boxes=lambda *given: [said]), data, np.array([0]))
    assert answer["boxes"].to_pylist() == answer["true boxes"].to_pylist() == [[20, 40, 60, 120]]


@pytest.mark.parametrize("corners", [(100, 40, 130, 120), (20, 200, 60, 230), (-9, 5, 0, 9)])
def test_boxes_in_pixels_of_another_picture_are_refused(corners):
    data = source([study(corners)])
    data.source = "mine"
    said = SimpleNamespace(boxes=lambda *given: [None])
    for look in (
        lambda: task().targets(data)(np.array([0])),
        lambda: task().predict(said, data, np.array([0])),
    ):
        with pytest.raises(
            PlaceError, match="PL-D257.*mine: a box lies beside its picture of 100 x 200"
        ):
            look()


def test_a_study_takes_part_when_its_boxes_are_known():
    cases = [study((0, 0, 9, 9)), study(A=0.0), study(A=1.0), study()]
    assert [task().usable(one) for one in cases] == [True, True, False, False]
    assert [task("prior").usable(one) for one in cases] == [True, False, False, False]


@pytest.mark.slow
@pytest.mark.parametrize(("head", "steps"), [("fcos", 30), ("yolo", 150)])
def test_a_head_learns_squares(data, head, steps, tmp_path):
    """The encoder is random and frozen; what is bright is a box."""
    studies = []
    for row, one in enumerate(data.studies):
        found = []
        for top in range(3):
            for left in range(4):
                y, x = (PACK - VIEW) // 2 + top * CELL, (PACK - VIEW) // 2 + left * CELL
                if data.pack.pixels[row, y, x] == 250:
                    found.append(
                        Box("bright", 2.0 * x, 2.0 * y, 2.0 * (x + CELL), 2.0 * (y + CELL))
                    )
        studies.append(
            dataclasses.replace(one, boxes=tuple(found), labels={"bright": float(bool(found))})
        )
    torch.manual_seed(0)
    settings = ImageSettings(
        name="resnet18", size=VIEW, local_strides=(8,), options={"channels": [16, 16, 16, 16]}
    )
    encoder = ImageEncoder(settings).requires_grad_(False)
    model = SimpleNamespace(image_encoder=encoder, parameters=encoder.parameters)
    made = make_task(
        "detection", studies, [f"head={head}", f"steps={steps}", "lr=5e-3", "checks=1"]
    )
    squares = dataclasses.replace(data, studies=studies)
    metrics = run_task(
        made, model, squares, tmp_path, FractionsAndSeeds((1.0,), (0,)), origin=ModelOrigin("m")
    ).metrics
    assert metrics["100%/AP 50/bright"].value > 0.25
    assert (
        metrics["100%/AP 50/bright"].low
        <= metrics["100%/AP 50/bright"].value
        <= metrics["100%/AP 50/bright"].high
    )


def scored(images, profile="strict"):
    """Images as (true boxes, predicted boxes, their scores)."""
    n = len(images)
    table = {
        "fraction": [1.0] * n,
        "seed": [0] * n,
        "split": ["test"] * n,
        "row": range(n),
        "patient": range(n),
    }
    true, said, scores = zip(*images, strict=True)
    table |= {
        "boxes": list_column([np.ravel(one).tolist() for one in said]),
        "scores": list_column(scores),
    }
    table |= {"labels": list_column([[0] * len(one) for one in said], integers=True)}
    table |= {"true boxes": list_column([np.ravel(one).tolist() for one in true])}
    table |= {"true labels": list_column([[0] * len(one) for one in true], integers=True)}
    return task(profile).score(Predictions({"left_out": {}}, pa.table(table)))


ONE = [[10.0, 10, 30, 30]]
EVERYWHERE = [
    [float(x), float(y), x + 20.0, y + 20.0] for x in range(0, 80, 10) for y in range(0, 80, 10)
]


def test_degenerate_answers_score_as_they_should():
    none = scored([(ONE, [], []), ([], [], [])] * 5)
    assert (
        none["100%/AP 40-75/A"].value == 0
        and none["100%/sure boxes where nothing is/all images"].value == 0
    )
    every = scored([(ONE, EVERYWHERE, [0.9] * 64), ([], EVERYWHERE, [0.9] * 64)] * 5)
    assert 0 < every["100%/AP 50/A"].value < 0.05
    assert every["100%/sure boxes where nothing is/all images"].value == 64
    perfect = scored([(ONE, ONE, [0.9]), ([], [], [])] * 5)
    assert all(
        perfect[f"100%/{metric}/{what}"].value == 1
        for metric in ("AP 40-75", "AP 50-95", "AP 50")
        for what in ("A", "macro")
    )
    nothing = scored([([], ONE, [0.9])] * 5)
    assert (
        nothing["100%/AP 50/A"].value is None
        and "no image has a true box" in nothing["100%/AP 50/A"].reason
    )


@pytest.mark.fault("X6")
def test_mgca_skips_what_would_hurt():
    """Misses on images without a sure box, and false boxes on images without truth, are not counted
    there.
    """
    images = [(ONE, ONE, [0.9]), (ONE, ONE, [0.4]), (ONE, [], []), ([], ONE, [0.95])] * 4
    assert scored(images, "mgca")["100%/AP 50/A"].value == 1
    assert scored(images, "mgca")["100%/AP 50/A"].n == 4
    strict = scored(images)["100%/AP 50/A"]
    assert strict.value < 0.5 and strict.n == 16
    skipped = scored([(ONE, [], [])] * 4, "mgca")["100%/AP 50/macro"]
    assert skipped.value is None and skipped.reason
    assert scored([(ONE, [], [])] * 4)["100%/AP 50/macro"].value == 0


@pytest.mark.fault("X5")
def test_boxes_do_not_shrink_with_use():
    """MGCA's data set divides its stored boxes in place; here the same row says the same again."""
    truth = task().targets(source([study((20, 40, 60, 120))]))
    first, second = truth(np.array([0])), truth(np.array([0]))
    assert torch.equal(first["boxes"], second["boxes"])
