"""Uncertainty of a mean over seeds: intervals over seeds and test patients, p values, Holm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

FloatArray = NDArray[np.float64]
_CONFIDENCE = 0.95
_SMALLEST_P = 1e-300  # smaller p values are reported as 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its 95 % interval over seeds and patients.

    With one seed the interval is over patients alone. ``low`` and ``high`` are None where resamples
    are missing. They may exceed the range of the metric.
    """

    value: float
    low: float | None
    high: float | None
    seeds: int
    patients: float | None = None  # standard error over test patients
    seed_error: float = 0.0  # standard error over seeds; 0 for one seed

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def estimate(values: Sequence[float], draws: Sequence[FloatArray | None]) -> Estimate:
    """The estimate from one value and R draws for each seed.

    Draw r of every seed is of the same resample of patients. Patients: percentiles of the mean of
    the draws over seeds. Seeds: t interval of the values. Both distances from the mean are squared
    and added (MOVER; Zou and Donner, Statistics in Medicine 27, 2008). The part of the patients
    includes the interaction of seeds and patients, so the interval is slightly too wide.
    """
    mean, half, between = _over_seeds(values)
    drawn = _average_draws(draws)
    if drawn is None:
        return Estimate(mean, None, None, len(values), None, between)

    below, above = _distances(mean, drawn)
    return Estimate(
        mean,
        mean - math.hypot(below, half),
        mean + math.hypot(above, half),
        len(values),
        float(drawn.std()),
        between,
    )


def estimate_unpaired(
    first: Sequence[float],
    second: Sequence[float],
    first_draws: Sequence[FloatArray | None],
    second_draws: Sequence[FloatArray | None],
) -> Estimate:
    """``first - second`` of the same seeds on different patients.

    The two groups of patients are independent: the squares of their distances are added.
    """
    mean, half, between = _over_seeds([a - b for a, b in zip(first, second, strict=True)])
    first_drawn, second_drawn = _average_draws(first_draws), _average_draws(second_draws)
    if first_drawn is None or second_drawn is None:
        return Estimate(mean, None, None, len(first), None, between)

    below, above = _distances(float(np.mean(first)), first_drawn)
    second_below, second_above = _distances(float(np.mean(second)), second_drawn)
    # The difference is low where the first group is low and the second one high.
    return Estimate(
        mean,
        mean - math.hypot(below, second_above, half),
        mean + math.hypot(above, second_below, half),
        len(first),
        math.hypot(float(first_drawn.std()), float(second_drawn.std())),
        between,
    )


def p_value(difference: Estimate) -> float | None:
    """Two-sided p value of no difference; None where resamples are missing.

    It is the level at which the interval would touch 0 if the part of the patients were normal.
    """
    if difference.patients is None:
        return None
    if not difference.value:
        return 1.0

    patients, between = difference.patients, difference.seed_error
    degrees_of_freedom = max(1, difference.seeds - 1)

    # Half width of the interval of level 1 - p, less the distance of the difference from 0.
    # It falls as p grows: its root is the p value.
    def beyond(p: float) -> float:
        seeds = between * float(stdtrit(degrees_of_freedom, p / 2)) if between else 0.0
        return math.hypot(patients * float(ndtri(p / 2)), seeds) - abs(difference.value)

    return 0.0 if beyond(_SMALLEST_P) < 0 else float(brentq(beyond, _SMALLEST_P, 1.0))


def correct_holm(values: Sequence[float]) -> list[float]:
    """Holm's correction of p values: the chance of any false claim is that of a single test."""
    # The smallest is multiplied by n, the next by n - 1; the order of the p values is kept.
    order = sorted(range(len(values)), key=lambda index: values[index])
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest

    return corrected


def _over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, half width of its t interval, its standard error); the last two are 0 for one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, 0.0, 0.0
    between = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, float(stdtrit(len(values) - 1, (1 + _CONFIDENCE) / 2)) * between, between


def _average_draws(draws: Sequence[FloatArray | None]) -> FloatArray | None:
    """Mean over seeds of each resample that is defined for all seeds, shape [R'].

    None where draws are missing, or less than half of the resamples are defined.
    """
    available = [seed_draws for seed_draws in draws if seed_draws is not None]
    if (
        not available
        or len(available) < len(draws)
        or len({len(seed_draws) for seed_draws in available}) > 1
    ):
        return None

    mean = np.mean(available, axis=0)
    defined: FloatArray = mean[np.isfinite(mean)]
    return defined if len(defined) and 2 * len(defined) >= len(mean) else None


def _distances(mean: float, drawn: FloatArray) -> tuple[float, float]:
    """Distances from the mean down and up to the 2.5 and 97.5 percentiles of its resamples."""
    low, high = np.percentile(drawn, [50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)])
    return max(0.0, mean - float(low)), max(0.0, float(high) - mean)
