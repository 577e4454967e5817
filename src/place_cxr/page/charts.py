"""Geometry of the page's charts. The templates draw it as SVG; the style sheet has the colors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

# Size of a line chart and its margins, in SVG units. Text is legible at one CSS pixel a unit.
CHART_WIDTH, CHART_HEIGHT = 320, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 8, 24
# More points than a curve of this width can show make the page larger and no clearer.
_MAX_POINTS = 300
_LARGEST = 1e100  # number that a chart draws


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its position in chart units or percent, and its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One curve as an SVG path. ``style`` numbers a pair of color and dashes in the style sheet."""

    name: str
    path: str
    style: int
    last: str  # its last value


@dataclass(frozen=True, slots=True)
class LineChart:
    """Curves over training steps."""

    title: str
    says: str
    lines: Sequence[ChartLine]
    x: Sequence[Tick]
    y: Sequence[Tick]


def line_chart(
    title: str,
    says: str,
    records: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    holds: Sequence[float] = (),
) -> LineChart | None:
    """Curves of ``columns`` (name in the records -> name on the page).

    The y axis spans the values and the numbers of ``holds``, so that a small change looks small.
    Returns None where no record has any of the columns.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for column, name in columns.items():
        with_column = [record for record in records if _is_number(record.get(column))]
        if with_column:
            curves[name] = [(int(r["step"]), float(r[column])) for r in with_column]

    if not curves:
        return None

    # The ends of both axes: of all curves together.
    all_points = list(chain.from_iterable(curves.values()))
    steps = [step for step, _ in all_points]
    values = [value for _, value in all_points]
    first, last = min(steps), max(steps)
    bottom, top = min([*values, *holds]), max([*values, *holds])
    y_ticks = nice_ticks(bottom, top, 4)
    low, high = min(y_ticks[0], bottom), max(y_ticks[-1], top)

    # From data to SVG units; y grows downwards in SVG.
    def x(step: float) -> float:
        return _LEFT + (step - first) / max(last - first, 1) * (CHART_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return (
            CHART_HEIGHT - _BOTTOM - (value - low) / (high - low) * (CHART_HEIGHT - _TOP - _BOTTOM)
        )

    lines = []
    for style, (name, points) in enumerate(curves.items()):
        # Every n-th point, and always the last one, whose value stands beside the curve.
        thin = points[:: math.ceil(len(points) / _MAX_POINTS)]
        thin = thin if thin[-1] == points[-1] else [*thin, points[-1]]
        path = "M" + "L".join(f"{x(step):.1f},{y(value):.1f}" for step, value in thin)
        lines.append(ChartLine(name, path, style, format_short(points[-1][1])))

    marks = [t for t in nice_ticks(first, last, 4) if first <= t <= last]
    spread = y_ticks[1] - y_ticks[0]
    return LineChart(
        title,
        says,
        lines,
        [Tick(x(t), f"{t:,.0f}") for t in marks],
        [Tick(y(t), _tick_label(t, spread)) for t in y_ticks],
    )


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose ``low``..``high``."""
    if not high > low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad

    # The smallest step of 1, 2, 5 or 10 times a power of ten that needs at most `count` intervals.
    raw_step = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw_step))
    step = next(
        power * factor for factor in (1, 2, 5, 10) if power * factor >= raw_step * (1 - 1e-9)
    )
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)

    return [round(i * step, 12) for i in range(start, stop + 1)]


def format_short(value: float) -> str:
    """Three significant digits, without a needless exponent."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _tick_label(value: float, spread: float) -> str:
    """With as many digits as separate a tick from its neighbors, ``spread`` away."""
    power = math.floor(math.log10(spread) + 1e-9)
    if power > -4:
        return f"{value:,.{max(0, -power)}f}"
    if not value:
        return "0"

    digits = max(0, math.floor(math.log10(abs(value)) + 1e-9) - power)
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False

    # NaN and infinity are not; differences of larger numbers would not be finite.
    return abs(value) < _LARGEST
