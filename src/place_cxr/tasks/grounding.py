"""Pointing at a finding: does the heat map of a phrase meet the finding's mask, in pixels of the
original image?
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, UNCERTAIN, Study
from place_cxr.core.results import Metric
from place_cxr.core.task_text import Headline, MetricBlock, TaskText
from place_cxr.core.tensors import Observations
from place_cxr.images.letterbox import Letterbox
from place_cxr.images.masks import load_mask
from place_cxr.metrics.intervals import RESAMPLES, Statistic, mean_statistic, undefined_metric
from place_cxr.metrics.overlap import heat_overlap, pointing_game
from place_cxr.predict import phrase_map
from place_cxr.tasks.aggregate import Positions, metrics_by_name, prefix_metrics
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.descriptions import PhraseEmbeddings, StudyEmbeddings, embed_phrases
from place_cxr.tasks.masks import check_mask_size, mask_names
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.prompts import Prompt, read_prompt_set
from place_cxr.tasks.task import Columns, TaskSettings, TextTask

_Float32Array = NDArray[np.float32]

SIDES = (
    "left",
    "right",
    "bilateral",
)  # of the patient, who faces the reader: left is on the image's right
GROUNDING_VARIANTS = ("observation", "instance", "centre", "uniform")
GROUNDING_SIGNATURE = (
    "one phrase per finding present with a mask, its side (left, right, bilateral) told from the "
    "mask; observation = "
    "what each patch adds to the agreement of the phrase with the queries it selects; instance = "
    "cosine of places "
    "with the phrase; maps bilinear to the original image; pointing game: maximum inside the mask "
    "(ties: mean); IoU: "
    "map above half of "
    "its maximum, fixed in advance; baselines: centre = a bump at the middle of the told side, "
    "uniform = everywhere "
    f"alike; macro = mean over findings; 95 % percentile intervals over {RESAMPLES} resamples of "
    f"patients"
)
# Metric -> name of its columns.
_METRIC_COLUMNS = {"pointing game": "hit", "IoU": "IoU"}
# Fraction of a mask on one half of the image that makes it one-sided.
_ONE_SIDED_FRACTION = 0.9
# Targets whose maps are in memory at once.
_TARGETS_AT_ONCE = 256
# Standard deviation of the centre baseline, as a fraction of the view.
_BUMP_WIDTH = 0.15


_MAPS = {
    "observation": "Observations (V-PORs) that the sentence picks",
    "instance": "Places that are like the sentence",
    "centre": "Middle of the named side (no network)",
    "uniform": "Same everywhere (no network)",
}


_TEXT = TaskText(
    name="Grounding",
    short="grounding",
    question=(
        "Where in a picture is a phrase true? In the pointing game the hottest place of the map "
        "has to lie inside the true outline; IoU is the overlap of the outline with what is "
        "hotter than half of that."
    ),
    title="Pointing at what a sentence names",
    says=(
        "Given “left pleural effusion.”, where does the network look? In the pointing game a try "
        "counts when the hottest spot of the heat map lies inside the true outline: 0 is never, 1 "
        "is always. No outline was ever shown in training."
    ),
    blocks=(
        MetricBlock(
            "Ways to point",
            "Two maps of the network, and two answers that never look at the picture: a spot "
            "in the middle of the named side, and a map that is the same everywhere. A "
            "network that learned to point beats both.",
            "*/pointing game/macro",
            rows=_MAPS,
        ),
        MetricBlock(
            "Every finding",
            "Heat maps of the network’s observations; one row per finding, the mean first.",
            "observation/pointing game/*",
        ),
        MetricBlock(
            "Overlap with the true outline",
            "Shared area over joint area (IoU) of the outline and the map’s hotter half: 0 is "
            "none, 1 is a perfect fit. Mean over findings.",
            "*/IoU/macro",
            rows=_MAPS,
        ),
    ),
    headline=Headline(
        "observation/pointing game/macro",
        "Pointing at what a sentence names",
        "Share of tries whose hottest spot lies inside the true outline: 1 is always.",
        trivial="centre/pointing game/macro",
        trivial_name="A fixed spot on the named side",
    ),
    trivial_answers={
        "a bump at the middle of the named side": ("{heat}", "centre"),
        "the same everywhere": ("{heat}", "uniform"),
    },
)


@dataclass(frozen=True, slots=True)
class GroundingTarget:
    """One finding of one image: position in the embedded split, its mask bool [H, W], and its
    phrase.
    """

    index: int
    finding: str
    side: str
    phrase: str
    mask: NDArray[np.bool_]


def grounding_targets(
    embedded: StudyEmbeddings, prompts: Mapping[str, Prompt]
) -> list[GroundingTarget]:
    """All findings that are present, have a mask that is not empty, and a phrase that points."""
    pointed = []
    for index, study in enumerate(embedded.studies):
        for finding, prompt in prompts.items():
            if prompt.grounding and has_outline(study, finding):
                mask = load_mask(study.masks[finding])
                if mask.any():
                    side = mask_side(mask)
                    pointed.append(GroundingTarget(index, finding, side, prompt.phrase(side), mask))

    return pointed


def has_outline(study: Study, finding: str) -> bool:
    """Whether a mask says where it is, and no label says that it is not there or may not be."""
    return finding in study.masks and study.labels.get(finding) not in (ABSENT, UNCERTAIN)


def mask_side(mask: NDArray[np.bool_]) -> str:
    """The patient's side that holds nine tenths of a mask [H, W], else bilateral."""
    left = mask[:, mask.shape[1] // 2 :].sum() / mask.sum()
    return (
        "left"
        if left >= _ONE_SIDED_FRACTION
        else "right"
        if left <= 1 - _ONE_SIDED_FRACTION
        else "bilateral"
    )


def heat_maps(
    embedded: StudyEmbeddings, index: NDArray[np.int64], phrases: PhraseEmbeddings
) -> dict[str, _Float32Array]:
    """Maps over patches, [T, rows, columns] each, of T phrases on the images ``index`` [T].

    ``observation``: `predict.phrase_map`. ``instance``: cosine between each place and the phrase,
    stretched to 0..1 within the image.
    """
    text = torch.from_numpy(phrases.observation)[:, None]
    observation = phrase_map(
        torch.from_numpy(embedded.visual[index]),
        torch.from_numpy(embedded.attention[index]),
        torch.from_numpy(embedded.patches[index]).float(),
        Observations(text, torch.ones(text.shape[:2], dtype=torch.bool)),
        embedded.grid,
    )
    cosine = np.einsum("tqd,td->tq", embedded.places[index].astype(np.float32), phrases.vector)
    # Stretched to 0..1 within each image: only places of one image are compared.
    low = cosine.min(1, keepdims=True)
    cosine = (cosine - low) / np.maximum(cosine.max(1, keepdims=True) - low, 1e-12)

    return {
        "observation": observation.numpy(),
        "instance": cosine.reshape(-1, *embedded.places_grid),
    }


def patches_to_view(maps: _Float32Array, size: int) -> _Float32Array:
    """Patch maps [T, rows, columns] as [T, size, size], bilinear between patch centres."""
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None], size=(size, size), mode="bilinear"
    )
    return np.asarray(resized[:, 0].numpy())


def view_to_original(view: _Float32Array, letterbox: Letterbox) -> _Float32Array:
    """A map on the model's view [V, V], the centre of the pack's square, as [height, width] of the
    image; 0 outside.
    """
    side, size = letterbox.size, len(view)
    square = np.zeros((side, side), dtype=np.float32)
    start = (side - size) // 2
    square[start : start + size, start : start + size] = view

    return letterbox.map_to_original(square)


def baseline_maps(size: int) -> dict[str, tuple[_Float32Array, _Float32Array]]:
    """Baselines on the view by side: centre and uniform, [V, V] each; they know the side, as the
    phrase does.
    """
    positions = (np.arange(size, dtype=np.float32) + 0.5) / size

    def bump(x: float) -> _Float32Array:
        return np.exp(
            -((positions[:, None] - 0.5) ** 2 + (positions[None, :] - x) ** 2)
            / (2 * _BUMP_WIDTH**2)
        )

    centre = {"left": bump(0.7), "right": bump(0.3), "bilateral": bump(0.3) + bump(0.7)}
    uniform = np.ones((size, size), dtype=np.float32)

    return {side: (centre[side], uniform) for side in SIDES}


class GroundingSettings(TaskSettings):
    """Which phrases point."""

    prompts: str = Field(
        "phantom", description="a shipped set, or a YAML file, with grounding phrases"
    )


@dataclass(frozen=True)
class Grounding(TextTask):
    """Two heat maps and two trivial baselines, for each finding with an outline and a phrase."""

    text: ClassVar[TaskText] = _TEXT
    settings: GroundingSettings
    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    Settings: ClassVar[type[TaskSettings]] = GroundingSettings

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """Every name with a mask."""
        return tuple(mask_names(studies))

    def usable(self, study: Study) -> bool:
        """Something is there and outlined."""
        return any(has_outline(study, name) for name in self.names)

    def prompts(self) -> dict[str, Prompt]:
        """The set's pointing phrases of our names. Raises PlaceError PL-C030 as `read_prompt_set`,
        or if it has none.
        """
        available = read_prompt_set(self.settings.prompts)
        pointing = {
            name: available[name]
            for name in self.names
            if name in available and available[name].grounding
        }
        if not pointing:
            raise PlaceError(
                "no phrase points at a finding of the source",
                code="PL-C030",
                fix="name another set",
            )

        return pointing

    def describe(self, model: Any, data: EvaluationDataset, embeddings: StudyEmbeddings) -> Columns:
        """``hit.<variant>.<name>`` and ``IoU.<variant>.<name>`` for names with phrases; NaN where
        nothing is outlined.

        A hit is 1 where the hottest spot lies inside, 0 outside, and a fraction where several are
        hottest.
        """
        prompts, device = self.prompts(), next(model.parameters()).device
        all_targets = grounding_targets(embeddings, prompts)
        texts = list(dict.fromkeys(target.phrase for target in all_targets))
        phrase_embeddings = (
            embed_phrases(model, data.tokenize, texts, device=device) if texts else None
        )
        column_names = itertools.product(prompts, GROUNDING_VARIANTS, _METRIC_COLUMNS.values())
        columns = {
            f"{metric}.{variant}.{name}": np.full(len(embeddings.rows), np.nan)
            for name, variant, metric in column_names
        }
        baselines = baseline_maps(data.view_size)

        for start in range(0, len(all_targets), _TARGETS_AT_ONCE):
            chunk = all_targets[start : start + _TARGETS_AT_ONCE]
            assert phrase_embeddings is not None
            phrase_index = np.array([texts.index(target.phrase) for target in chunk])
            image_index = np.array([target.index for target in chunk])
            maps_by_variant = heat_maps(
                embeddings,
                image_index,
                PhraseEmbeddings(
                    phrase_embeddings.vector[phrase_index],
                    phrase_embeddings.observation[phrase_index],
                ),
            )
            views = [
                patches_to_view(maps_by_variant[variant], data.view_size)
                for variant in GROUNDING_VARIANTS
                if variant in maps_by_variant
            ]

            for number, target in enumerate(chunk):
                row = int(embeddings.rows[target.index])
                letterbox, mask = (
                    data.pack.letterbox(row),
                    check_mask_size(target.mask, data, row, target.finding),
                )
                view_maps = [*(v[number] for v in views), *baselines[target.side]]
                maps = np.stack([view_to_original(view_map, letterbox) for view_map in view_maps])
                masks = np.broadcast_to(mask, maps.shape)

                for metric, values in (
                    ("hit", pointing_game(maps, masks)),
                    ("IoU", heat_overlap(maps, masks).iou),
                ):
                    for variant, value in zip(GROUNDING_VARIANTS, values, strict=True):
                        columns[f"{metric}.{variant}.{target.finding}"][target.index] = value

        return columns

    def signature(self) -> str:
        """Everything that changes the numbers."""
        return f"phrases: {self.settings.prompts}; {GROUNDING_SIGNATURE}"

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """Pointing game and IoU per finding and in the mean, for each variant."""
        test = predictions.subset()
        names = [
            name
            for name in self.names
            if f"hit.{GROUNDING_VARIANTS[0]}.{name}" in test.table.column_names
        ]
        metrics: dict[str, Metric] = {}

        for variant in GROUNDING_VARIANTS:
            for metric, column in _METRIC_COLUMNS.items():
                table = test.numbers(*(f"{column}.{variant}.{name}" for name in names))
                values = metrics_by_name(
                    names,
                    test.seeds,
                    test.patients,
                    _statistic_maker(table),
                    undefined_reason=_reason_finder(table),
                    count_known=_known_counter(table),
                )
                metrics |= prefix_metrics(variant, metric, values)

        names_without_phrase = [name for name in self.names if name not in names]
        no_phrase = undefined_metric("no phrase in the set", len(test.patients))

        return metrics | {
            f"{GROUNDING_VARIANTS[0]}/pointing game/{name}": no_phrase
            for name in names_without_phrase
        }


def _statistic_maker(table: NDArray[np.float64]) -> Callable[[int, Positions], Statistic]:
    return lambda column, rows: mean_statistic(table[rows, column])


def _reason_finder(table: NDArray[np.float64]) -> Callable[[int], str]:
    return lambda column: (
        "" if np.isfinite(table[:, column]).any() else "no image where it is outlined"
    )


def _known_counter(table: NDArray[np.float64]) -> Callable[[int], int]:
    return lambda column: int(np.isfinite(table[:, column]).sum())
