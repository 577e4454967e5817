"""Average precision: pycocotools' value, the same from resampling, and answers that are no
answers.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.detection import (
    COCO_THRESHOLDS,
    RSNA_THRESHOLDS,
    ImageBoxes,
    box_average_precision,
    box_average_precision_statistic,
)


def boxes(rng, count):
    corner, extent = rng.random((count, 2)) * 60, 5 + rng.random((count, 2)) * 40
    return np.concatenate([corner, corner + extent], axis=1)


def drawn(seed, count=25):
    """Images with none to three true boxes, most of them found roughly, and some false ones; some
    scores are equal.
    """
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        truth = boxes(rng, rng.integers(0, 4))
        near = truth[rng.random(len(truth)) < 0.8]
        near = np.concatenate(
            [near + rng.normal(size=near.shape) * 3, boxes(rng, rng.integers(0, 3))]
        )
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        images.append(ImageBoxes(truth, near, np.round(rng.random(len(near)), 2)))
    return images


def oracle(images, thresholds):
    from pycocotools.coco import COCO as Boxes
    from pycocotools.cocoeval import COCOeval

    truth, found = [], []
    for place, image in enumerate(images, start=1):
        for x0, y0, x1, y1 in image.targets.tolist():
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            truth.append({"id": len(truth) + 1, "image_id": place, "category_id": 1, **box})
        for (x0, y0, x1, y1), score in zip(
            image.boxes.tolist(), image.scores.tolist(), strict=True
        ):
            found.append(
                {
                    "image_id": place,
                    "category_id": 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": score,
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        known = Boxes()
        known.dataset = {
            "info": {}, "images": [{"id": place} for place in range(1, len(images) + 1)],
            "annotations": truth, "categories": [{"id": 1, "name": "it"}],
        }  # fmt: skip
        known.createIndex()
        judge = COCOeval(known, known.loadRes(found), "bbox")
        judge.params.iouThrs, judge.params.maxDets = np.array(thresholds), [1, 10, 100]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][:, :, 0, 0, -1].mean()


@pytest.mark.parametrize("thresholds", [RSNA_THRESHOLDS, COCO_THRESHOLDS, (0.5,)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_value_is_pycocotools(seed, thresholds):
    images = drawn(seed)
    value = box_average_precision(images, thresholds)
    assert value == pytest.approx(oracle(images, thresholds), abs=1e-9) and 0.1 < value < 0.9
    statistic = box_average_precision_statistic(images, thresholds)
    assert statistic(np.ones((1, len(images))))[0] == pytest.approx(value, abs=1e-9)


def test_an_image_drawn_twice_counts_twice():
    images = drawn(3, 12)
    counts = np.array([[2, 0, 1, 1, 3, 0, 1, 1, 0, 2, 1, 0]], dtype=float)
    repeated = [
        image for image, count in zip(images, counts[0], strict=True) for _ in range(int(count))
    ]
    value = box_average_precision_statistic(images, RSNA_THRESHOLDS)(counts)[0]
    assert value == pytest.approx(box_average_precision(repeated, RSNA_THRESHOLDS), abs=1e-9)


NONE, ONE = np.zeros((0, 4)), np.array([[10.0, 10, 30, 30]])


def image(truth, found, score=0.9):
    return ImageBoxes(truth, found, np.full(len(found), score))


def test_answers_that_are_no_answers():
    both = [image(ONE, ONE), image(NONE, NONE)]
    assert box_average_precision(both, RSNA_THRESHOLDS) == 1
    assert box_average_precision([image(ONE, NONE), image(NONE, NONE)], RSNA_THRESHOLDS) == 0
    assert box_average_precision([image(NONE, ONE)], RSNA_THRESHOLDS) is None
    assert np.isnan(
        box_average_precision_statistic([image(NONE, ONE)], RSNA_THRESHOLDS)(np.ones((1, 1)))[0]
    )
    # A false box on an image without truth counts: it is surer than the right one.
    assert box_average_precision(
        [image(ONE, ONE, 0.5), image(NONE, ONE, 0.9)], RSNA_THRESHOLDS
    ) == pytest.approx(0.5)
    # All boxes that there are: one in many is right.
    everywhere = np.array(
        [[x, y, x + 20, y + 20] for x in range(0, 80, 10) for y in range(0, 80, 10)], dtype=float
    )
    assert 0 < box_average_precision([image(ONE, everywhere)] * 3, RSNA_THRESHOLDS) < 0.1
    # The same box twice is right once.
    twice = box_average_precision([image(ONE, np.concatenate([ONE, ONE]))] * 2, RSNA_THRESHOLDS)
    assert twice == pytest.approx(
        box_average_precision_statistic(
            [image(ONE, np.concatenate([ONE, ONE]))] * 2, RSNA_THRESHOLDS
        )(np.ones((1, 2)))[0]
    )


@pytest.mark.fault("E2")
def test_numbers_must_be_finite():
    with pytest.raises(PlaceError, match="PL-G002"):
        box_average_precision([image(ONE, ONE * np.nan)], RSNA_THRESHOLDS)
