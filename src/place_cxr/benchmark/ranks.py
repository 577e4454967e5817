"""Which method comes first: ranks within columns, averaged over a task's columns, then over tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.stats import rankdata

from place_cxr.benchmark.estimate import FloatArray
from place_cxr.benchmark.result_table import Column, ResultTable, SeedScore, home_site, site_columns


@dataclass(frozen=True, slots=True)
class Ranks:
    """1 is best. Only columns count that every ranked method has; the others are in ``left_out``."""

    by_task: Mapping[str, Mapping[str, float]]  # task -> slug -> mean rank over the task's columns
    overall: Mapping[str, float]  # slug -> mean over tasks
    best: Mapping[
        str, float
    ]  # slug -> share of the resamples of patients in which its overall rank is the best
    counted: Sequence[Column]
    left_out: Sequence[Column]


def rank_methods(results: ResultTable) -> Ranks:
    """Of the home site, by means over the seeds that all ranked methods have."""
    slugs = [slug for slug, method in results.config.methods.items() if method.ranked]
    ranked: dict[str, list[FloatArray]] = {}  # task -> column -> ranks [M]
    drawn: dict[str, list[FloatArray | None]] = {}  # task -> column -> ranks [M, R]
    counted, left_out = [], []
    for column in site_columns(results.config, home_site(results.config)):
        method_scores = [results.values(slug, column) for slug in slugs]
        seeds = (
            reduce(set.intersection, (set(scores_by_seed) for scores_by_seed in method_scores))
            if method_scores
            else set()
        )
        if len(slugs) < 2 or not seeds:
            left_out.append(column)
            continue
        counted.append(column)
        means = np.array(
            [
                np.mean([scores_by_seed[seed].value for seed in sorted(seeds)])
                for scores_by_seed in method_scores
            ]
        )
        ranked.setdefault(column.task, []).append(rankdata(-means))
        drawn.setdefault(column.task, []).append(_resampled_ranks(method_scores, sorted(seeds)))
    by_task = {task: np.mean(ranks, axis=0) for task, ranks in ranked.items()}
    overall = np.mean(list(by_task.values()), axis=0) if by_task else np.zeros(0)
    return Ranks(
        {task: _by_slug(slugs, ranks) for task, ranks in by_task.items()},
        _by_slug(slugs, overall),
        _by_slug(slugs, _best_fractions(drawn)),
        counted,
        left_out,
    )


def _resampled_ranks(
    method_scores: Sequence[Mapping[int, SeedScore]], seeds: Sequence[int]
) -> FloatArray | None:
    """Ranks [M, R] of the means over seeds on every resample; a resample that is undefined for one
    is NaN for all.
    """
    draws = [[scores_by_seed[seed].draws for seed in seeds] for scores_by_seed in method_scores]
    lengths = {
        None if seed_draws is None else len(seed_draws) for method in draws for seed_draws in method
    }
    if None in lengths or len(lengths) > 1:
        return None
    means = np.mean(np.array(draws, dtype=np.float64), axis=1)
    ranks: FloatArray = rankdata(-means, axis=0, nan_policy="propagate")
    return ranks


def _best_fractions(drawn: Mapping[str, Sequence[FloatArray | None]]) -> FloatArray:
    """Share [M] of resamples in which a method's mean rank is the lowest, shared where several are."""
    all_ranks = [ranks for column in drawn.values() for ranks in column]
    if not all_ranks or any(ranks is None for ranks in all_ranks):
        return np.zeros(0)
    length = min(ranks.shape[1] for ranks in all_ranks if ranks is not None)
    tasks = [
        np.mean([r[:, :length] for r in ranks if r is not None], axis=0) for ranks in drawn.values()
    ]
    overall = np.mean(tasks, axis=0)
    overall = overall[:, np.isfinite(overall).all(axis=0)]
    if not overall.shape[1]:
        return np.zeros(0)
    first = np.isclose(overall, overall.min(axis=0), rtol=0, atol=1e-9)
    fractions: FloatArray = (first / first.sum(axis=0)).mean(axis=1)
    return fractions


def _by_slug(slugs: Sequence[str], values: FloatArray) -> dict[str, float]:
    return dict(zip(slugs, map(float, values), strict=False))
