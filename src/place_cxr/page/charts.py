"""Geometry of the page's charts. Templates draw it as SVG that takes its colours from the style
sheet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CHART_WIDTH, CHART_HEIGHT = (
    320,
    176,
)  # units of a line chart; text is legible where one unit is one CSS pixel
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 8, 24
_MAX_POINTS = 300


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where, in chart units or percent, and what it says."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One curve as an SVG path. ``style`` is a number of the style sheet: colour and dashes
    together.
    """

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
    """Curves of ``columns`` (name in the records -> name on the page); None where no record has any
    of them.

    The axis holds the values and the numbers of ``holds``, so that a small change of a small number
    looks small.
    """
    curves = {
        name: [(int(r["step"]), float(r[column])) for r in records if _is_number(r.get(column))]
        for column, name in columns.items()
    }
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return None
    steps = [step for points in curves.values() for step, _ in points]
    values = [value for points in curves.values() for _, value in points]
    first, last = min(steps), max(steps)
    bottom, top = min([*values, *holds]), max([*values, *holds])
    y_ticks = nice_ticks(bottom, top, 4)
    low, high = min(y_ticks[0], bottom), max(y_ticks[-1], top)

    def x(step: float) -> float:
        return _LEFT + (step - first) / max(last - first, 1) * (CHART_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return (
            CHART_HEIGHT - _BOTTOM - (value - low) / (high - low) * (CHART_HEIGHT - _TOP - _BOTTOM)
        )

    lines = []
    for style, (name, points) in enumerate(curves.items()):
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
    """As many digits as tell a tick from its neighbours, ``spread`` away."""
    power = math.floor(math.log10(spread) + 1e-9)
    if power > -4:
        return f"{value:,.{max(0, -power)}f}"
    if not value:
        return "0"
    digits = max(0, math.floor(math.log10(abs(value)) + 1e-9) - power)
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
