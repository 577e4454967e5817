"""Which pixels show a finding: U-Net or SETR-PUP on the maps of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from place_cxr.core.records import ABSENT, Study
from place_cxr.core.results import Metric
from place_cxr.metrics.boundary import boundary_distance
from place_cxr.metrics.intervals import RESAMPLES, Floats, Statistic, mean_statistic
from place_cxr.metrics.overlap import compute_overlap
from place_cxr.models.dense import dense_head, focal_loss, soft_dice
from place_cxr.models.image import PyramidSpec
from place_cxr.tasks.aggregate import Positions, by_name, named, share
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.grounding import to_original
from place_cxr.tasks.masks import (
    MaskCache,
    from_run_lengths,
    known_mask,
    mask_names,
    original_mask,
    run_lengths,
    view_mask,
)
from place_cxr.tasks.predictions import Predictions, ragged
from place_cxr.tasks.task import Columns, HeadSettings, HeadTask, Mode, Profile, Rows, TaskSettings, Truth

_BATCH = 16  # images whose mean MGCA averages again [MGCA: batch of RSNA]


class SegmentationSettings(HeadSettings):
    """Masks in, masks out."""

    batch_size: int = 16
    lr: float = 2e-3


@dataclass(frozen=True)
class Segmentation(HeadTask):
    """One mask for each name; where a mask is not known, nothing is learned or scored."""

    settings: SegmentationSettings
    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    reads: ClassVar[Literal["pooled", "maps"]] = "maps"
    predicts: ClassVar[tuple[str, ...]] = ("test",)
    Settings: ClassVar[type[TaskSettings]] = SegmentationSettings

    @classmethod
    def defaults(cls, profile: Profile, mode: Mode) -> dict[str, Any]:
        """[MGCA]: AdamW 5e-4, decay 0.05, 50 epochs, patience 10, constant rate."""
        given: dict[str, Any] = {"lr": 5e-4, "weight_decay": 0.05} if mode == "finetune" else {}
        if profile == "mgca":
            given |= {"lr": 5e-4, "min_lr": 5e-4, "warmup": 0.0, "weight_decay": 0.05, "epochs": 50, "patience": 10}
        return given

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """Every name with a mask."""
        return tuple(mask_names(studies))

    @property
    def live_norm(self) -> bool:
        """[MGCA] freezes weights only: batch statistics of the encoder go on moving."""
        return self.profile == "mgca" and self.mode == "frozen"

    def usable(self, study: Study) -> bool:
        """Some mask is known; under the prior profile, some mask is there [PRIOR: positives only]."""
        if self.profile == "prior":
            return any(name in study.masks and study.labels.get(name) != ABSENT for name in self.names)
        return any(known_mask(study, name) for name in self.names)

    def head(self, spec: PyramidSpec) -> nn.Module:
        """U-Net for a CNN, SETR-PUP for a ViT."""
        return dense_head(spec, len(self.names))

    def truth(self, data: Evaluation) -> Truth:
        """``masks`` [B, M, V, V] in {0, 1} on the model's view, and ``known`` [B, M]."""
        cache = MaskCache(data, self.names)

        def of(rows: Rows) -> dict[str, Tensor]:
            known = [[known_mask(data.studies[row], name) for name in self.names] for row in rows]
            return {"masks": torch.from_numpy(cache(rows.tolist())), "known": torch.tensor(known)}

        return of

    def missing(self, truth: Mapping[str, Tensor]) -> dict[str, str]:
        """Names without a mask."""
        there = truth["masks"].flatten(2).any(2).any(0).tolist()
        count = len(truth["masks"])
        return {
            name: f"no mask among {count} training images"
            for name, has in zip(self.names, there, strict=True)
            if not has
        }

    def loss(self, prediction: Tensor, truth: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, and one minus Dice over the batch, a mean over the names in it; as published under ``mgca``.

        Of a name that the batch lacks, Dice would only say: less. Most batches lack a rare one, which then never comes.
        """
        known = truth["known"][:, :, None, None].to(prediction.dtype)
        masks = truth["masks"].to(prediction.dtype)
        pixels = known.sum().clamp(min=1) * prediction.shape[-1] * prediction.shape[-2]
        if self.profile == "mgca":  # 10 * focal - log(soft Dice of everything, smooth 1)
            chance = prediction.sigmoid() * known
            both, total = (chance * masks).sum(), chance.sum() + masks.sum()
            return 10 * (focal_loss(prediction, masks) * known).sum() / pixels - torch.log((2 * both + 1) / (total + 1))
        each = functional.binary_cross_entropy_with_logits(prediction, masks, reduction="none")
        there = masks.amax((0, 2, 3)) > 0
        missed = (1 - soft_dice(prediction.sigmoid() * known, masks, 1.0)) * there
        return (each * known).sum() / pixels + missed.sum() / there.sum().clamp(min=1)

    def answer(self, prediction: Tensor, data: Evaluation, rows: Rows) -> Columns:
        """``mask.<name>`` and ``truth.<name>`` as run lengths (null: not known), with ``height`` and ``width``.

        In pixels of the original picture; under ``mgca`` of the model's view.
        """
        chance = prediction.sigmoid().float().cpu().numpy()
        found: Columns = {f"{kind}.{name}": [] for name in self.names for kind in ("mask", "truth")}
        sizes = []
        for place, row in enumerate(rows.tolist()):
            box = data.pack.letterbox(row)
            on_view = self.profile == "mgca"
            sizes.append((data.view_size, data.view_size) if on_view else (box.height, box.width))
            for column, name in enumerate(self.names):
                one = chance[place, column]
                if not on_view:
                    one = to_original(one, box) if (one > 0.5).any() else np.zeros(sizes[-1], dtype=np.float32)
                mask = original_mask(data, row, name)
                if mask is not None and on_view:
                    mask = view_mask(data, row, mask)
                found[f"mask.{name}"].append(run_lengths(one > 0.5))
                found[f"truth.{name}"].append(None if mask is None else run_lengths(mask))
        found = {name: ragged(column, whole=True) for name, column in found.items()}
        return found | {"height": [size[0] for size in sizes], "width": [size[1] for size in sizes]}

    def signature(self) -> str:
        """Everything that changes the numbers."""
        settings = self.settings.in_words()
        head = f"U-Net (CNN) or SETR-PUP (ViT), encoder {self.mode}"
        if self.profile == "mgca":
            return (
                f"{head}, its batch statistics moving; 10 focal - log Dice; {settings}; on the model's view; Dice and "
                f"IoU of an empty truth: 1 if nothing is predicted, else 0; mean of means of {_BATCH} images"
            )
        return (
            f"{head}; cross-entropy + 1 - Dice of names in the batch; {settings}; "
            "probability above 0.5, bilinear to the original picture; "
            "Dice and IoU over images where the finding is; boundary distance = average symmetric surface distance in "
            "original pixels where truth and prediction are not empty; empty kept empty = share of images without the "
            f"finding where nothing is predicted; 95 % intervals over {RESAMPLES} resamples of test patients"
        )

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """Dice, IoU, boundary distance and what becomes of empty masks."""
        found: dict[str, Metric] = {}
        for fraction in predictions.fractions:
            test, variant = predictions.part("test", fraction), share(fraction)
            tables = _tables(test, self.names, published=self.profile == "mgca")
            weights = _batch_weights(test.seeds) if self.profile == "mgca" else np.ones(len(test.seeds))
            for metric, table in tables.items():
                values = by_name(
                    self.names,
                    test.seeds,
                    test.patients,
                    _maker(table, weights),
                    why=_why(table, _NONE[metric]),
                    known=_known(table),
                    left_out=predictions.left_out(fraction),
                )
                found |= named(variant, metric, values)
        return found


_NONE = {
    "dice": "no image where it is",
    "IoU": "no image where it is",
    "boundary distance": "no image where truth and prediction are not empty",
    "empty kept empty": "no image without it",
}


def _maker(table: Floats, weights: Floats) -> Callable[[int, Positions], Statistic]:
    return lambda column, rows: _weighted_mean(table[rows, column], weights[rows])


def _why(table: Floats, reason: str) -> Callable[[int], str]:
    return lambda column: "" if np.isfinite(table[:, column]).any() else reason


def _known(table: Floats) -> Callable[[int], int]:
    return lambda column: int(np.isfinite(table[:, column]).sum())


def _tables(test: Predictions, names: Sequence[str], *, published: bool) -> dict[str, Floats]:
    """Values [L, M] of each metric, NaN where it says nothing."""
    shape = (len(test.seeds), len(names))
    tables = {metric: np.full(shape, np.nan) for metric in (("dice", "IoU") if published else _NONE)}
    heights, widths = test.values("height"), test.values("width")
    for column, name in enumerate(names):
        said, there = test.values(f"mask.{name}"), test.values(f"truth.{name}")
        for place in range(shape[0]):
            if there[place] is None:
                continue
            size = heights[place], widths[place]
            empty = len(there[place]) == 1
            if len(said[place]) == 1:  # nothing predicted: no need to draw masks
                dice = iou = float(empty)
                distance = np.nan
            else:
                mask, truth = from_run_lengths(said[place], *size), from_run_lengths(there[place], *size)
                both = compute_overlap(mask[None], truth[None])
                dice, iou = float(both.dice[0]), float(both.iou[0])
                distance = np.nan if published else boundary_distance(mask, truth)
            if published or not empty:
                tables["dice"][place, column], tables["IoU"][place, column] = dice, iou
            if not published:
                tables["boundary distance"][place, column] = distance
                if empty:
                    tables["empty kept empty"][place, column] = dice
    return tables


def _batch_weights(seeds: NDArray[np.int64]) -> Floats:
    """So that a weighted mean is the mean over batches of each batch's mean: the last batch's images weigh more."""
    weights = np.zeros(len(seeds))
    for seed in np.unique(seeds):
        rows = np.flatnonzero(seeds == seed)
        batch = np.arange(len(rows)) // _BATCH
        weights[rows] = 1 / np.bincount(batch)[batch]
    return weights


def _weighted_mean(values: Floats, weights: Floats) -> Statistic:
    if (weights == weights[0]).all():
        return mean_statistic(values)
    known = np.isfinite(values)
    filled, weight = np.where(known, values, 0.0) * weights, known * weights

    def statistic(counts: Floats) -> Floats:
        below = counts @ weight
        return np.divide(counts @ filled, below, out=np.full_like(below, np.nan), where=below > 0)

    return statistic
