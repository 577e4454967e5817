"""Geometry of the sample-size curves; the template draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from place_cxr.page.charts import Tick, nice_ticks

# In SVG units; one unit is one CSS pixel on a laptop. The right margin holds the names.
_WIDTH, _HEIGHT = 720, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 230, 12, 40
_LABEL_GAP = 17  # between two names
# The y axis spans at least this, so that equal methods look equal.
_MIN_SPAN = 0.01


@dataclass(frozen=True, slots=True)
class Curve:
    """One method: a path, its points, and its name at height ``label``.

    ``style`` is a number of the style sheet.
    """

    name: str
    path: str
    points: Sequence[tuple[float, float]]
    style: int
    end: tuple[float, float]
    label: float
    last: str


@dataclass(frozen=True, slots=True)
class CurveChart:
    """Curves of all methods over the fraction of training patients."""

    title: str
    y_says: str
    curves: Sequence[Curve]
    x: Sequence[Tick]
    y: Sequence[Tick]
    right: float = _WIDTH - _RIGHT
    bottom: float = _HEIGHT - _BOTTOM


def curve_chart(
    title: str, y_says: str, values: Mapping[str, tuple[int, Mapping[float, float]]]
) -> CurveChart | None:
    """``values``: name -> (style, fraction -> value). None where no method has two fractions."""
    non_empty = {name: entry for name, entry in values.items() if entry[1]}
    all_points = [points for _, points in non_empty.values()]
    fractions = sorted(set(chain.from_iterable(all_points)))
    if len(fractions) < 2 or all(len(points) < 2 for points in all_points):
        return None

    values_of_all = list(chain.from_iterable(points.values() for points in all_points))
    ticks = nice_ticks(*_axis_ends(values_of_all), 5)
    low, high = ticks[0], ticks[-1]

    # The x axis is logarithmic: fractions are 1 %, 10 % and 100 %.
    def x(fraction: float) -> float:
        position = math.log(fraction / fractions[0]) / math.log(fractions[-1] / fractions[0])
        return round(_LEFT + 14 + position * (_WIDTH - _RIGHT - _LEFT - 28), 1)

    def y(value: float) -> float:
        return round(
            _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1
        )

    traces = []
    for name, (style, points) in non_empty.items():
        positions = [(x(fraction), y(value)) for fraction, value in sorted(points.items())]
        last = f"{points[max(points)]:.3f}".removeprefix("0")
        traces.append((name, positions, style, last))

    labels = _spread_labels([positions[-1][1] for _, positions, _, _ in traces])
    curves = []
    for (name, positions, style, last), label in zip(traces, labels, strict=True):
        path = "M" + "L".join(f"{a},{b}" for a, b in positions)
        curves.append(Curve(name, path, positions, style, positions[-1], label, last))

    # Digits behind the point that separate two ticks.
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return CurveChart(
        title,
        y_says,
        curves,
        [Tick(x(fraction), f"{100 * fraction:g} %") for fraction in fractions],
        [Tick(y(v), f"{v:.{digits}f}".removeprefix("0") or "0") for v in ticks],
    )


def _axis_ends(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest value, moved apart where they are almost equal."""
    low, high = min(values), max(values)
    padding = max(0.0, _MIN_SPAN - (high - low)) / 2
    return low - padding, high + padding


def _spread_labels(heights: Sequence[float]) -> list[float]:
    """Heights of the names: as near to the ends of their lines as possible without overlap."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    # Neighbors that would overlap form a group, laid out around the mean of their heights.
    groups: list[list[int]] = []

    def top(group: Sequence[int]) -> float:
        middle = sum(heights[index] for index in group) / len(group)
        half = _LABEL_GAP * (len(group) - 1) / 2
        return min(max(middle - half, _TOP), max(_TOP, _HEIGHT - 2 - 2 * half))

    for index in order:
        groups.append([index])
        while len(groups) > 1 and top(groups[-1]) - top(groups[-2]) < _LABEL_GAP * len(groups[-2]):
            last = groups.pop()
            groups[-1] += last

    spread = [0.0] * len(heights)
    for group in groups:
        for step, index in enumerate(group):
            spread[index] = round(top(group) + step * _LABEL_GAP, 1)

    return spread
