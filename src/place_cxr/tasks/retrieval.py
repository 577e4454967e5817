"""Finding an image's report among the test reports, and a report's image; or any report of the image's class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from place_cxr.core.records import PRESENT, UNCERTAIN, Study
from place_cxr.core.results import Metric
from place_cxr.metrics import retrieval as metric
from place_cxr.metrics.intervals import RESAMPLES, Floats, bootstrap_columns, mean_statistic, undefined_metric
from place_cxr.tasks import similarity
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.descriptions import Embedded
from place_cxr.tasks.labels import finding_names
from place_cxr.tasks.predictions import Predictions, rows_of
from place_cxr.tasks.task import Columns, Rows, TaskSettings, TextTask

KS = (1, 5, 10)
CLASS_KS = (1, 5, 10, 100)  # of class-level precision [GLoRIA, and 1]
POOL = 1000
QUERIES = 4096  # ranked at once
TOP = 100  # candidates that are ordered anew by observations
Table = NDArray[np.float32]
_DIRECTIONS = ("image to report", "report to image")


def similarities(embedded: Embedded, rows: NDArray[np.int64]) -> dict[str, Table]:
    """Image by report [N, N] among ``rows``, by variant."""
    instance = similarity.instance(embedded.instance_image[rows], embedded.instance_text[rows])
    observation = similarity.observation(embedded.visual[rows], embedded.textual[rows], embedded.textual_mask[rows])
    return dict(zip(similarity.VARIANTS, (instance, observation, similarity.mix(instance, observation)), strict=True))


def own_reports(
    instance: Table,
    observation: Table,
    keys: NDArray[np.int64],
    patients: Sequence[str],
    *,
    seed: int = 0,
    anew: bool = False,
) -> dict[str, Metric]:
    """Instance retrieval from two scores [N, N], image by report; ``keys`` [N] tell which reports are equal.

    ``anew`` adds the variant that orders the instance score's first hundred again by observations.
    """
    found = _within(instance, observation, keys, patients, "", seed, anew)
    if len(keys) > POOL:
        drawn = np.sort(np.random.default_rng(seed).choice(len(keys), POOL, replace=False))
        square = np.ix_(drawn, drawn)
        chosen = [patients[row] for row in drawn]
        where = f", {POOL} candidates"
        found |= _within(instance[square], observation[square], keys[drawn], chosen, where, seed, anew)
    return found


def reranked(first: Table, second: Table, top: int = TOP, ahead: float | None = None) -> Table:
    """Scores [Q, C] that keep the first ``top`` of ``first`` in front, in the order of ``second`` among themselves.

    Ties at the border of the top belong to it. ``ahead`` is what the top is lifted by, known where these are some rows
    of a matrix.
    """
    limit = np.partition(first, -min(top, first.shape[1]), axis=1)[:, -min(top, first.shape[1])][:, None]
    lift = _lift(first, second) if ahead is None else ahead
    return np.where(first >= limit, second + lift, first).astype(np.float32)


def _lift(first: Table, second: Table) -> float:
    return float(first.max() - second.min()) + 1.0


def _blocks(instance: Table, observation: Table, anew: bool) -> Iterator[tuple[str, str, slice, Table]]:
    """(variant, direction, places of queries, their scores with all candidates), QUERIES rows at a time.

    What is held beside the two scores grows with the number of candidates, not with its square.
    """
    spreads, lift = (similarity.spread(instance), similarity.spread(observation)), _lift(instance, observation)
    for direction, first, second in zip(_DIRECTIONS, (instance, instance.T), (observation, observation.T), strict=True):
        for start in range(0, len(first), QUERIES):
            rows = slice(start, start + QUERIES)
            one, other = first[rows], second[rows]
            both = (one, other, similarity.mix(one, other, spreads=spreads))
            for variant, table in zip(similarity.VARIANTS, both, strict=True):
                yield variant, direction, rows, table
            if anew:
                yield "rerank", direction, rows, reranked(one, other, ahead=lift)


def _names(anew: bool) -> list[tuple[str, str]]:
    """Variants in both directions, in the order of results."""
    variants = (*similarity.VARIANTS, *(["rerank"] if anew else []))
    return [(variant, direction) for variant in variants for direction in _DIRECTIONS]


def _within(
    instance: Table,
    observation: Table,
    keys: NDArray[np.int64],
    patients: Sequence[str],
    where: str,
    seed: int,
    anew: bool,
) -> dict[str, Metric]:
    enough = [k for k in KS if k < len(keys)]  # more than all of them would be a hit whatever the scores
    hits: dict[tuple[str, str], list[metric.FirstHit]] = {name: [] for name in _names(anew)}
    for variant, direction, rows, table in _blocks(instance, observation, anew):
        hits[variant, direction].append(metric.first_hit(table, metric.relevance(keys[rows], keys)))
    found: dict[str, Metric] = {}
    for (variant, direction), parts in hits.items():
        recall = np.stack([np.concatenate([hit.recall_at_k(k) for hit in parts]) for k in enough], axis=1)
        name = f"{variant}/{direction}{where}"
        values = dict(zip(enough, bootstrap_columns(mean_statistic(recall), patients, seed=seed), strict=True))
        few = undefined_metric(f"{len(keys)} candidates", len(keys))
        found |= {f"{name}/R@{k}": values.get(k, few) for k in KS}
        rank = metric.median_statistic(np.concatenate([hit.rank for hit in parts]))
        found[f"{name}/median rank"] = bootstrap_columns(rank, patients, seed=seed)[0]
    return found


def same_class(
    instance: Table, observation: Table, classes: NDArray[np.int64], patients: Sequence[str]
) -> dict[str, Metric]:
    """Class-level precision: the share of the first k candidates that are of the query's class, in both directions."""
    enough = [k for k in CLASS_KS if k <= len(classes)]
    shares: dict[tuple[str, str, int], list[Floats]] = {(*name, k): [] for name in _names(True) for k in enough}
    for variant, direction, rows, table in _blocks(instance, observation, True):
        relevant = metric.relevance(classes[rows], classes)
        for k in enough:
            shares[variant, direction, k].append(metric.precision_at_k(table, relevant, k))
    found: dict[str, Metric] = {}
    for variant, direction in _names(True):
        for k in CLASS_KS:
            name = f"{variant}/{direction}, class/P@{k}"
            if k in enough:
                values = np.concatenate(shares[variant, direction, k])
                found[name] = bootstrap_columns(mean_statistic(values), patients)[0]
            else:
                found[name] = undefined_metric(f"{len(classes)} candidates", len(classes))
    return found


def exclusive(study: Study, names: Sequence[str]) -> int:
    """The place of the one name that is present, -1 if that is none or several, or if any is uncertain [5x200]."""
    values = [study.labels.get(name) for name in names]
    there = [place for place, value in enumerate(values) if value == PRESENT]
    return there[0] if len(there) == 1 and UNCERTAIN not in values else -1


class RetrievalSettings(TaskSettings):
    """Which studies class-level precision is about."""

    per_class: int = Field(200, ge=1, description="studies of a class, drawn by seed 0 [5x200]")


@dataclass(frozen=True)
class Retrieval(TextTask):
    """Instance and class-level retrieval from the same two scores."""

    settings: RetrievalSettings
    needs: ClassVar[frozenset[str]] = frozenset({"reports"})
    Settings: ClassVar[type[TaskSettings]] = RetrievalSettings

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """Classes: every finding with a label."""
        return tuple(finding_names(studies))

    def describe(self, model: Any, data: Evaluation, seen: Embedded) -> Columns:
        """Scores of each image with every report, ``instance`` and ``observation``; ``report`` (equal ones share a
        number, -1: says nothing) and ``class`` (-1: none or several)."""
        _, number = np.unique(seen.report_key, return_inverse=True)
        found = similarities(seen, np.arange(len(seen.rows)))
        return {
            **{name: rows_of(found[name]) for name in similarity.VARIANTS[:2]},
            "report": np.where(seen.textual_mask.any(1), number, -1),
            "class": np.array([exclusive(study, self.names) for study in seen.studies], dtype=np.int64),
        }

    def signature(self) -> str:
        """Everything that changes the numbers."""
        return (
            "candidates: all test studies whose report states an observation; equal reports (same set of statements) "
            "are all relevant, and counted in all/reports; ties: expectation over their order; R@k = share of queries "
            f"with a relevant candidate among the first k; rerank = the first {TOP} by instance, ordered by "
            f"observation; class: studies with exactly one of {', '.join(self.names) or 'no classes'} and nothing "
            f"uncertain, at most {self.settings.per_class} of a class; P@k = share of the first k of the query's "
            f"class, its own report among them; 95 % intervals over {RESAMPLES} resamples of the queries' patients, "
            "candidates fixed"
        )

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """R@k, median rank, P@k of classes."""
        test = predictions.part()
        report, kind = np.array(test.values("report")), np.array(test.values("class"))
        rows = np.flatnonzero(report >= 0)
        if len(rows) < 2:
            return {"mix/image to report/R@1": undefined_metric(f"{len(rows)} reports with an observation", len(rows))}
        instance, observation = (test.matrix(name) for name in similarity.VARIANTS[:2])
        square, patients = np.ix_(rows, rows), [test.patients[row] for row in rows]
        found = own_reports(instance[square], observation[square], report[rows], patients, anew=True)
        distinct = len(np.unique(report[rows]))
        note = f"{len(rows)} reports, {len(rows) - distinct} of them repeat another"
        found["all/reports/distinct"] = Metric(float(distinct), None, None, len(rows), note)
        return found | self._classes(instance, observation, rows, kind, test.patients)

    def _classes(
        self, instance: Table, observation: Table, rows: Rows, kind: NDArray[np.int64], patients: Sequence[str]
    ) -> dict[str, Metric]:
        rng = np.random.default_rng(0)
        chosen: list[int] = []
        counts: dict[str, int] = {}
        for place, name in enumerate(self.names):
            mine = rows[kind[rows] == place]
            counts[name] = min(len(mine), self.settings.per_class)
            chosen += sorted(rng.permutation(mine)[: self.settings.per_class].tolist())
        found: Mapping[str, Metric] = {
            f"all/studies of a class/{name}": Metric(float(count), None, None, count, "exactly this class")
            for name, count in counts.items()
        }
        if sum(count > 0 for count in counts.values()) < 2:
            return {**found, "mix/image to report, class/P@1": undefined_metric("fewer than two classes have studies")}
        square = np.ix_(chosen, chosen)
        owners = [patients[row] for row in chosen]
        return {**found, **same_class(instance[square], observation[square], kind[chosen], owners)}
