"""Pointing at a finding: does the heat map of a phrase meet the finding's mask, in pixels of the original image?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from place_cxr.data.letterbox import Letterbox
from place_cxr.data.rle import load_mask
from place_cxr.metrics.intervals import bootstrap_columns, mean_of, undefined
from place_cxr.metrics.overlap import heat_overlap, pointing_game
from place_cxr.predict import phrase_map
from place_cxr.records import PRESENT
from place_cxr.tasks.embed import Embedded, Phrases
from place_cxr.tasks.prompts import Prompt
from place_cxr.tasks.result import Metric
from place_cxr.tensors import Observations

Floats = NDArray[np.float32]

SIDES = ("left", "right", "bilateral")  # of the patient, who faces the reader: left is on the image's right
VARIANTS = ("observation", "instance", "centre", "uniform")
SIGNATURE = (
    "one phrase per finding present with a mask, its side (left, right, bilateral) told from the mask; observation = "
    "what each patch adds to the agreement of the phrase with the queries it selects; instance = cosine of places "
    "with the phrase; maps bilinear to the original image; pointing game: maximum inside the mask (ties: mean); IoU: "
    "map above half of "
    "its maximum, fixed in advance; baselines: centre = a bump at the middle of the told side, uniform = everywhere "
    "alike; macro = mean over findings; 95 % percentile intervals over 1000 resamples of patients"
)
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
            if prompt.grounding and finding in study.masks and study.labels.get(finding) == PRESENT:
                mask = load_mask(study.masks[finding])
                if mask.any():
                    side = side_of(mask)
                    found.append(Target(index, finding, side, prompt.phrase(side), mask))
    return found


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


def grounding(
    embedded: Embedded,
    prompts: Mapping[str, Prompt],
    letterbox: Callable[[int], Letterbox],
    describe: Callable[[Sequence[str]], Phrases],
    *,
    view_size: int,
    seed: int = 0,
) -> dict[str, Metric]:
    """Pointing game and IoU per finding and in the mean, for two ways to look and two trivial answers.

    ``letterbox`` is that of a row of the source, ``view_size`` the side of what the model saw, in pixels of the pack.
    """
    wanted = targets(embedded, prompts)
    if not wanted:
        return {"observation/pointing game/macro": undefined("no finding has a mask and a pointing phrase")}
    names = list(dict.fromkeys(target.finding for target in wanted))
    texts = list(dict.fromkeys(target.phrase for target in wanted))
    known = describe(texts)
    at = np.array([texts.index(target.phrase) for target in wanted])
    index = np.array([target.index for target in wanted], dtype=np.int64)
    trivial = trivial_maps(view_size)
    hits = np.full((len(VARIANTS), len(wanted)), np.nan)
    ious = np.full_like(hits, np.nan)
    for start in range(0, len(wanted), _CHUNK):
        part = slice(start, start + _CHUNK)
        own = heat_maps(embedded, index[part], Phrases(known.vector[at[part]], known.observation[at[part]]))
        views = [to_view(own[variant], view_size) for variant in VARIANTS if variant in own]
        for number, target in enumerate(wanted[part]):
            box = letterbox(int(embedded.rows[target.index]))
            seen = [*(view[number] for view in views), *trivial[target.side]]
            maps = np.stack([to_original(view, box) for view in seen])
            masks = np.broadcast_to(target.mask, maps.shape)
            hits[:, start + number] = pointing_game(maps, masks)
            ious[:, start + number] = heat_overlap(maps, masks).iou
    patients = [embedded.studies[target.index].patient or f"\0{target.index}" for target in wanted]
    column = np.array([names.index(target.finding) for target in wanted])
    found: dict[str, Metric] = {}
    for variant, hit, iou in zip(VARIANTS, hits, ious, strict=True):
        for metric, values in (("pointing game", hit), ("IoU", iou)):
            each = _by_finding(values, column, names, patients, seed)
            found |= {f"{variant}/{metric}/{name}": value for name, value in each.items()}
    return found


def _by_finding(
    values: NDArray[np.float64], column: NDArray[np.int64], names: Sequence[str], patients: Sequence[str], seed: int
) -> dict[str, Metric]:
    """Mean of ``values`` [T] for each finding, and over findings."""
    table = np.full((len(values), len(names)), np.nan)
    table[np.arange(len(values)), column] = values
    each = mean_of(table)

    def columns(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        means = each(counts)
        defined = np.isfinite(means)
        total = np.where(defined, means, 0).sum(1) / np.maximum(defined.sum(1), 1)
        return np.column_stack([means, np.where(defined.any(1), total, np.nan)])

    rows = [*np.isfinite(table).sum(0).tolist(), len(values)]
    *found, macro = bootstrap_columns(columns, patients, seed=seed, rows=rows)
    return dict(zip(names, found, strict=True)) | {"macro": macro}
