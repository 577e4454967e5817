"""The runs of the first-results table, ``RUNS/METHOD-sSEED``, as their files give them; means over
seeds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml
from phantom_methods import METHODS, Method

from place_cxr.cli.demo import DEMO_SOURCE
from place_cxr.core.errors import PlaceError
from place_cxr.core.results import RESULT_FILE, Metric, Result

TASKS = ("zero-shot", "classification", "retrieval", "grounding")


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder, as far as tables need it."""

    results: Mapping[str, Result]
    records: Sequence[Mapping[str, Any]]
    batch: int
    environment: Mapping[str, Any]
    images: Mapping[str, int]

    def metric(self, task: str, name: str) -> Metric | None:
        """A number that is defined, or None."""
        found = self.results[task].metrics.get(name) if task in self.results else None
        return None if found is None or found.value is None else found


@dataclass(frozen=True, slots=True)
class Mean:
    """One number over seeds; the interval's ends are means of the seeds' ends."""

    by_seed: Mapping[int, float]
    low: float | None = None
    high: float | None = None

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return fmean(self.by_seed.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


Runs = Mapping[str, Mapping[int, Run]]  # slug -> seed -> run


def read_runs(folder: Path) -> dict[str, dict[int, Run]]:
    """All runs of ``folder`` that have a result; known methods first, in their order.

    Raises PlaceError PL-R020 when two results of a task are of different test studies.
    """
    found: dict[str, dict[int, Run]] = {}
    digests: dict[str, str] = {}
    for path in sorted(folder.glob("*-s*")):
        name = re.fullmatch(r"(.+)-s(\d+)", path.name)
        files = [
            file
            for task in TASKS
            if (file := path / "tasks" / task / DEMO_SOURCE / RESULT_FILE).is_file()
        ]
        if name is None or not files:
            continue
        results = {result.task: result for result in map(Result.read, files)}
        for task, result in results.items():
            if digests.setdefault(task, result.split_digest) != result.split_digest:
                problem = "its test studies are not those of the other runs"
                raise PlaceError(
                    problem, code="PL-R020", file=path, fix="evaluate all runs on the same phantoms"
                )
        config = yaml.safe_load(text_of(path / "config.yaml")) or {}
        found.setdefault(name[1], {})[int(name[2])] = Run(
            results,
            [json.loads(line) for line in text_of(path / "metrics.jsonl").splitlines()],
            config.get("train", {}).get("batch_size", 0),
            json.loads(text_of(path / "env.json") or "{}"),
            json.loads(text_of(path / "data.lock.json") or "{}").get("images", {}),
        )
    order = [*METHODS, *sorted(set(found) - set(METHODS))]
    return {slug: dict(sorted(found[slug].items())) for slug in order if slug in found}


def method(slug: str) -> Method:
    """What is known of a method; one that is not known goes by its slug."""
    return METHODS.get(slug, Method(slug))


def mean(runs: Runs, slug: str, task: str, name: str) -> Mean | None:
    """A metric of a method over its seeds, or None where no run has it."""
    name = name.format(score=method(slug).score, heat=method(slug).heat)
    found = {
        seed: metric
        for seed, run in runs.get(slug, {}).items()
        if (metric := run.metric(task, name))
    }
    if not found:
        return None
    lows = [m.low for m in found.values() if m.low is not None]
    highs = [m.high for m in found.values() if m.high is not None]
    whole = len(lows) == len(highs) == len(found)
    values = {seed: float(m.value) for seed, m in found.items() if m.value is not None}
    return Mean(values, fmean(lows) if whole else None, fmean(highs) if whole else None)


def seconds(run: Run) -> float:
    """Of training: pictures between two records over their rate, summed."""
    steps = [0, *(record["step"] for record in run.records)]
    rates = [record.get("images_per_s") for record in run.records]
    return sum(
        run.batch * (b - a) / rate
        for a, b, rate in zip(steps, steps[1:], rates, strict=False)
        if rate
    )


def text_of(path: Path) -> str:
    """A file's text; nothing where there is none."""
    return path.read_text("utf-8") if path.is_file() else ""
