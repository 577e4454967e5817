"""Made-up benchmarks: cells with numbers out of a generator, nothing trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from place_cxr.benchmark.cell import (
    ALL_SITES,
    CellKey,
    PretrainingCost,
    full_metric_name,
    write_cell,
)
from place_cxr.benchmark.plan import BenchmarkConfig, planned_cells, worker_jobs
from place_cxr.benchmark.worker import cell_hash, planned_key
from place_cxr.core.results import Metric, Result
from place_cxr.metrics.intervals import undefined_metric

R = 200
SHARES = (0.01, 0.1, 1.0)
LEVELS = {
    "place": 0.05,
    "convirt": 0.0,
    "gloria": 0.012,
    "mgca": 0.02,
    "no-pcma": 0.01,
    "no-cce": 0.045,
    "neither": 0.0,
    "random": -0.12,
    "supervised": 0.06,
}
TITLES = {
    "place": "PLACE",
    "convirt": "ConVIRT",
    "gloria": "GLoRIA",
    "mgca": "MGCA",
    "no-pcma": "PLACE without PCMA",
    "no-cce": "PLACE without CCE",
    "neither": "PLACE without both",
    "random": "random weights",
    "supervised": "supervised with all labels",
}
WAYS = ("image to report", "report to image")
QUESTIONS: list[dict[str, Any]] = [
    {
        "task": "classification",
        "fractions": SHARES,
        "columns": ["auroc/macro", "average precision/macro"],
    },
    {"task": "segmentation", "fractions": SHARES, "columns": ["dice/macro"]},
    {"task": "detection", "fractions": (0.1, 1.0), "columns": ["AP 40-75/macro"]},
    {
        "task": "report-generation",
        "columns": ["micro F1/decoder", "macro F1/decoder", "BLEU-4/decoder"],
    },
    {"task": "retrieval", "columns": [f"{{score}}/{d}/R@{k}" for d in WAYS for k in (1, 5, 10)]},
    {"task": "zero-shot", "columns": ["{score}/auroc/macro", "instance/auroc/macro"]},
]
BASE = {
    "classification": 0.76,
    "segmentation": 0.42,
    "detection": 0.16,
    "report-generation": 0.44,
    "retrieval": 0.15,
}
Score = Callable[[CellKey, str], tuple[float, np.ndarray | None]]


def nine() -> BenchmarkConfig:
    """Nine methods, three seeds, six tasks, two sites."""
    extra: dict[str, dict[str, Any]] = {
        "place": {"score": "mix"}, "random": {"trained": False, "ranked": False},
        "supervised": {"trained": False, "ranked": False, "mode": "finetune", "fractions": [1.0]},
    }  # fmt: skip
    methods = {slug: {"title": title, **extra.get(slug, {})} for slug, title in TITLES.items()}
    return BenchmarkConfig.model_validate(
        {
            "name": "phantom",
            "phantom": {"studies": 6000},
            "methods": methods,
            "questions": QUESTIONS,
            "sites": ["A", "B"],
        }
    )


def small(
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    questions: list[dict[str, Any]] | None = None,
    **values: Any,
) -> BenchmarkConfig:
    """Two methods, one question, unless told otherwise."""
    methods = methods or {"place": {}, "other": {}}
    return BenchmarkConfig.model_validate({
        "name": "made up",
        "methods": {slug: {"title": slug.capitalize(), **told} for slug, told in methods.items()},
        "questions": questions or [{"task": "classification", "columns": ["auroc/macro"]}],
        **values,
    })  # fmt: skip


def realistic(place: CellKey, column: str) -> tuple[float, np.ndarray]:
    """A number that depends on method, share, site, seed, and patients that all methods share."""
    patients = np.random.default_rng(
        _key(place.task.split("-f")[0], place.site, column.split("/", 1)[-1])
    )
    own = np.random.default_rng(
        _key(place.slug, place.task, column, place.site, f"{place.fraction}")
    )
    seed = np.random.default_rng(_key(place.slug, place.task, column, f"{place.seed}"))
    level = BASE.get(_plain(place.task), 0.72) + 0.05 * np.log10(place.fraction or 1.0)
    scale = 1.0 if level > 0.3 else 0.4
    value = (
        level
        + scale * LEVELS[place.slug]
        - 0.03 * (place.site == "B")
        + scale * seed.normal(0, 0.006)
    )
    value += scale * own.normal(0, 0.004)
    draws = value + patients.normal(0, 0.011, R) + own.normal(0, 0.004, R)
    return float(value), draws


def write(
    config: BenchmarkConfig,
    out: Path,
    score: Score = realistic,
    *,
    skip: Callable[[CellKey], bool] = bool,
) -> None:
    """All cells of the plan for which ``skip`` is false, by ``score``; a value that is NaN is
    undefined.
    """
    asked = [
        (row, one, site)
        for row in worker_jobs(config)
        for one in planned_cells(config, row.slug)
        for site in config.sites or (ALL_SITES,)
    ]
    for row, one, site in asked:
        place = planned_key(config, row, one, site)
        if skip is not bool and skip(place):
            continue
        method = config.methods[place.slug]
        wanted = [c for q in config.questions if q.task == _plain(place.task) for c in q.columns]
        names = [column.format(score=method.score, heat=method.heat) for column in wanted]
        metrics = {}
        for name in names:
            value, draws = score(place, name)
            metrics[full_metric_name(name, place.fraction)] = _metric(value, draws)
        wanted = cell_hash(config, row, one)
        write_cell(place, out, result(place, method.title, metrics, config_hash=wanted), names)


def result(place: CellKey, method: str, metrics: Mapping[str, Metric], **changes: Any) -> Result:
    """A result around ``metrics``."""
    made = Result(
        task=place.task,
        source=place.source,
        split="test",
        split_digest=f"rows of {_plain(place.task)} at {place.site}",
        method=method,
        metrics=metrics,
        signature=f"rules of {place.task}; {{'lr': 0.001}} | <whole>",
        seeds=(place.seed,),
        git="0123456789abcdef",
        seconds=20.5,
        hardware="x86_64, 2 cores, no GPU, torch 2.11",
    )
    return replace(made, **changes)


def costs(config: BenchmarkConfig, out: Path) -> None:
    """Costs, splits and dates of every row that is trained."""
    for slug, method in config.methods.items():
        for seed in config.seeds if method.trained else ():
            folder = out / f"{slug}-s{seed}"
            PretrainingCost(
                600.0 + 10 * seed, 1.5 + 0.1 * seed, 5_250_000, 2_800_000, "a processor"
            ).write(folder)
            (folder / "run").mkdir(parents=True, exist_ok=True)
            (folder / "run" / "env.json").write_text(
                json.dumps({"started": f"2026-11-2{seed}T10:00:00Z"})
            )
            lock = {
                "images": {"train": 4179, "test": 1185},
                "patients": {"train": 2500, "test": 710},
            }
            (folder / "run" / "data.lock.json").write_text(json.dumps(lock))


def _metric(value: float, draws: np.ndarray | None) -> Metric:
    if not np.isfinite(value):
        return undefined_metric("no case on the test side", 592)
    if draws is None or not np.isfinite(draws).any():
        return Metric(value, None, None, 592, "too few patients for an interval", draws)
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Metric(value, float(low), float(high), 592, draws=draws)


def _plain(task: str) -> str:
    """Without mode and profile."""
    return task.removesuffix("-folds").removesuffix("-finetune")


def _key(*words: str) -> list[int]:
    return list("/".join(words).encode())
