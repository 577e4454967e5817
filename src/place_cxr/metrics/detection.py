"""How well predicted boxes find true ones: average precision over thresholds of overlap.

One finding at a time. Boxes are (x0, y0, x1, y1). An image has true boxes [G, 4] and predicted
boxes [D, 4] with scores [D]. Images without prediction or without true box count too: an image
without true box can only add false positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.intervals import Floats, Statistic

# Thresholds of overlap: of the RSNA pneumonia challenge, and of COCO.
RSNA_THRESHOLDS = tuple(np.round(np.arange(0.4, 0.76, 0.05), 2).tolist())
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

    # COCO's form: annotations of all images in one list, numbered from 1, of one category.
    truth: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        for box in image.targets.tolist():
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": _xywh(box),
                    "area": _area(box),
                    "iscrowd": 0,
                }
            )
        for box, score in zip(image.boxes.tolist(), image.scores.tolist(), strict=True):
            predictions.append(
                {"image_id": image_id, "category_id": 1, "bbox": _xywh(box), "score": score}
            )

    if not predictions:
        return 0.0

    # The library asks for a size of each image, and does not use it.
    image_entries = []
    for image_id in range(1, len(images) + 1):
        image_entries.append({"id": image_id, "height": 1, "width": 1})

    ground_truth = Boxes(
        {"images": image_entries, "annotations": truth, "categories": [{"id": 1, "name": "it"}]}
    )
    evaluator = COCOeval_faster(
        ground_truth, ground_truth.loadRes(predictions), "bbox", print_function=lambda *words: None
    )
    evaluator.params.iouThrs = np.array(thresholds)
    evaluator.params.maxDets = [MAX_DETECTIONS]
    # Boxes of all sizes in one number, where COCO also has small, medium and large ones.
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

    # Detections of all images in one list: their scores, their image, and at which thresholds they
    # meet a true box. Matching within an image does not depend on how often the image counts.
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

    # Over all images, the surest detection first. The stable sort keeps COCO's order of ties.
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
            # Precision that falls with recall: at each point the best of those behind it [COCO].
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]

            # Mean precision at 101 values of recall. Where a recall is not reached it is 0.
            for row in np.flatnonzero(total > 0):
                positions = np.searchsorted(true_positives[row] / total[row], _RECALLS, side="left")
                reached = positions < true_positives.shape[1]
                values[row] += precision[row][positions[reached]].sum() / len(_RECALLS)

        return np.where(total > 0, values / len(thresholds), np.nan)

    return statistic


def _matched(overlap: Floats, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """Which predicted boxes meet a true box at each threshold [D, T].

    Predicted boxes come with the surest first. Each true box is matched once. A predicted box takes
    the free true box with the largest overlap.
    """
    matched = np.zeros((len(overlap), len(thresholds)), dtype=bool)
    for column, threshold in enumerate(thresholds):
        free = np.ones(overlap.shape[1], dtype=bool)
        for row in range(len(overlap)):
            free_overlap = np.where(free, overlap[row], -1.0)
            # The last of equal overlaps, as COCO does.
            best = len(free_overlap) - 1 - int(free_overlap[::-1].argmax())
            if free_overlap[best] >= min(threshold, 1 - 1e-10):
                matched[row, column], free[best] = True, False

    return matched


def _overlap(first: Floats, second: Floats) -> Floats:
    """Intersection over union [D, G]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(-1)
    first_area, second_area = (
        np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1) for boxes in (first, second)
    )
    union = first_area[:, None] + second_area[None] - intersection

    # The tiny number keeps two empty boxes from dividing by 0.
    return np.asarray(intersection / np.maximum(union, 1e-12))


def _check(images: Sequence[ImageBoxes]) -> None:
    for row, image in enumerate(images):
        if not all(
            np.isfinite(values).all() for values in (image.targets, image.boxes, image.scores)
        ):
            raise PlaceError(f"image {row}: a box or a score is not finite", code="PL-G002")


def _xywh(box: Sequence[float]) -> list[float]:
    """Corner, width and height: COCO's form of a box."""
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
