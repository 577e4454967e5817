"""How sure a number is: percentile intervals from resampling patients, not images.

Images of one patient are alike, so whole patients are drawn with replacement (cluster bootstrap). A
resample is a row of counts: how often each image was drawn. A statistic is a function of counts, so
that R resamples cost a few array operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.results import Metric

Floats = NDArray[np.float64]
# counts [R, N] of R resamples of N rows -> values [R] or [R, M]; NaN where a resample leaves the
# value undefined
Statistic = Callable[[Floats], Floats]

RESAMPLES = 1000
_CELLS = 2_000_000  # counts held at once: 16 MB


def undefined_metric(reason: str, n: int = 0) -> Metric:
    """No number, and why."""
    return Metric(None, None, None, n, reason)


def resamples(patients: Sequence[str], n: int = RESAMPLES, seed: int = 0) -> Iterator[Floats]:
    """Counts [r, N] in chunks, R = ``n`` rows in all: how often each of the N rows is in each
    resample.

    Rows of one patient are drawn together; a row without a patient ("") is a patient of its own.
    """
    # The null character keeps made names apart from names of patients.
    named = np.array([p or f"\0{row}" for row, p in enumerate(patients)])
    _, member = np.unique(named, return_inverse=True)
    total = int(member.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // max(1, len(named)))

    for start in range(0, n, step):
        rows = min(step, n - start)
        # Each resample has its own range of numbers, so that one bincount counts all of them.
        drawn = rng.integers(total, size=(rows, total)) + np.arange(rows)[:, None] * total
        counts = np.bincount(drawn.ravel(), minlength=rows * total).reshape(rows, total)
        yield counts[:, member].astype(np.float64)


def bootstrap_columns(
    statistic: Statistic,
    patients: Sequence[str],
    *,
    n: int = RESAMPLES,
    seed: int = 0,
    rows: Sequence[int] = (),
) -> list[Metric]:
    """One interval for each of the M columns of ``statistic``, all from the same resamples.

    ``rows`` holds how many rows each column scored (default: all). The 2.5 and 97.5 percentiles are
    taken over the resamples in which the column is defined; where that is less than half of them,
    there is no interval, and a reason.

    Raises:
        PlaceError: PL-D220 if there are no rows.
    """
    if not len(patients):
        raise PlaceError("no rows to score", code="PL-D220", fix="check the split")

    # The value itself counts each row once.
    point = statistic(np.ones((1, len(patients)))).reshape(-1)
    parts = [statistic(c).reshape(len(c), -1) for c in resamples(patients, n, seed)]
    drawn = np.concatenate(parts)  # [n, M]
    scored = list(rows) if len(rows) else [len(patients)] * len(point)

    metrics = []
    for value, column, row_count in zip(point, drawn.T, scored, strict=True):
        metrics.append(_interval(float(value), column, row_count))

    return metrics


def bootstrap(
    statistic: Statistic, patients: Sequence[str], *, n: int = RESAMPLES, seed: int = 0
) -> Metric:
    """The value of ``statistic`` on the data as they are, with its 95 % interval over resampled
    patients.
    """
    return bootstrap_columns(statistic, patients, n=n, seed=seed)[0]


def paired_difference(
    first: Statistic,
    second: Statistic,
    patients: Sequence[str],
    *,
    n: int = RESAMPLES,
    seed: int = 0,
) -> Metric:
    """``first - second``, on the same resamples: an interval that leaves out 0 is a difference at
    the 5 % level.
    """
    return bootstrap(lambda counts: first(counts) - second(counts), patients, n=n, seed=seed)


def mean_statistic(values: ArrayLike) -> Statistic:
    """Mean over the rows of ``values`` [N] or [N, M]; NaN rows are left out, column by column."""
    table = np.asarray(values, dtype=np.float64)
    defined = np.isfinite(table)
    filled = np.where(defined, table, 0.0)

    def statistic(counts: Floats) -> Floats:
        weight = counts @ defined
        return np.divide(
            counts @ filled, weight, out=np.full_like(weight, np.nan), where=weight > 0
        )

    return statistic


def _interval(value: float, drawn: Floats, n: int) -> Metric:
    if not np.isfinite(value):
        return undefined_metric("undefined on these rows", n)

    # A resample of few patients can lack a class. With less than half of the resamples left, their
    # percentiles would say nothing about the value.
    defined = drawn[np.isfinite(drawn)]
    if 2 * len(defined) < len(drawn) or not len(defined):
        reason = "undefined in most resamples: too few patients for an interval"
        return Metric(value, None, None, n, reason, drawn)

    low, high = np.percentile(defined, [2.5, 97.5])

    return Metric(value, float(low), float(high), n, draws=drawn)
