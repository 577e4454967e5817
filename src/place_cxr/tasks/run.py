"""All tasks on one source with one model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from place_cxr.errors import PlaceError
from place_cxr.metrics.intervals import Interval
from place_cxr.tasks import grounding as ground
from place_cxr.tasks import linear_probe as probe
from place_cxr.tasks import retrieval as retrieve
from place_cxr.tasks import zero_shot as zero
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.embed import Embedded, Phrases, embed, embed_phrases, embed_pooled
from place_cxr.tasks.labels import finding_names
from place_cxr.tasks.prompts import Prompt
from place_cxr.tasks.result import Origin, Result, hardware, split_digest


def evaluate(
    model: Any,
    data: Evaluation,
    prompts: Mapping[str, Prompt],
    *,
    method: str = "place",
    split: str = "test",
    seed: int = 0,
    git: str = "",
    config_hash: str = "",
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Zero-shot classification, linear probe, retrieval and grounding on ``split``; ``say`` hears what is under way.

    The linear probe is left out when ``split`` is train or val, which it learns from.

    Raises:
        PlaceError: PL-D224 if ``split`` is empty.
    """
    rows = data.rows.get(split, np.zeros(0, dtype=np.int64))
    if not len(rows):
        raise PlaceError(f"split '{split}' is empty", code="PL-D224", file=data.source, fix="split again")
    studies = [data.studies[row] for row in rows]
    origin = Origin(data.source, split, split_digest(studies), method, git, config_hash, hardware())
    say(f"describing {len(rows)} images and reports")
    embedded = embed(model, data.pack.pixels, data.reports, rows, data.studies, view=data.view, device=device)

    def describe(phrases: Sequence[str]) -> Phrases:
        return embed_phrases(model, data.tokenize, phrases, device=device)

    def result(task: str, signature: str, run: Callable[[], dict[str, Interval]], seeds: Sequence[int]) -> Result:
        say(task)
        began = time.perf_counter()
        metrics = run()
        return Result.of(task, origin, metrics, signature=signature, seeds=seeds, seconds=time.perf_counter() - began)

    def zero_shot() -> dict[str, Interval]:
        return zero.zero_shot(embedded, describe(zero.sentences(prompts)), prompts, seed=seed)

    def pointing() -> dict[str, Interval]:
        size = data.view_size
        return ground.grounding(embedded, prompts, data.pack.letterbox, describe, view_size=size, seed=seed)

    results = [
        result("zero-shot", zero.SIGNATURE, zero_shot, [seed]),
        result("retrieval", retrieve.signature(embedded), lambda: retrieve.retrieval(embedded, seed=seed), [seed]),
        result("grounding", ground.SIGNATURE, pointing, [seed]),
    ]
    if split == "test":
        seeds = tuple(range(seed, seed + probe.SEEDS))
        results.append(
            result(
                "linear-probe",
                probe.SIGNATURE,
                lambda: _linear_probe(model, data, embedded, seeds, seed, device),
                seeds,
            )
        )
    return results


def _linear_probe(
    model: Any,
    data: Evaluation,
    embedded: Embedded,
    seeds: Sequence[int],
    seed: int,
    device: torch.device | str,
) -> dict[str, Interval]:
    def part(split: str) -> probe.Part:
        rows = data.rows.get(split, np.zeros(0, dtype=np.int64))
        features = np.zeros((0, embedded.pooled.shape[1]), dtype=np.float32)
        if len(rows):
            features = embed_pooled(model, data.pack.pixels, rows, view=data.view, device=device)
        return probe.Part(features, [data.studies[row] for row in rows])

    train, test = part("train"), probe.Part(embedded.pooled, embedded.studies)
    return probe.linear_probe(train, part("val"), test, finding_names(train.studies), seeds=seeds, seed=seed)
