"""Ranks of methods within columns, averaged over the columns of a task, then over tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.stats import rankdata

from place_cxr.benchmark.estimate import FloatArray
from place_cxr.benchmark.result_table import Column, ResultTable, SeedScore, home_site, site_columns


@dataclass(frozen=True, slots=True)
class Ranks:
    """Rank 1 is best. Columns that a ranked method lacks are in ``left_out`` and do not count."""

    # task -> slug -> mean rank over the columns of the task
    by_task: Mapping[str, Mapping[str, float]]
    # slug -> mean over tasks
    overall: Mapping[str, float]
    # slug -> fraction of the resamples of patients in which its overall rank is the best
    best: Mapping[str, float]
    counted: Sequence[Column]
    left_out: Sequence[Column]


def rank_methods(results: ResultTable) -> Ranks:
    """Ranks at the home site, of means over the seeds that all ranked methods have."""
    slugs = [slug for slug, method in results.config.methods.items() if method.ranked]
    # task -> for each column the ranks [M] of M methods, and those on R resamples [M, R]
    ranked: dict[str, list[FloatArray]] = {}
    drawn: dict[str, list[FloatArray | None]] = {}
    counted, left_out = [], []

    for column in site_columns(results.config, home_site(results.config)):
        method_scores = [results.values(slug, column) for slug in slugs]
        seeds = set(results.config.seeds).intersection(*method_scores)
        if len(slugs) < 2 or not seeds:
            left_out.append(column)
            continue

        counted.append(column)
        means = np.array([_mean_value(scores, sorted(seeds)) for scores in method_scores])
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


def _mean_value(scores_by_seed: Mapping[int, SeedScore], seeds: Sequence[int]) -> float:
    return float(np.mean([scores_by_seed[seed].value for seed in seeds]))


def _resampled_ranks(
    method_scores: Sequence[Mapping[int, SeedScore]], seeds: Sequence[int]
) -> FloatArray | None:
    """Ranks [M, R] of M methods by their means over seeds on each of R resamples.

    A resample that is undefined for one method is NaN for all. None where draws are missing.
    """
    draws: list[list[FloatArray]] = []
    for scores_by_seed in method_scores:
        of_seeds = [scores_by_seed[seed].draws for seed in seeds]
        draws.append([values for values in of_seeds if values is not None])
        if len(draws[-1]) < len(of_seeds):
            return None

    if len(set(map(len, chain.from_iterable(draws)))) > 1:
        return None

    # [M, seeds, R] -> [M, R]
    means = np.mean(np.array(draws, dtype=np.float64), axis=1)
    ranks: FloatArray = rankdata(-means, axis=0, nan_policy="propagate")
    return ranks


def _best_fractions(drawn: Mapping[str, Sequence[FloatArray | None]]) -> FloatArray:
    """Fraction [M] of resamples in which a method has the lowest mean rank; ties are divided."""
    all_ranks = list(chain.from_iterable(drawn.values()))
    if not all_ranks or any(ranks is None for ranks in all_ranks):
        return np.zeros(0)
    length = min(ranks.shape[1] for ranks in all_ranks if ranks is not None)
    # As for the ranks themselves: mean over the columns of a task, then over tasks [M, R].
    tasks = []

    for ranks_of_task in drawn.values():
        cut = [ranks[:, :length] for ranks in ranks_of_task if ranks is not None]
        tasks.append(np.mean(cut, axis=0))

    overall = np.mean(tasks, axis=0)
    overall = overall[:, np.isfinite(overall).all(axis=0)]
    if not overall.shape[1]:
        return np.zeros(0)

    first = np.isclose(overall, overall.min(axis=0), rtol=0, atol=1e-9)
    fractions: FloatArray = (first / first.sum(axis=0)).mean(axis=1)
    return fractions


def _by_slug(slugs: Sequence[str], values: FloatArray) -> dict[str, float]:
    return dict(zip(slugs, map(float, values), strict=False))
