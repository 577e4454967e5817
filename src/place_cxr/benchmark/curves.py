"""Geometry of the sample-size curves; the template draws them as SVG in the colours of its style
sheet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from place_cxr.page.charts import Tick, nice_ticks

_WIDTH, _HEIGHT = 720, 340  # units; one is one CSS pixel on a laptop
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 230, 12, 40  # the right holds the names of the lines
_LABEL_GAP = 17  # between two names
_MIN_SPAN = 0.01  # what an axis spans at least


@dataclass(frozen=True, slots=True)
class Curve:
    """One method: a path, its points, and its name at the height ``label``. ``style`` is of the
    style sheet.
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
    """Curves of all methods over the share of training patients."""

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
    """``values``: name -> (style, share -> value). None where no method has two shares."""
    non_empty = {name: entry for name, entry in values.items() if entry[1]}
    fractions = sorted({fraction for _, points in non_empty.values() for fraction in points})
    if len(fractions) < 2 or all(len(points) < 2 for _, points in non_empty.values()):
        return None
    ticks = nice_ticks(
        *_axis_ends([v for _, points in non_empty.values() for v in points.values()]), 5
    )
    low, high = ticks[0], ticks[-1]

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
    curves = [
        Curve(
            name,
            "M" + "L".join(f"{a},{b}" for a, b in positions),
            positions,
            style,
            positions[-1],
            label,
            last,
        )
        for (name, positions, style, last), label in zip(traces, labels, strict=True)
    ]
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return CurveChart(
        title,
        y_says,
        curves,
        [Tick(x(fraction), f"{100 * fraction:g} %") for fraction in fractions],
        [Tick(y(v), f"{v:.{digits}f}".removeprefix("0") or "0") for v in ticks],
    )


def _axis_ends(values: Sequence[float]) -> tuple[float, float]:
    """Of the axis: those of the values, or a little apart where the values are all but equal."""
    low, high = min(values), max(values)
    padding = max(0.0, _MIN_SPAN - (high - low)) / 2
    return low - padding, high + padding


def _spread_labels(heights: Sequence[float]) -> list[float]:
    """Heights of the names: as near to the ends of their lines as they can be without lying on each
    other.
    """
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    groups: list[
        list[int]
    ] = []  # neighbours that touch, laid out around the mean of where they want to be

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
