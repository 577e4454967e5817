"""Which pixels show a finding: U-Net or SETR-PUP on the maps of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from place_cxr.core.records import ABSENT, Study
from place_cxr.core.results import Metric
from place_cxr.core.task_text import FRACTION_SLOT, Headline, MetricBlock, TaskText
from place_cxr.metrics.boundary import boundary_distance
from place_cxr.metrics.intervals import RESAMPLES, Floats, Statistic, mean_statistic
from place_cxr.metrics.overlap import compute_overlap
from place_cxr.models.dense import dense_head, focal_loss, soft_dice
from place_cxr.models.image import PyramidSpec
from place_cxr.tasks.aggregate import Positions, fraction_label, metrics_by_name, prefix_metrics
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.grounding import view_to_original
from place_cxr.tasks.masks import (
    MaskCache,
    from_run_lengths,
    is_mask_known,
    mask_names,
    original_mask,
    run_lengths,
    view_mask,
)
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

# MGCA reports the mean over batches of the mean of each batch; this is its batch on RSNA.
_PUBLISHED_BATCH_SIZE = 16


_TEXT = TaskText(
    name="Segmentation",
    short="segmentation",
    question=(
        "Which pixels belong to a finding? Dice and IoU measure the overlap with the true "
        "outline: 0 is none, 1 a perfect fit."
    ),
    title="Outlining findings",
    says=(
        "A small network on top of the first one is taught, from outlines of training patients, "
        "to mark the pixels of each finding. Dice is twice the shared area over the sum of both "
        "areas: 0 is no overlap, 1 is a perfect outline. It is taken over the pictures where the "
        "finding is; marking nothing at all scores 0. Small things such as a fracture or the tip "
        "of a tube need more training than a demonstration has time for."
    ),
    blocks=(
        MetricBlock(
            "In the mean over findings",
            "Overlap tells how well a finding is marked where it is; pictures without it "
            "should stay unmarked. Marking nothing at all would score 0 in the first and 1 in "
            "the second.",
            f"{FRACTION_SLOT}/*/macro",
            rows={
                "dice": "Overlap where the finding is (Dice)",
                "IoU": "The same, stricter (IoU)",
                "empty kept empty": "Pictures without the finding left unmarked",
            },
            only=True,
        ),
        MetricBlock(
            "Every finding",
            "Dice; one row per finding, the mean first.",
            f"{FRACTION_SLOT}/dice/*",
        ),
    ),
    headline=Headline(
        f"{FRACTION_SLOT}/dice/macro",
        "Outlining findings",
        "Overlap with the true outline (Dice) after teaching with outlines: 0 is none, 1 perfect.",
    ),
    has_head=True,
)


class SegmentationSettings(HeadSettings):
    """Masks in, masks out."""

    batch_size: int = 16
    lr: float = 2e-3


@dataclass(frozen=True)
class Segmentation(HeadTask):
    """One mask for each name; where a mask is not known, nothing is learned or scored."""

    text: ClassVar[TaskText] = _TEXT
    settings: SegmentationSettings
    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    reads: ClassVar[Reads] = "maps"
    # [MGCA] freezes weights only: batch statistics of the encoder go on moving.
    moving_batchnorm: ClassVar[frozenset[Profile]] = frozenset({"mgca"})
    predicted_splits: ClassVar[tuple[str, ...]] = ("test",)
    Settings: ClassVar[type[TaskSettings]] = SegmentationSettings

    @classmethod
    def defaults(cls, profile: Profile, mode: Mode) -> dict[str, Any]:
        """[MGCA]: AdamW 5e-4, decay 0.05, 50 epochs, patience 10, constant rate."""
        values: dict[str, Any] = {"lr": 5e-4, "weight_decay": 0.05} if mode == "finetune" else {}
        if profile == "mgca":
            values |= {
                "lr": 5e-4,
                "min_lr": 5e-4,
                "warmup": 0.0,
                "weight_decay": 0.05,
                "epochs": 50,
                "patience": 10,
            }

        return values

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """Every name with a mask."""
        return tuple(mask_names(studies))

    def usable(self, study: Study) -> bool:
        """Some mask is known; under the prior profile, one exists [PRIOR: positives only]."""
        if self.profile == "prior":
            return any(
                name in study.masks and study.labels.get(name) != ABSENT for name in self.names
            )
        return any(is_mask_known(study, name) for name in self.names)

    def head(self, spec: PyramidSpec) -> nn.Module:
        """U-Net for a CNN, SETR-PUP for a ViT."""
        return dense_head(spec, len(self.names))

    def targets(self, data: EvaluationDataset) -> TargetFunction:
        """``masks`` [B, M, V, V] in {0, 1} on the model's view, and ``is_known`` [B, M]."""
        cache = MaskCache(data, self.names)

        def of(rows: RowIndices) -> dict[str, Tensor]:
            is_known = torch.empty(len(rows), len(self.names), dtype=torch.bool)
            for index, row in enumerate(rows):
                for column, name in enumerate(self.names):
                    is_known[index, column] = is_mask_known(data.studies[row], name)

            return {"masks": torch.from_numpy(cache(rows.tolist())), "known": is_known}

        return of

    def untrainable(self, targets: Mapping[str, Tensor]) -> dict[str, str]:
        """Names without a mask."""
        has_mask = targets["masks"].flatten(2).any(2).any(0).tolist()
        count = len(targets["masks"])

        return {
            name: f"no mask among {count} training images"
            for name, is_present in zip(self.names, has_mask, strict=True)
            if not is_present
        }

    def loss(self, prediction: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, and one minus Dice over the batch, a mean over the names in it; as
        published under ``mgca``.

        Names without a mask in the batch have no Dice term: it would only push their scores down,
        and most batches lack a rare finding, so it would never be learned.
        """
        is_known = targets["known"][:, :, None, None].to(prediction.dtype)
        masks = targets["masks"].to(prediction.dtype)
        pixels = is_known.sum().clamp(min=1) * prediction.shape[-1] * prediction.shape[-2]
        if self.profile == "mgca":  # 10 * focal - log(soft Dice of everything, smooth 1)
            probabilities = prediction.sigmoid() * is_known
            intersection, total = (probabilities * masks).sum(), probabilities.sum() + masks.sum()
            return 10 * (focal_loss(prediction, masks) * is_known).sum() / pixels - torch.log(
                (2 * intersection + 1) / (total + 1)
            )

        element_losses = functional.binary_cross_entropy_with_logits(
            prediction, masks, reduction="none"
        )
        is_present = masks.amax((0, 2, 3)) > 0
        dice_losses = (1 - soft_dice(prediction.sigmoid() * is_known, masks, 1.0)) * is_present

        return (
            element_losses * is_known
        ).sum() / pixels + dice_losses.sum() / is_present.sum().clamp(min=1)

    def predict(self, prediction: Tensor, data: EvaluationDataset, rows: RowIndices) -> Columns:
        """``mask.<name>`` and ``truth.<name>`` as run lengths (null: not known), with ``height``
        and ``width``.

        In pixels of the original image; under ``mgca`` of the model's view.
        """
        probabilities = prediction.sigmoid().float().cpu().numpy()
        columns: Columns = {}
        for name in self.names:
            columns |= {f"mask.{name}": [], f"truth.{name}": []}

        sizes = []

        for index, row in enumerate(rows.tolist()):
            letterbox = data.pack.letterbox(row)
            on_view = self.profile == "mgca"
            sizes.append(
                (data.view_size, data.view_size) if on_view else (letterbox.height, letterbox.width)
            )

            for column, name in enumerate(self.names):
                probability_map = probabilities[index, column]
                if not on_view:
                    probability_map = (
                        view_to_original(probability_map, letterbox)
                        if (probability_map > 0.5).any()
                        else np.zeros(sizes[-1], dtype=np.float32)
                    )

                mask = original_mask(data, row, name)
                if mask is not None and on_view:
                    mask = view_mask(data, row, mask)
                columns[f"mask.{name}"].append(run_lengths(probability_map > 0.5))
                columns[f"truth.{name}"].append(None if mask is None else run_lengths(mask))

        columns = {name: list_column(column, integers=True) for name, column in columns.items()}

        return columns | {
            "height": [size[0] for size in sizes],
            "width": [size[1] for size in sizes],
        }

    def signature(self) -> str:
        """Everything that changes the numbers."""
        settings = self.settings.in_words()
        head = f"U-Net (CNN) or SETR-PUP (ViT), encoder {self.mode}"
        if self.profile == "mgca":
            return (
                f"{head}, its batch statistics moving; 10 focal - log Dice; {settings}; on the "
                f"model's view; Dice and IoU of an empty truth: 1 if nothing is predicted, else 0; "
                f"mean of means of {_PUBLISHED_BATCH_SIZE} images"
            )

        return (
            f"{head}; cross-entropy + 1 - Dice of names in the batch; {settings}; "
            "probability above 0.5, bilinear to the original picture; "
            "Dice and IoU over images where the finding is; boundary distance = average symmetric "
            "surface distance in "
            "original pixels where truth and prediction are not empty; empty kept empty = share of "
            "images without the "
            f"finding where nothing is predicted; 95 % intervals over {RESAMPLES} resamples of "
            f"test patients"
        )

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """Dice, IoU, boundary distance and what becomes of empty masks."""
        metrics: dict[str, Metric] = {}
        for fraction in predictions.fractions:
            test, variant = predictions.subset("test", fraction), fraction_label(fraction)
            tables = _metric_tables(test, self.names, published=self.profile == "mgca")
            weights = (
                _batch_weights(test.seeds) if self.profile == "mgca" else np.ones(len(test.seeds))
            )

            for metric, table in tables.items():
                values = metrics_by_name(
                    self.names,
                    test.seeds,
                    test.patients,
                    _statistic_maker(table, weights),
                    undefined_reason=_reason_finder(table, _UNDEFINED_REASONS[metric]),
                    count_known=_known_counter(table),
                    left_out=predictions.left_out(fraction),
                )
                metrics |= prefix_metrics(variant, metric, values)

        return metrics


_UNDEFINED_REASONS = {
    "dice": "no image where it is",
    "IoU": "no image where it is",
    "boundary distance": "no image where truth and prediction are not empty",
    "empty kept empty": "no image without it",
}


def _statistic_maker(table: Floats, weights: Floats) -> Callable[[int, Positions], Statistic]:
    return lambda column, rows: _weighted_mean(table[rows, column], weights[rows])


def _reason_finder(table: Floats, reason: str) -> Callable[[int], str]:
    return lambda column: "" if np.isfinite(table[:, column]).any() else reason


def _known_counter(table: Floats) -> Callable[[int], int]:
    return lambda column: int(np.isfinite(table[:, column]).sum())


def _metric_tables(
    test: Predictions, names: Sequence[str], *, published: bool
) -> dict[str, Floats]:
    """Values [L, M] of each metric, NaN where it says nothing."""
    shape = (len(test.seeds), len(names))
    tables = {
        metric: np.full(shape, np.nan)
        for metric in (("dice", "IoU") if published else _UNDEFINED_REASONS)
    }
    heights, widths = test.values("height"), test.values("width")

    for column, name in enumerate(names):
        predicted_runs, true_runs = test.values(f"mask.{name}"), test.values(f"truth.{name}")
        for row in range(shape[0]):
            if true_runs[row] is None:
                continue
            size = heights[row], widths[row]
            empty = len(true_runs[row]) == 1
            if len(predicted_runs[row]) == 1:  # nothing predicted: no need to draw masks
                dice = iou = float(empty)
                distance = np.nan
            else:
                mask, truth = (
                    from_run_lengths(predicted_runs[row], *size),
                    from_run_lengths(true_runs[row], *size),
                )
                overlaps = compute_overlap(mask[None], truth[None])
                dice, iou = float(overlaps.dice[0]), float(overlaps.iou[0])
                distance = np.nan if published else boundary_distance(mask, truth)

            if published or not empty:
                tables["dice"][row, column], tables["IoU"][row, column] = dice, iou
            if not published:
                tables["boundary distance"][row, column] = distance
                if empty:
                    tables["empty kept empty"][row, column] = dice

    return tables


def _batch_weights(seeds: NDArray[np.int64]) -> Floats:
    """So that a weighted mean is the mean over batches of each batch's mean: the last batch's
    images weigh more.
    """
    weights = np.zeros(len(seeds))
    for seed in np.unique(seeds):
        rows = np.flatnonzero(seeds == seed)
        batch = np.arange(len(rows)) // _PUBLISHED_BATCH_SIZE
        weights[rows] = 1 / np.bincount(batch)[batch]

    return weights


def _weighted_mean(values: Floats, weights: Floats) -> Statistic:
    if (weights == weights[0]).all():
        return mean_statistic(values)
    is_known = np.isfinite(values)
    filled, weight = np.where(is_known, values, 0.0) * weights, is_known * weights

    def statistic(counts: Floats) -> Floats:
        total_weight = counts @ weight
        return np.divide(
            counts @ filled,
            total_weight,
            out=np.full_like(total_weight, np.nan),
            where=total_weight > 0,
        )

    return statistic
