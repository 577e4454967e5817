"""How sure a mean over seeds is: intervals over seeds and test patients, p values, Holm's
correction.
"""

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
_SMALLEST_P = 1e-300  # p values below it are 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its 95 % interval over seeds and patients; over patients alone where
    there is one seed.

    ``low`` and ``high`` are None where resamples are lacking. They may pass the ends of a metric's
    scale.
    """

    value: float
    low: float | None
    high: float | None
    seeds: int
    patients: float | None = None  # standard error over test patients
    seed_error: float = 0.0  # standard error over seeds; 0 for one seed

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def estimate(values: Sequence[float], draws: Sequence[FloatArray | None]) -> Estimate:
    """Of one value and R draws a seed; draw r of every seed is of the same resample of patients.

    Patients: percentiles of the draws' mean over seeds. Seeds: t interval of the values. Both
    distances from the mean are squared and added (MOVER; Zou and Donner, Statistics in Medicine 27,
    2008). The patients' part holds the interplay of seeds and patients too, so the whole is a
    little wider than it need be.
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
    """``first - second`` of the same seeds on different patients: both groups' distances are added,
    squared.
    """
    mean, half, between = _over_seeds([a - b for a, b in zip(first, second, strict=True)])
    first_drawn, second_drawn = _average_draws(first_draws), _average_draws(second_draws)
    if first_drawn is None or second_drawn is None:
        return Estimate(mean, None, None, len(first), None, between)
    below, above = _distances(float(np.mean(first)), first_drawn)
    second_below, second_above = _distances(float(np.mean(second)), second_drawn)
    return Estimate(
        mean,
        mean - math.hypot(below, second_above, half),
        mean + math.hypot(above, second_below, half),
        len(first),
        math.hypot(float(first_drawn.std()), float(second_drawn.std())),
        between,
    )


def p_value(difference: Estimate) -> float | None:
    """Two-sided, of no difference: the level at which the interval would touch 0, were the
    patients' part normal.
    """
    if difference.patients is None:
        return None
    if not difference.value:
        return 1.0
    patients, between, degrees_of_freedom = (
        difference.patients,
        difference.seed_error,
        max(1, difference.seeds - 1),
    )

    def beyond(p: float) -> float:
        seeds = between * float(stdtrit(degrees_of_freedom, p / 2)) if between else 0.0
        return math.hypot(patients * float(ndtri(p / 2)), seeds) - abs(difference.value)

    return 0.0 if beyond(_SMALLEST_P) < 0 else float(brentq(beyond, _SMALLEST_P, 1.0))


def correct_holm(values: Sequence[float]) -> list[float]:
    """P values, corrected so that one false claim or more among all of them is as rare as in a
    single test.
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def _over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, half width of its t interval, standard error; both 0 for one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, 0.0, 0.0
    between = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, float(stdtrit(len(values) - 1, (1 + _CONFIDENCE) / 2)) * between, between


def _average_draws(draws: Sequence[FloatArray | None]) -> FloatArray | None:
    """Means over seeds of the resamples that are defined for all; None where less than half of them
    are.
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
    """From the mean down and up to the percentiles of its resamples."""
    low, high = np.percentile(drawn, [50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)])
    return max(0.0, mean - float(low)), max(0.0, float(high) - mean)
