"""How sure a mean over seeds is: intervals over seeds and test patients, p values, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]
_LEVEL = 0.95
_SMALLEST = 1e-300  # p values below it are 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its 95 % interval over seeds and patients; over patients alone where there is one seed.

    ``low`` and ``high`` are None where resamples are lacking. They may pass the ends of a metric's scale.
    """

    value: float
    low: float | None
    high: float | None
    seeds: int
    patients: float | None = None  # standard error over test patients
    between: float = 0.0  # standard error over seeds; 0 for one seed

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def estimate(values: Sequence[float], draws: Sequence[Floats | None]) -> Estimate:
    """Of one value and R draws a seed; draw r of every seed is of the same resample of patients.

    Patients: percentiles of the draws' mean over seeds. Seeds: t interval of the values. Both distances from the mean
    are squared and added (MOVER; Zou and Donner, Statistics in Medicine 27, 2008). The patients' part holds the
    interplay of seeds and patients too, so the whole is a little wider than it need be.
    """
    mean, half, between = _over_seeds(values)
    drawn = _mean_draws(draws)
    if drawn is None:
        return Estimate(mean, None, None, len(values), None, between)
    below, above = _distances(mean, drawn)
    return Estimate(
        mean, mean - math.hypot(below, half), mean + math.hypot(above, half), len(values), float(drawn.std()), between
    )


def estimate_apart(
    first: Sequence[float],
    second: Sequence[float],
    first_draws: Sequence[Floats | None],
    second_draws: Sequence[Floats | None],
) -> Estimate:
    """``first - second`` of the same seeds on different patients: both groups' distances are added, squared."""
    mean, half, between = _over_seeds([a - b for a, b in zip(first, second, strict=True)])
    here, there = _mean_draws(first_draws), _mean_draws(second_draws)
    if here is None or there is None:
        return Estimate(mean, None, None, len(first), None, between)
    below, above = _distances(float(np.mean(first)), here)
    under, over = _distances(float(np.mean(second)), there)
    return Estimate(
        mean,
        mean - math.hypot(below, over, half),
        mean + math.hypot(above, under, half),
        len(first),
        math.hypot(float(here.std()), float(there.std())),
        between,
    )


def p_value(found: Estimate) -> float | None:
    """Two-sided, of no difference: the level at which the interval would touch 0, were the patients' part normal."""
    if found.patients is None:
        return None
    if not found.value:
        return 1.0
    patients, between, freedom = found.patients, found.between, max(1, found.seeds - 1)

    def beyond(p: float) -> float:
        seeds = between * float(stdtrit(freedom, p / 2)) if between else 0.0
        return math.hypot(patients * float(ndtri(p / 2)), seeds) - abs(found.value)

    return 0.0 if beyond(_SMALLEST) < 0 else float(brentq(beyond, _SMALLEST, 1.0))


def holm(values: Sequence[float]) -> list[float]:
    """P values, corrected so that one false claim or more among all of them is as rare as in a single test."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    corrected, highest = [0.0] * len(values), 0.0
    for done, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - done) * values[place]))
        corrected[place] = highest
    return corrected


def _over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, half width of its t interval, standard error; both 0 for one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, 0.0, 0.0
    between = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, float(stdtrit(len(values) - 1, (1 + _LEVEL) / 2)) * between, between


def _mean_draws(draws: Sequence[Floats | None]) -> Floats | None:
    """Means over seeds of the resamples that are defined for all; None where less than half of them are."""
    given = [one for one in draws if one is not None]
    if not given or len(given) < len(draws) or len({len(one) for one in given}) > 1:
        return None
    mean = np.mean(given, axis=0)
    defined: Floats = mean[np.isfinite(mean)]
    return defined if len(defined) and 2 * len(defined) >= len(mean) else None


def _distances(mean: float, drawn: Floats) -> tuple[float, float]:
    """From the mean down and up to the percentiles of its resamples."""
    low, high = np.percentile(drawn, [50 * (1 - _LEVEL), 50 * (1 + _LEVEL)])
    return max(0.0, mean - float(low)), max(0.0, float(high) - mean)
