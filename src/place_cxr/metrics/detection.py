"""How well predicted boxes find true ones: average precision over thresholds of overlap.

One finding at a time. Boxes are (x0, y0, x1, y1); images are lists of arrays, [G, 4] true ones, [D, 4] predicted ones
with scores [D]. Images without prediction or without truth count: an image without truth can only add false boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.metrics.intervals import Floats, Statistic

RSNA = tuple(np.round(np.arange(0.4, 0.76, 0.05), 2).tolist())  # thresholds of the RSNA pneumonia challenge
COCO = tuple(np.round(np.arange(0.5, 0.96, 0.05), 2).tolist())
MOST = 100  # predicted boxes of an image that count, the surest first [COCO]
_RECALLS = np.linspace(0.0, 1.0, 101)  # where precision is read [COCO]


@dataclass(frozen=True, slots=True)
class Image:
    """True and predicted boxes of one finding in one image."""

    truth: Floats  # [G, 4]
    boxes: Floats  # [D, 4]
    scores: Floats  # [D]


def average_precision(images: Sequence[Image], thresholds: Sequence[float]) -> float | None:
    """Mean over ``thresholds`` of the average precision, by faster-coco-eval; None without any true box.

    Raises:
        PlaceError: PL-G002 if a box or a score is not finite.
    """
    from faster_coco_eval import COCO as Boxes
    from faster_coco_eval import COCOeval_faster

    _check(images)
    if not sum(len(image.truth) for image in images):
        return None
    truth = [
        {"id": 0, "image_id": place, "category_id": 1, "bbox": _xywh(box), "area": _area(box), "iscrowd": 0}
        for place, image in enumerate(images, start=1)
        for box in image.truth.tolist()
    ]
    for number, one in enumerate(truth, start=1):
        one["id"] = number
    found = [
        {"image_id": place, "category_id": 1, "bbox": _xywh(box), "score": score}
        for place, image in enumerate(images, start=1)
        for box, score in zip(image.boxes.tolist(), image.scores.tolist(), strict=True)
    ]
    if not found:
        return 0.0
    sized = [{"id": place, "height": 1, "width": 1} for place in range(1, len(images) + 1)]
    known = Boxes({"images": sized, "annotations": truth, "categories": [{"id": 1, "name": "it"}]})
    judge = COCOeval_faster(known, known.loadRes(found), "bbox", print_function=lambda *words: None)
    judge.params.iouThrs = np.array(thresholds)
    judge.params.maxDets = [MOST]
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
    judge.evaluate()
    judge.accumulate()
    return float(np.mean(judge.eval["precision"]))


def average_precision_statistic(images: Sequence[Image], thresholds: Sequence[float]) -> Statistic:
    """The same number as a function of how often each image counts, for intervals; NaN without any true box."""
    _check(images)
    truths = np.array([len(image.truth) for image in images], dtype=np.float64)
    kept = [np.argsort(-image.scores, kind="mergesort")[:MOST] for image in images]
    scores = np.concatenate([image.scores[order] for image, order in zip(images, kept, strict=True)] or [np.zeros(0)])
    owner = np.repeat(np.arange(len(images)), [len(order) for order in kept])
    hits = np.zeros((len(scores), len(thresholds)), dtype=bool)
    start = 0
    for image, order in zip(images, kept, strict=True):
        if len(order) and len(image.truth):
            hits[start : start + len(order)] = _matched(_overlap(image.boxes[order], image.truth), thresholds)
        start += len(order)
    order = np.argsort(-scores, kind="mergesort")
    owner, hits = owner[order], hits[order]

    def statistic(counts: Floats) -> Floats:
        total = counts @ truths
        weight = counts[:, owner]
        taken = np.cumsum(weight, axis=1)
        values = np.zeros(len(counts))
        for column in range(len(thresholds)):
            found = np.cumsum(weight * hits[:, column], axis=1)
            precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            for row in np.flatnonzero(total > 0):
                place = np.searchsorted(found[row] / total[row], _RECALLS, side="left")
                reached = place < found.shape[1]
                values[row] += precision[row][place[reached]].sum() / len(_RECALLS)
        return np.where(total > 0, values / len(thresholds), np.nan)

    return statistic


def _matched(overlap: Floats, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """[D, T]: which boxes, the surest first, meet a true one that no surer box has taken; the nearest, if several."""
    found = np.zeros((len(overlap), len(thresholds)), dtype=bool)
    for column, threshold in enumerate(thresholds):
        free = np.ones(overlap.shape[1], dtype=bool)
        for row in range(len(overlap)):
            near = np.where(free, overlap[row], -1.0)
            best = len(near) - 1 - int(near[::-1].argmax())  # the last of equals, as COCO takes it
            if near[best] >= min(threshold, 1 - 1e-10):
                found[row, column], free[best] = True, False
    return found


def _overlap(first: Floats, second: Floats) -> Floats:
    """Intersection over union [D, G]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    sizes = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1) for boxes in (first, second)]
    return np.asarray(both / np.maximum(sizes[0][:, None] + sizes[1][None] - both, 1e-12))


def _check(images: Sequence[Image]) -> None:
    for place, image in enumerate(images):
        if not all(np.isfinite(values).all() for values in (image.truth, image.boxes, image.scores)):
            raise PlaceError(f"image {place}: a box or a score is not finite", code="PL-G002")


def _xywh(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
