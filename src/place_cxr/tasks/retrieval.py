"""Finding an image's report among the test reports, and a report's image; or any report of the
image's class.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from place_cxr.core.records import PRESENT, UNCERTAIN, Study
from place_cxr.core.results import Metric
from place_cxr.core.task_text import Headline, MetricBlock, TaskText
from place_cxr.metrics import retrieval as metric
from place_cxr.metrics.intervals import (
    RESAMPLES,
    Floats,
    bootstrap_columns,
    mean_statistic,
    undefined_metric,
)
from place_cxr.tasks import similarity
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.descriptions import StudyEmbeddings
from place_cxr.tasks.labels import finding_names
from place_cxr.tasks.predictions import Predictions, matrix_column
from place_cxr.tasks.task import Columns, RowIndices, TaskSettings, TextTask

RECALL_KS = (1, 5, 10)
# k of class-level precision: 5, 10 and 100 are those of GLoRIA.
CLASS_PRECISION_KS = (1, 5, 10, 100)
POOL_SIZE = 1000
# Queries whose score tables are in memory at once.
QUERIES_AT_ONCE = 4096
# Candidates that the second score orders again.
RERANK_TOP = 100
_ScoreTable = NDArray[np.float32]
_DIRECTIONS = ("image to report", "report to image")


def compute_similarities(
    embedded: StudyEmbeddings, rows: NDArray[np.int64]
) -> dict[str, _ScoreTable]:
    """Image by report [N, N] among ``rows``, by variant."""
    instance = similarity.instance_scores(
        embedded.instance_image[rows], embedded.instance_text[rows]
    )
    observation = similarity.observation_scores(
        embedded.visual[rows], embedded.textual[rows], embedded.textual_mask[rows]
    )

    return dict(
        zip(
            similarity.SIMILARITY_VARIANTS,
            (instance, observation, similarity.mix_scores(instance, observation)),
            strict=True,
        )
    )


def instance_retrieval_metrics(
    instance: _ScoreTable,
    observation: _ScoreTable,
    keys: NDArray[np.int64],
    patients: Sequence[str],
    *,
    seed: int = 0,
    with_rerank: bool = False,
) -> dict[str, Metric]:
    """Instance retrieval from two scores [N, N], image by report; ``keys`` [N] tell which reports
    are equal.

    ``with_rerank`` adds the variant that orders the instance score's first hundred again by
    observations.
    """
    metrics = _recall_metrics(instance, observation, keys, patients, "", seed, with_rerank)
    if len(keys) > POOL_SIZE:
        pool_rows = np.sort(np.random.default_rng(seed).choice(len(keys), POOL_SIZE, replace=False))
        square = np.ix_(pool_rows, pool_rows)
        pool_patients = [patients[row] for row in pool_rows]
        suffix = f", {POOL_SIZE} candidates"
        metrics |= _recall_metrics(
            instance[square],
            observation[square],
            keys[pool_rows],
            pool_patients,
            suffix,
            seed,
            with_rerank,
        )

    return metrics


def rerank_scores(
    first: _ScoreTable, second: _ScoreTable, top: int = RERANK_TOP, known_lift: float | None = None
) -> _ScoreTable:
    """Scores [Q, C] that keep the first ``top`` of ``first`` in front, in the order of ``second``
    among themselves.

    Ties at the border of the top belong to it. ``known_lift`` is what the top is lifted by, known
    where these are some rows of a matrix.
    """
    limit = np.partition(first, -min(top, first.shape[1]), axis=1)[:, -min(top, first.shape[1])][
        :, None
    ]
    lift = _lift(first, second) if known_lift is None else known_lift

    return np.where(first >= limit, second + lift, first).astype(np.float32)


def _lift(first: _ScoreTable, second: _ScoreTable) -> float:
    return float(first.max() - second.min()) + 1.0


def _score_blocks(
    instance: _ScoreTable, observation: _ScoreTable, with_rerank: bool
) -> Iterator[tuple[str, str, slice, _ScoreTable]]:
    """(variant, direction, places of queries, their scores with all candidates), QUERIES rows at a
    time.

    What is held beside the two scores grows with the number of candidates, not with its square.
    """
    spreads, lift = (
        (similarity.score_std(instance), similarity.score_std(observation)),
        _lift(instance, observation),
    )
    for direction, first, second in zip(
        _DIRECTIONS, (instance, instance.T), (observation, observation.T), strict=True
    ):
        for start in range(0, len(first), QUERIES_AT_ONCE):
            rows = slice(start, start + QUERIES_AT_ONCE)
            instance_block, observation_block = first[rows], second[rows]
            variant_blocks = (
                instance_block,
                observation_block,
                similarity.mix_scores(instance_block, observation_block, spreads=spreads),
            )
            for variant, table in zip(similarity.SIMILARITY_VARIANTS, variant_blocks, strict=True):
                yield variant, direction, rows, table
            if with_rerank:
                yield (
                    "rerank",
                    direction,
                    rows,
                    rerank_scores(instance_block, observation_block, known_lift=lift),
                )


def _variants_and_directions(with_rerank: bool) -> list[tuple[str, str]]:
    """Variants in both directions, in the order of results."""
    variants = (*similarity.SIMILARITY_VARIANTS, *(["rerank"] if with_rerank else []))
    return list(itertools.product(variants, _DIRECTIONS))


def _recall_metrics(
    instance: _ScoreTable,
    observation: _ScoreTable,
    keys: NDArray[np.int64],
    patients: Sequence[str],
    suffix: str,
    seed: int,
    with_rerank: bool,
) -> dict[str, Metric]:
    usable_ks = [
        k for k in RECALL_KS if k < len(keys)
    ]  # more than all of them would be a hit whatever the scores
    hits: dict[tuple[str, str], list[metric.FirstHit]] = {
        name: [] for name in _variants_and_directions(with_rerank)
    }
    for variant, direction, rows, table in _score_blocks(instance, observation, with_rerank):
        hits[variant, direction].append(metric.first_hit(table, metric.relevance(keys[rows], keys)))
    metrics: dict[str, Metric] = {}

    for (variant, direction), parts in hits.items():
        recalls = []
        for k in usable_ks:
            recalls.append(np.concatenate([hit.recall_at_k(k) for hit in parts]))

        recall = np.stack(recalls, axis=1)
        name = f"{variant}/{direction}{suffix}"
        values = dict(
            zip(
                usable_ks,
                bootstrap_columns(mean_statistic(recall), patients, seed=seed),
                strict=True,
            )
        )
        too_few = undefined_metric(f"{len(keys)} candidates", len(keys))
        metrics |= {f"{name}/R@{k}": values.get(k, too_few) for k in RECALL_KS}
        rank = metric.median_statistic(np.concatenate([hit.rank for hit in parts]))
        metrics[f"{name}/median rank"] = bootstrap_columns(rank, patients, seed=seed)[0]

    return metrics


def class_retrieval_metrics(
    instance: _ScoreTable,
    observation: _ScoreTable,
    classes: NDArray[np.int64],
    patients: Sequence[str],
) -> dict[str, Metric]:
    """Class-level precision, in both directions.

    It is the fraction of the first k candidates that are of the query's class.
    """
    usable_ks = [k for k in CLASS_PRECISION_KS if k <= len(classes)]
    precisions: dict[tuple[str, str, int], list[Floats]] = defaultdict(list)
    for variant, direction, rows, table in _score_blocks(instance, observation, True):
        relevant = metric.relevance(classes[rows], classes)
        for k in usable_ks:
            precisions[variant, direction, k].append(metric.precision_at_k(table, relevant, k))

    metrics: dict[str, Metric] = {}
    for variant, direction in _variants_and_directions(True):
        for k in CLASS_PRECISION_KS:
            name = f"{variant}/{direction}, class/P@{k}"
            if k in usable_ks:
                values = np.concatenate(precisions[variant, direction, k])
                metrics[name] = bootstrap_columns(mean_statistic(values), patients)[0]
            else:
                metrics[name] = undefined_metric(f"{len(classes)} candidates", len(classes))

    return metrics


def exclusive_class(study: Study, names: Sequence[str]) -> int:
    """The place of the one name that is present, -1 if that is none or several, or if any is
    uncertain [5x200].
    """
    values = [study.labels.get(name) for name in names]
    present = [index for index, value in enumerate(values) if value == PRESENT]
    return present[0] if len(present) == 1 and UNCERTAIN not in values else -1


_RANKS = {"1": "First (R@1)", "5": "Among the first 5 (R@5)", "10": "Among the first 10 (R@10)"}


_TEXT = TaskText(
    name="Retrieval",
    short="retrieval",
    question=(
        "Given a picture, find its report among those of all test studies, and back. R@10 is the "
        "share of queries whose own match, or one that says the same, is among the first ten; P@k "
        "the share of the first k that are of the same class."
    ),
    title="Matching pictures and reports",
    says=(
        "Given a picture, rank all test reports by how well they fit, and the other way round. "
        "R@5 is the share of pictures whose own report, or one that says the same, is among the "
        "first five: 0 is never, 1 is always."
    ),
    blocks=(
        MetricBlock(
            "From picture to report",
            "Larger is better.",
            "mix/image to report/R@*",
            "k of n",
            _RANKS,
        ),
        MetricBlock(
            "From report to picture",
            "Larger is better.",
            "mix/report to image/R@*",
            "k of n",
            _RANKS,
        ),
    ),
    headline=Headline(
        "mix/image to report/R@10",
        "Finding a picture’s own report",
        "Share of pictures whose report is among the ten best fits of all test reports.",
        guess="k of n",
    ),
)


class RetrievalSettings(TaskSettings):
    """Which studies class-level precision is about."""

    per_class: int = Field(200, ge=1, description="studies of a class, drawn by seed 0 [5x200]")


@dataclass(frozen=True)
class Retrieval(TextTask):
    """Instance and class-level retrieval from the same two scores."""

    text: ClassVar[TaskText] = _TEXT
    settings: RetrievalSettings
    needs: ClassVar[frozenset[str]] = frozenset({"reports"})
    Settings: ClassVar[type[TaskSettings]] = RetrievalSettings

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """Classes: every finding with a label."""
        return tuple(finding_names(studies))

    def describe(self, model: Any, data: EvaluationDataset, embeddings: StudyEmbeddings) -> Columns:
        """Scores of each image with every report, ``instance`` and ``observation``; ``report``
        (equal reports have one number, -1: no observation) and ``class`` (-1: none or several).
        """
        _, report_number = np.unique(embeddings.report_key, return_inverse=True)
        score_tables = compute_similarities(embeddings, np.arange(len(embeddings.rows)))

        return {
            **{
                name: matrix_column(score_tables[name])
                for name in similarity.SIMILARITY_VARIANTS[:2]
            },
            "report": np.where(embeddings.textual_mask.any(1), report_number, -1),
            "class": np.array(
                [exclusive_class(study, self.names) for study in embeddings.studies], dtype=np.int64
            ),
        }

    def signature(self) -> str:
        """Everything that changes the numbers."""
        return (
            "candidates: all test studies whose report states an observation; equal reports (same "
            "set of statements) "
            "are all relevant, and counted in all/reports; ties: expectation over their order; R@k "
            "= share of queries "
            f"with a relevant candidate among the first k; rerank = the first {RERANK_TOP} by "
            f"instance, ordered by "
            f"observation; class: studies with exactly one of "
            f"{', '.join(self.names) or 'no classes'} and nothing "
            f"uncertain, at most {self.settings.per_class} of a class; P@k = share of the first k "
            f"of the query's "
            f"class, its own report among them; 95 % intervals over {RESAMPLES} resamples of the "
            f"queries' patients, "
            "candidates fixed"
        )

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """R@k, median rank, P@k of classes."""
        test = predictions.subset()
        report, classes = np.array(test.values("report")), np.array(test.values("class"))
        rows = np.flatnonzero(report >= 0)
        if len(rows) < 2:
            return {
                "mix/image to report/R@1": undefined_metric(
                    f"{len(rows)} reports with an observation", len(rows)
                )
            }

        instance, observation = (test.matrix(name) for name in similarity.SIMILARITY_VARIANTS[:2])
        square, patients = np.ix_(rows, rows), [test.patients[row] for row in rows]
        metrics = instance_retrieval_metrics(
            instance[square], observation[square], report[rows], patients, with_rerank=True
        )
        distinct = len(np.unique(report[rows]))
        note = f"{len(rows)} reports, {len(rows) - distinct} of them repeat another"
        metrics["all/reports/distinct"] = Metric(float(distinct), None, None, len(rows), note)

        return metrics | self._classes(instance, observation, rows, classes, test.patients)

    def _classes(
        self,
        instance: _ScoreTable,
        observation: _ScoreTable,
        rows: RowIndices,
        classes: NDArray[np.int64],
        patients: Sequence[str],
    ) -> dict[str, Metric]:
        rng = np.random.default_rng(0)
        chosen_rows: list[int] = []
        counts: dict[str, int] = {}

        for index, name in enumerate(self.names):
            class_rows = rows[classes[rows] == index]
            counts[name] = min(len(class_rows), self.settings.per_class)
            chosen_rows += sorted(rng.permutation(class_rows)[: self.settings.per_class].tolist())

        metrics: Mapping[str, Metric] = {
            f"all/studies of a class/{name}": Metric(
                float(count), None, None, count, "exactly this class"
            )
            for name, count in counts.items()
        }
        if sum(count > 0 for count in counts.values()) < 2:
            return {
                **metrics,
                "mix/image to report, class/P@1": undefined_metric(
                    "fewer than two classes have studies"
                ),
            }

        square = np.ix_(chosen_rows, chosen_rows)
        chosen_patients = [patients[row] for row in chosen_rows]

        return {
            **metrics,
            **class_retrieval_metrics(
                instance[square], observation[square], classes[chosen_rows], chosen_patients
            ),
        }
