"""Where findings are, as boxes: FCOS on the maps of the encoder, or a YOLOv3-style head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, Box, Study
from place_cxr.core.results import Metric
from place_cxr.core.task_text import FRACTION_SLOT, Headline, MetricBlock, TaskText
from place_cxr.images.letterbox import Letterbox
from place_cxr.metrics.detection import (
    COCO_THRESHOLDS,
    RSNA_THRESHOLDS,
    ImageBoxes,
    box_average_precision,
    box_average_precision_statistic,
)
from place_cxr.metrics.intervals import (
    Floats,
    Statistic,
    bootstrap_columns,
    mean_statistic,
    undefined_metric,
)
from place_cxr.models.image import PyramidSpec
from place_cxr.tasks.aggregate import (
    Positions,
    fraction_label,
    metrics_by_name,
    prefix_metrics,
    seed_mean_statistic,
)
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.predictions import Predictions, list_column
from place_cxr.tasks.task import (
    Columns,
    HeadSettings,
    HeadTask,
    Mode,
    Profile,
    Reads,
    RowIndices,
    TargetFunction,
    TaskSettings,
)

if TYPE_CHECKING:
    from place_cxr.models.detect import DetectionOutput

# Resamples of patients; fewer than for other metrics, because each scores all boxes again.
DETECTION_RESAMPLES = 200
# score from which a box is counted on an image without truth, and by the mgca profile at all [MGCA]
CONFIDENT_SCORE = 0.5
_IOU_THRESHOLDS = {"AP 40-75": RSNA_THRESHOLDS, "AP 50-95": COCO_THRESHOLDS, "AP 50": (0.5,)}


_TEXT = TaskText(
    name="Detection",
    short="detection",
    question=(
        "A box around each finding. Average precision (AP) is 1 where all boxes are found, in "
        "place, without false alarms; the two numbers beside it are how much of a box must "
        "overlap, in per cent."
    ),
    title="Drawing boxes around findings",
    says=(
        "A small network on top of the first one is taught, from boxes of training patients, to "
        "put a box around each finding and to say how sure it is. Average precision (AP) is 1 "
        "when all true boxes are found and no other box is drawn as surely, and 0 when none is "
        "found; boxes thrown at random score about 0."
    ),
    blocks=(
        MetricBlock(
            "In the mean over findings",
            "How much of the true box a drawn box must meet to count (shared over joint area).",
            f"{FRACTION_SLOT}/*/macro",
            rows={
                "AP 50": "Half (AP 50)",
                "AP 40-75": "From 40 to 75 % (AP 40-75), the mean",
                "AP 50-95": "From 50 to 95 % (AP 50-95), the mean",
            },
            only=True,
        ),
        MetricBlock(
            "Every finding",
            "AP 40-75; one row per finding, the mean first.",
            f"{FRACTION_SLOT}/AP 40-75/*",
        ),
    ),
    headline=Headline(
        f"{FRACTION_SLOT}/AP 40-75/macro",
        "Drawing boxes around findings",
        "Average precision after teaching with boxes: random boxes score about 0, 1 is perfect.",
    ),
    has_head=True,
)


class DetectionSettings(HeadSettings):
    """Boxes in, boxes out."""

    head: Literal["fcos", "yolo"] = "fcos"
    batch_size: int = 16
    # Boxes with a lower score are dropped.
    threshold: float = 0.05
    # Overlap (IoU) of two boxes of one name above which only the one of higher score stays.
    overlap: float = 0.5
    # Largest number of boxes per image.
    most: int = 20
    shrinking: bool = Field(
        False,
        description="mgca alone: stored boxes are divided by the view's size at every read after "
        "the first",
    )


@dataclass(frozen=True)
class Detection(HeadTask):
    """Boxes for each name; a study of which some name's boxes are not known is not learned from."""

    text: ClassVar[TaskText] = _TEXT
    settings: DetectionSettings
    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})
    reads: ClassVar[Reads] = "maps"
    # [MGCA] freezes weights only: batch statistics of the encoder go on moving.
    moving_batchnorm: ClassVar[frozenset[Profile]] = frozenset({"mgca"})
    predicted_splits: ClassVar[tuple[str, ...]] = ("test",)
    Settings: ClassVar[type[TaskSettings]] = DetectionSettings

    @classmethod
    def defaults(cls, profile: Profile, mode: Mode) -> dict[str, Any]:
        """[MGCA]: YOLOv3 head, AdamW 5e-4, decay 1e-6, 50 epochs, patience 10, scores above 0.5."""
        values: dict[str, Any] = {"lr": 5e-4, "weight_decay": 0.05} if mode == "finetune" else {}
        if profile == "mgca":
            values |= {
                "lr": 5e-4,
                "min_lr": 5e-4,
                "warmup": 0.0,
                "weight_decay": 1e-6,
                "epochs": 50,
                "patience": 10,
            }
            values |= {"head": "yolo", "threshold": CONFIDENT_SCORE}

        return values

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """Every name with a box."""
        names: dict[str, None] = {}
        for study in studies:
            names |= dict.fromkeys(box.finding for box in study.boxes)

        return tuple(names)

    def usable(self, study: Study) -> bool:
        """All boxes are known; under the prior profile, there is one [PRIOR: positives only]."""
        findings = {box.finding for box in study.boxes}
        if self.profile == "prior" and not findings & set(self.names):
            return False
        return all(name in findings or study.labels.get(name) == ABSENT for name in self.names)

    def head(self, spec: PyramidSpec) -> nn.Module:
        """FCOS, or YOLOv3-style."""
        from place_cxr.models.detect import DETECTION_HEADS  # brings torchvision's detectors

        head: nn.Module = DETECTION_HEADS[self.settings.head](spec, len(self.names))
        return head

    def targets(self, data: EvaluationDataset) -> TargetFunction:
        """``boxes`` [B, M, 4] in pixels of the view, and ``labels`` [B, M]: place of the name, -1
        where padded.

        Raises PlaceError PL-D229 under the mgca profile where an image has more boxes than its data
        set holds [MGCA]. With ``shrinking`` the function counts its reads of each row: so does the
        published data set, which writes what it normalised over what it stores, where its workers
        live longer than an epoch.
        """
        reads: Counter[int] = Counter()

        def of(rows: RowIndices) -> dict[str, Tensor]:
            boxes_by_row = [self._boxes_on_view(data, int(row)) for row in rows]
            if self.profile == "mgca" and self.settings.shrinking:
                for row, row_boxes in zip(rows.tolist(), boxes_by_row, strict=True):
                    row_boxes[:, :4] /= float(data.view_size) ** reads[row]
                    reads[row] += 1

            max_boxes = (
                max(1, *(len(row_boxes) for row_boxes in boxes_by_row)) if boxes_by_row else 1
            )
            if self.profile == "mgca" and max_boxes > self.settings.most:
                problem = (
                    f"an image has {max_boxes} true boxes, and as published there is room for "
                    f"{self.settings.most}"
                )
                raise PlaceError(
                    problem,
                    code="PL-D229",
                    file=data.source,
                    fix="set most=N, or use the strict profile",
                )

            table = np.zeros((len(boxes_by_row), max_boxes, 5), dtype=np.float32)
            table[..., 4] = -1
            for index, image_boxes in enumerate(boxes_by_row):
                table[index, : len(image_boxes)] = image_boxes
            padded = torch.from_numpy(table)

            return {"boxes": padded[..., :4], "labels": padded[..., 4].long()}

        return of

    def _boxes_on_view(self, data: EvaluationDataset, row: int) -> Floats:
        """[M, 5]: corners cut at the edge of the view, and the name's place; boxes outside the view
        are dropped.
        """
        letterbox = data.pack.letterbox(row)

        # The view is the center of the letterboxed square.
        start, size = (letterbox.size - data.view_size) // 2, data.view_size
        boxes = []

        for true_box in self._true_boxes(data, row):
            square = letterbox.box_to_square((true_box.x0, true_box.y0, true_box.x1, true_box.y1))
            x0, y0, x1, y1 = (min(max(value - start, 0.0), size) for value in square)
            # Less than half a pixel is left of a box at the edge of the view.
            if x1 - x0 > 0.5 and y1 - y0 > 0.5:
                boxes.append((x0, y0, x1, y1, float(self.names.index(true_box.finding))))

        return np.array(boxes, dtype=np.float64).reshape(-1, 5)

    def _true_boxes(self, data: EvaluationDataset, row: int) -> list[Box]:
        """Boxes of the task's names.

        Raises PlaceError PL-D257 where one lies outside its image: it is then not in its pixels.
        """
        letterbox = data.pack.letterbox(row)
        boxes = [box for box in data.studies[row].boxes if box.finding in self.names]
        if any(
            box.x0 >= letterbox.width or box.y0 >= letterbox.height or min(box.x1, box.y1) <= 0
            for box in boxes
        ):
            raise PlaceError(
                f"a box lies beside its picture of {letterbox.width} x {letterbox.height} pixels",
                code="PL-D257",
                file=data.source,
                fix="give boxes in pixels of the picture; place data check names the rows",
            )

        return boxes

    def untrainable(self, targets: Mapping[str, Tensor]) -> dict[str, str]:
        """Names without a box."""
        present = set(targets["labels"].flatten().tolist())
        count = len(targets["labels"])

        return {
            name: f"no box among {count} training images"
            for index, name in enumerate(self.names)
            if index not in present
        }

    def loss(self, prediction: DetectionOutput, targets: Mapping[str, Tensor]) -> Tensor:
        """That of the head."""
        return prediction.loss(targets["boxes"], targets["labels"])

    def predict(
        self, prediction: DetectionOutput, data: EvaluationDataset, rows: RowIndices
    ) -> Columns:
        """``boxes``, ``scores``, ``labels`` and ``true_boxes boxes``, ``true_boxes labels``, in
        pixels of the original image.
        """
        settings = self.settings
        columns: Columns = {
            name: [] for name in ("boxes", "scores", "labels", "true boxes", "true labels")
        }
        predicted = prediction.boxes(settings.threshold, settings.overlap, settings.most)

        for row, image_boxes in zip(rows.tolist(), predicted, strict=True):
            letterbox, true_boxes = data.pack.letterbox(row), self._true_boxes(data, row)
            corners = [
                _box_to_original(letterbox, data.view_size, box)
                for box in image_boxes.boxes.cpu().double().tolist()
            ]
            columns["boxes"].append(np.ravel(corners).tolist())
            columns["scores"].append(image_boxes.scores.cpu().double().tolist())
            columns["labels"].append(image_boxes.labels.cpu().tolist())
            true_corners = [(box.x0, box.y0, box.x1, box.y1) for box in true_boxes]
            columns["true boxes"].append(np.ravel(true_corners).tolist())
            columns["true labels"].append([self.names.index(box.finding) for box in true_boxes])

        return {
            name: list_column(column, integers=name.endswith("labels"))
            for name, column in columns.items()
        }

    def signature(self) -> str:
        """Everything that changes the numbers."""
        counted = "all images count, also those without prediction or truth"
        if self.profile == "mgca":
            counted = (
                "images without a box above 0.5, or without a true one, are skipped with all that "
                "is on them"
            )

        return (
            f"{self.settings.head} head, encoder "
            f"{self.mode}{', its batch statistics moving' if self.updates_batchnorm else ''}; "
            f"{self.settings.in_words('head')}; average precision by faster-coco-eval: AP 40-75 = "
            f"mean over overlaps .40 to .75 (RSNA), AP 50-95 (COCO), AP 50; {counted}; 95 % "
            f"intervals over {DETECTION_RESAMPLES} resamples of test patients"
        )

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """Average precision over three sets of overlaps, and sure boxes on images where the finding
        is not.
        """
        metrics: dict[str, Metric] = {}
        for fraction in predictions.fractions:
            test, variant, left_out = (
                predictions.subset("test", fraction),
                fraction_label(fraction),
                predictions.left_out(fraction),
            )
            images = _images_by_name(test, len(self.names))
            if self.profile == "mgca":
                has_confident = _confident_counts(test) > 0
                has_true = np.array(
                    [len(labels) > 0 for labels in test.values("true labels")], dtype=bool
                )
                counted = np.flatnonzero(has_confident & has_true)
            else:
                counted = np.arange(len(test.seeds))

            for metric, overlaps in _IOU_THRESHOLDS.items():
                metrics |= prefix_metrics(
                    variant,
                    metric,
                    self._average_precisions(test, images, counted, overlaps, left_out),
                )

            if self.profile != "mgca":
                metrics[f"{variant}/sure boxes where nothing is/all images"] = _false_boxes(test)

        return metrics

    def _average_precisions(
        self,
        test: Predictions,
        images: Sequence[Sequence[ImageBoxes]],
        counted: Positions,
        overlaps: Sequence[float],
        left_out: Mapping[str, str],
    ) -> dict[str, Metric]:
        """The library's value, mean over seeds, with an interval from our own resampling of the
        same number.
        """
        seeds, patients = test.seeds[counted], [test.patients[position] for position in counted]
        counted_images = [_select(images_of_name, counted) for images_of_name in images]
        if not len(counted):
            return {
                name: undefined_metric("no image has both a box and a true one")
                for name in (*self.names, "macro")
            }

        values = metrics_by_name(
            self.names,
            seeds,
            patients,
            _statistic_maker(counted_images, overlaps),
            undefined_reason=lambda column: (
                ""
                if any(len(image.targets) for image in counted_images[column])
                else "no image has a true box"
            ),
            count_known=lambda column: len(counted),
            left_out=left_out,
            resamples=DETECTION_RESAMPLES,
        )
        for column, name in enumerate(self.names):
            if values[name].value is not None:
                precisions = [
                    box_average_precision(
                        _select(counted_images[column], np.flatnonzero(seeds == seed)), overlaps
                    )
                    for seed in np.unique(seeds)
                ]
                values[name] = replace(
                    values[name],
                    value=float(np.mean([value for value in precisions if value is not None])),
                )

        defined = [value for name in self.names if (value := values[name].value) is not None]

        return values | (
            {"macro": replace(values["macro"], value=float(np.mean(defined)))} if defined else {}
        )


def _statistic_maker(
    images: Sequence[Sequence[ImageBoxes]], overlaps: Sequence[float]
) -> Callable[[int, Positions], Statistic]:
    return lambda column, rows: box_average_precision_statistic(
        _select(images[column], rows), overlaps
    )


def _images_by_name(test: Predictions, names: int) -> list[list[ImageBoxes]]:
    """True and predicted boxes of each name, row by row."""
    columns = [
        test.values(name) for name in ("boxes", "scores", "labels", "true boxes", "true labels")
    ]
    images_by_name: list[list[ImageBoxes]] = [[] for _ in range(names)]
    for boxes, scores, labels, true, true_labels in zip(*columns, strict=True):
        label_array, true_label_array = (
            np.array(labels, dtype=np.int64),
            np.array(true_labels, dtype=np.int64),
        )
        corners, score_array = (
            np.array(boxes, dtype=np.float64).reshape(-1, 4),
            np.array(scores, dtype=np.float64),
        )
        true_corners = np.array(true, dtype=np.float64).reshape(-1, 4)

        for column, images in enumerate(images_by_name):
            is_predicted = label_array == column
            images.append(
                ImageBoxes(
                    true_corners[true_label_array == column],
                    corners[is_predicted],
                    score_array[is_predicted],
                )
            )

    return images_by_name


def _select(images: Sequence[ImageBoxes], positions: Positions) -> list[ImageBoxes]:
    return [images[position] for position in positions]


def _confident_counts(test: Predictions) -> Floats:
    """Number of boxes of each row [L] with a score of 0.5 or more."""
    counts = [np.count_nonzero(np.array(s) >= CONFIDENT_SCORE) for s in test.values("scores")]
    return np.array(counts, dtype=np.float64)


def _false_boxes(test: Predictions) -> Metric:
    """Boxes with a score of 0.5 or more on an image without any true box: their mean number."""
    empty = np.array([not labels for labels in test.values("true labels")], dtype=bool)
    if not empty.any():
        return undefined_metric("every image has a true box", len(empty))
    values = np.where(empty, _confident_counts(test), np.nan)
    statistic = seed_mean_statistic(test.seeds, lambda rows: mean_statistic(values[rows]))

    return bootstrap_columns(statistic, test.patients, rows=[int(empty.sum())])[0]


def _box_to_original(
    letterbox: Letterbox, view: int, corners: Sequence[float]
) -> tuple[float, float, float, float]:
    start = (letterbox.size - view) // 2
    x0, y0, x1, y1 = (value + start for value in corners)
    return letterbox.box_to_original((x0, y0, x1, y1))
