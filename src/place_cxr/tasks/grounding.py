"""Pointing at a finding: does the heat map of a phrase meet the finding's mask, in pixels of the original image?"""

from __future__ import annotations

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
from place_cxr.core.tensors import Observations
from place_cxr.images.letterbox import Letterbox
from place_cxr.images.masks import load_mask
from place_cxr.metrics.intervals import RESAMPLES, Statistic, mean_statistic, undefined_metric
from place_cxr.metrics.overlap import heat_overlap, pointing_game
from place_cxr.predict import phrase_map
from place_cxr.tasks.aggregate import Positions, by_name, named
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.descriptions import Embedded, Phrases, embed_phrases
from place_cxr.tasks.masks import fitting, mask_names
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.prompts import Prompt, prompt_set
from place_cxr.tasks.task import Columns, TaskSettings, TextTask

Floats = NDArray[np.float32]

SIDES = ("left", "right", "bilateral")  # of the patient, who faces the reader: left is on the image's right
VARIANTS = ("observation", "instance", "centre", "uniform")
SIGNATURE = (
    "one phrase per finding present with a mask, its side (left, right, bilateral) told from the mask; observation = "
    "what each patch adds to the agreement of the phrase with the queries it selects; instance = cosine of places "
    "with the phrase; maps bilinear to the original image; pointing game: maximum inside the mask (ties: mean); IoU: "
    "map above half of "
    "its maximum, fixed in advance; baselines: centre = a bump at the middle of the told side, uniform = everywhere "
    f"alike; macro = mean over findings; 95 % percentile intervals over {RESAMPLES} resamples of patients"
)
_METRICS = {"pointing game": "hit", "IoU": "IoU"}  # metric -> column
_ONE_SIDED = 0.9  # share of a mask on one half of the image that makes it one-sided
_CHUNK = 256  # targets held at once
_BUMP = 0.15  # standard deviation of the centre baseline, as a share of the view


@dataclass(frozen=True, slots=True)
class Target:
    """One finding of one image: position in the embedded split, its mask bool [H, W], and its phrase."""

    index: int
    finding: str
    side: str
    phrase: str
    mask: NDArray[np.bool_]


def targets(embedded: Embedded, prompts: Mapping[str, Prompt]) -> list[Target]:
    """All findings that are present, have a mask that is not empty, and a phrase that points."""
    found = []
    for index, study in enumerate(embedded.studies):
        for finding, prompt in prompts.items():
            if prompt.grounding and outlined(study, finding):
                mask = load_mask(study.masks[finding])
                if mask.any():
                    side = side_of(mask)
                    found.append(Target(index, finding, side, prompt.phrase(side), mask))
    return found


def outlined(study: Study, finding: str) -> bool:
    """Whether a mask says where it is, and no label says that it is not there or may not be."""
    return finding in study.masks and study.labels.get(finding) not in (ABSENT, UNCERTAIN)


def side_of(mask: NDArray[np.bool_]) -> str:
    """The patient's side that holds nine tenths of a mask [H, W], else bilateral."""
    left = mask[:, mask.shape[1] // 2 :].sum() / mask.sum()
    return "left" if left >= _ONE_SIDED else "right" if left <= 1 - _ONE_SIDED else "bilateral"


def heat_maps(embedded: Embedded, index: NDArray[np.int64], phrases: Phrases) -> dict[str, Floats]:
    """Maps over patches, [T, rows, columns] each, of T phrases on the images ``index`` [T].

    ``observation``: `predict.phrase_map`. ``instance``: cosine between each place and the phrase, stretched to 0..1
    within the image.
    """
    text = torch.from_numpy(phrases.observation)[:, None]
    observation = phrase_map(
        torch.from_numpy(embedded.visual[index]),
        torch.from_numpy(embedded.attention[index]),
        torch.from_numpy(embedded.patches[index]).float(),
        Observations(text, torch.ones(text.shape[:2], dtype=torch.bool)),
        embedded.grid,
    )
    near = np.einsum("tqd,td->tq", embedded.places[index].astype(np.float32), phrases.vector)
    low = near.min(1, keepdims=True)
    near = (near - low) / np.maximum(near.max(1, keepdims=True) - low, 1e-12)
    return {
        "observation": observation.numpy(),
        "instance": near.reshape(-1, *embedded.places_grid),
    }


def to_view(maps: Floats, size: int) -> Floats:
    """Patch maps [T, rows, columns] as [T, size, size], bilinear between patch centres."""
    grown = torch.nn.functional.interpolate(torch.from_numpy(maps)[:, None], size=(size, size), mode="bilinear")
    return np.asarray(grown[:, 0].numpy())


def to_original(view: Floats, letterbox: Letterbox) -> Floats:
    """A map on the model's view [V, V], the centre of the pack's square, as [height, width] of the image; 0 outside."""
    side, size = letterbox.size, len(view)
    square = np.zeros((side, side), dtype=np.float32)
    start = (side - size) // 2
    square[start : start + size, start : start + size] = view
    return letterbox.map_to_original(square)


def trivial_maps(size: int) -> dict[str, tuple[Floats, Floats]]:
    """Baselines on the view by side: centre and uniform, [V, V] each; they know the side, as the phrase does."""
    across = (np.arange(size, dtype=np.float32) + 0.5) / size

    def bump(x: float) -> Floats:
        return np.exp(-((across[:, None] - 0.5) ** 2 + (across[None, :] - x) ** 2) / (2 * _BUMP**2))

    centre = {"left": bump(0.7), "right": bump(0.3), "bilateral": bump(0.3) + bump(0.7)}
    uniform = np.ones((size, size), dtype=np.float32)
    return {side: (centre[side], uniform) for side in SIDES}


class GroundingSettings(TaskSettings):
    """Which phrases point."""

    prompts: str = Field("phantom", description="a shipped set, or a YAML file, with grounding phrases")


@dataclass(frozen=True)
class Grounding(TextTask):
    """Two ways to look and two trivial answers, for every finding that has an outline and a phrase."""

    settings: GroundingSettings
    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    Settings: ClassVar[type[TaskSettings]] = GroundingSettings

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """Every name with a mask."""
        return tuple(mask_names(studies))

    def usable(self, study: Study) -> bool:
        """Something is there and outlined."""
        return any(outlined(study, name) for name in self.names)

    def prompts(self) -> dict[str, Prompt]:
        """The set's pointing phrases of our names. Raises PlaceError PL-C030 as `prompt_set`, or if it has none."""
        known = prompt_set(self.settings.prompts)
        found = {name: known[name] for name in self.names if name in known and known[name].grounding}
        if not found:
            raise PlaceError("no phrase points at a finding of the source", code="PL-C030", fix="name another set")
        return found

    def describe(self, model: Any, data: Evaluation, seen: Embedded) -> Columns:
        """``hit.<variant>.<name>`` and ``IoU.<variant>.<name>`` for names with phrases; NaN where nothing is outlined.

        A hit is 1 where the hottest spot lies inside, 0 outside, and a share where several are hottest.
        """
        prompts, device = self.prompts(), next(model.parameters()).device
        wanted = targets(seen, prompts)
        texts = list(dict.fromkeys(target.phrase for target in wanted))
        told = embed_phrases(model, data.tokenize, texts, device=device) if texts else None
        found = {
            f"{metric}.{variant}.{name}": np.full(len(seen.rows), np.nan)
            for name in prompts
            for variant in VARIANTS
            for metric in _METRICS.values()
        }
        trivial = trivial_maps(data.view_size)
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            assert told is not None
            at = np.array([texts.index(target.phrase) for target in part])
            index = np.array([target.index for target in part])
            own = heat_maps(seen, index, Phrases(told.vector[at], told.observation[at]))
            views = [to_view(own[variant], data.view_size) for variant in VARIANTS if variant in own]
            for number, target in enumerate(part):
                row = int(seen.rows[target.index])
                box, mask = data.pack.letterbox(row), fitting(target.mask, data, row, target.finding)
                maps = np.stack([to_original(one, box) for one in (*(v[number] for v in views), *trivial[target.side])])
                masks = np.broadcast_to(mask, maps.shape)
                for metric, values in (("hit", pointing_game(maps, masks)), ("IoU", heat_overlap(maps, masks).iou)):
                    for variant, value in zip(VARIANTS, values, strict=True):
                        found[f"{metric}.{variant}.{target.finding}"][target.index] = value
        return found

    def signature(self) -> str:
        """Everything that changes the numbers."""
        return f"phrases: {self.settings.prompts}; {SIGNATURE}"

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """Pointing game and IoU per finding and in the mean, for each variant."""
        test = predictions.part()
        names = [name for name in self.names if f"hit.{VARIANTS[0]}.{name}" in test.table.column_names]
        found: dict[str, Metric] = {}
        for variant in VARIANTS:
            for metric, column in _METRICS.items():
                table = test.numbers(*(f"{column}.{variant}.{name}" for name in names))
                values = by_name(names, test.seeds, test.patients, _maker(table), why=_why(table), known=_known(table))
                found |= named(variant, metric, values)
        without = [name for name in self.names if name not in names]
        lacking = undefined_metric("no phrase in the set", len(test.patients))
        return found | {f"{VARIANTS[0]}/pointing game/{name}": lacking for name in without}


def _maker(table: NDArray[np.float64]) -> Callable[[int, Positions], Statistic]:
    return lambda column, rows: mean_statistic(table[rows, column])


def _why(table: NDArray[np.float64]) -> Callable[[int], str]:
    return lambda column: "" if np.isfinite(table[:, column]).any() else "no image where it is outlined"


def _known(table: NDArray[np.float64]) -> Callable[[int], int]:
    return lambda column: int(np.isfinite(table[:, column]).sum())
