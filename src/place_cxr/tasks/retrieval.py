"""Finding an image's report among the test reports, and a report's image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from place_cxr.metrics import retrieval as metric
from place_cxr.metrics.intervals import bootstrap_columns, mean_of, undefined
from place_cxr.tasks import scores
from place_cxr.tasks.embed import Embedded
from place_cxr.tasks.result import Metric

KS = (1, 5, 10)
POOL = 1000


def signature(embedded: Embedded) -> str:
    """What the numbers are about, with the counts that belong to them."""
    scored = int(embedded.textual_mask.any(1).sum())
    pool = f"; also within a pool of {POOL} drawn by the seed" if scored > POOL else ""
    return (
        f"candidates: all {scored} of {len(embedded.rows)} test studies whose report states an observation{pool}; "
        "equal reports (same set of statements) are all relevant; ties: expectation over their order; "
        "R@k = share of queries with a relevant candidate among the first k; intervals over patients of the queries, "
        "candidates fixed"
    )


def retrieval(embedded: Embedded, *, seed: int = 0) -> dict[str, Metric]:
    """R@1, R@5, R@10 and median rank in both directions for instance, observation and mixed scores."""
    rows = np.flatnonzero(embedded.textual_mask.any(1))
    if len(rows) < 2:
        return {"mix/image to report/R@1": undefined(f"{len(rows)} reports with an observation", len(rows))}
    found = _within(embedded, rows, "", seed)
    if len(rows) > POOL:
        drawn = np.sort(np.random.default_rng(seed).choice(rows, POOL, replace=False))
        found |= _within(embedded, drawn, f", {POOL} candidates", seed)
    return found


def similarities(embedded: Embedded, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Image by report [N, N] among ``rows``, by variant."""
    instance = scores.instance(embedded.instance_image[rows], embedded.instance_text[rows])
    observation = scores.observation(embedded.visual[rows], embedded.textual[rows], embedded.textual_mask[rows])
    return dict(zip(scores.VARIANTS, (instance, observation, scores.mix(instance, observation)), strict=True))


def _within(embedded: Embedded, rows: NDArray[np.int64], where: str, seed: int) -> dict[str, Metric]:
    keys = embedded.report_key[rows]
    relevant = metric.relevance(keys, keys)
    patients = [embedded.studies[row].patient for row in rows]
    found: dict[str, Metric] = {}
    for variant, table in similarities(embedded, rows).items():
        for direction, matrix in (("image to report", table), ("report to image", table.T)):
            hit = metric.first_hit(matrix, relevant)
            recall = np.stack([hit.recall(min(k, len(rows))) for k in KS], axis=1)
            name = f"{variant}/{direction}{where}"
            values = bootstrap_columns(mean_of(recall), patients, seed=seed)
            found |= {f"{name}/R@{k}": value for k, value in zip(KS, values, strict=True)}
            found[f"{name}/median rank"] = bootstrap_columns(metric.median_statistic(hit.rank), patients, seed=seed)[0]
    return found
