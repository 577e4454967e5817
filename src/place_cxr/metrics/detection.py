"""How well predicted boxes find true ones: average precision over thresholds of overlap.

One finding at a time. Boxes are (x0, y0, x1, y1); images are lists of arrays, [G, 4] true ones, [D,
4] predicted ones with scores [D]. Images without prediction or without truth count: an image
without truth can only add false boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.intervals import Floats, Statistic

RSNA_THRESHOLDS = tuple(
    np.round(np.arange(0.4, 0.76, 0.05), 2).tolist()
)  # thresholds of the RSNA pneumonia challenge
COCO_THRESHOLDS = tuple(np.round(np.arange(0.5, 0.96, 0.05), 2).tolist())
MAX_DETECTIONS = 100  # predicted boxes of an image that count, the surest first [COCO]
_RECALLS = np.linspace(0.0, 1.0, 101)  # where precision is read [COCO]


@dataclass(frozen=True, slots=True)
class ImageBoxes:
    """True and predicted boxes of one finding in one image."""

    targets: Floats  # [G, 4]
    boxes: Floats  # [D, 4]
    scores: Floats  # [D]


def box_average_precision(
    images: Sequence[ImageBoxes], thresholds: Sequence[float]
) -> float | None:
    """Mean over ``thresholds`` of the average precision, by faster-coco-eval; None without any true
    box.

    Raises:
        PlaceError: PL-G002 if a box or a score is not finite.
    """
    from faster_coco_eval import COCO as Boxes
    from faster_coco_eval import COCOeval_faster

    _check(images)
    if not sum(len(image.targets) for image in images):
        return None
    truth = [
        {
            "id": 0,
            "image_id": image_id,
            "category_id": 1,
            "bbox": _xywh(box),
            "area": _area(box),
            "iscrowd": 0,
        }
        for image_id, image in enumerate(images, start=1)
        for box in image.targets.tolist()
    ]
    for number, annotation in enumerate(truth, start=1):
        annotation["id"] = number
    predictions = [
        {"image_id": image_id, "category_id": 1, "bbox": _xywh(box), "score": score}
        for image_id, image in enumerate(images, start=1)
        for box, score in zip(image.boxes.tolist(), image.scores.tolist(), strict=True)
    ]
    if not predictions:
        return 0.0
    image_entries = [
        {"id": image_id, "height": 1, "width": 1} for image_id in range(1, len(images) + 1)
    ]
    ground_truth = Boxes(
        {"images": image_entries, "annotations": truth, "categories": [{"id": 1, "name": "it"}]}
    )
    evaluator = COCOeval_faster(
        ground_truth, ground_truth.loadRes(predictions), "bbox", print_function=lambda *words: None
    )
    evaluator.params.iouThrs = np.array(thresholds)
    evaluator.params.maxDets = [MAX_DETECTIONS]
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluator.evaluate()
    evaluator.accumulate()

    return float(np.mean(evaluator.eval["precision"]))


def box_average_precision_statistic(
    images: Sequence[ImageBoxes], thresholds: Sequence[float]
) -> Statistic:
    """The same number as a function of how often each image counts, for intervals; NaN without any
    true box.
    """
    _check(images)
    truths = np.array([len(image.targets) for image in images], dtype=np.float64)
    kept = [np.argsort(-image.scores, kind="mergesort")[:MAX_DETECTIONS] for image in images]
    scores = np.concatenate(
        [image.scores[order] for image, order in zip(images, kept, strict=True)] or [np.zeros(0)]
    )
    owner = np.repeat(np.arange(len(images)), [len(order) for order in kept])
    hits = np.zeros((len(scores), len(thresholds)), dtype=bool)
    start = 0

    for image, order in zip(images, kept, strict=True):
        if len(order) and len(image.targets):
            hits[start : start + len(order)] = _matched(
                _overlap(image.boxes[order], image.targets), thresholds
            )
        start += len(order)

    order = np.argsort(-scores, kind="mergesort")
    owner, hits = owner[order], hits[order]

    def statistic(counts: Floats) -> Floats:
        total = counts @ truths
        weight = counts[:, owner]
        detected = np.cumsum(weight, axis=1)
        values = np.zeros(len(counts))

        for column in range(len(thresholds)):
            true_positives = np.cumsum(weight * hits[:, column], axis=1)
            precision = np.divide(
                true_positives, detected, out=np.zeros_like(true_positives), where=detected > 0
            )
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]

            for row in np.flatnonzero(total > 0):
                positions = np.searchsorted(true_positives[row] / total[row], _RECALLS, side="left")
                reached = positions < true_positives.shape[1]
                values[row] += precision[row][positions[reached]].sum() / len(_RECALLS)

        return np.where(total > 0, values / len(thresholds), np.nan)

    return statistic


def _matched(overlap: Floats, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """[D, T]: which boxes, the surest first, meet a true one that no surer box has taken; the
    nearest, if several.
    """
    matched = np.zeros((len(overlap), len(thresholds)), dtype=bool)
    for column, threshold in enumerate(thresholds):
        free = np.ones(overlap.shape[1], dtype=bool)
        for row in range(len(overlap)):
            free_overlap = np.where(free, overlap[row], -1.0)
            best = (
                len(free_overlap) - 1 - int(free_overlap[::-1].argmax())
            )  # the last of equals, as COCO takes it
            if free_overlap[best] >= min(threshold, 1 - 1e-10):
                matched[row, column], free[best] = True, False

    return matched


def _overlap(first: Floats, second: Floats) -> Floats:
    """Intersection over union [D, G]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(-1)
    sizes = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1) for boxes in (first, second)]

    return np.asarray(
        intersection / np.maximum(sizes[0][:, None] + sizes[1][None] - intersection, 1e-12)
    )


def _check(images: Sequence[ImageBoxes]) -> None:
    for row, image in enumerate(images):
        if not all(
            np.isfinite(values).all() for values in (image.targets, image.boxes, image.scores)
        ):
            raise PlaceError(f"image {row}: a box or a score is not finite", code="PL-G002")


def _xywh(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
