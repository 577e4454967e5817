"""Geometry of the sample-size curves; the template draws them as SVG in the colours of its style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from place_cxr.page.charts import Tick, nice_ticks

WIDTH, HEIGHT = 720, 340  # units; one is one CSS pixel on a laptop
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 230, 12, 40  # the right holds the names of the lines
_APART = 17  # between two names
_FLATTEST = 0.01  # what an axis spans at least


@dataclass(frozen=True, slots=True)
class Curve:
    """One method: a path, its points, and its name at the height ``label``. ``style`` is of the style sheet."""

    name: str
    path: str
    points: Sequence[tuple[float, float]]
    style: int
    end: tuple[float, float]
    label: float
    last: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves of all methods over the share of training patients."""

    title: str
    y_says: str
    curves: Sequence[Curve]
    x: Sequence[Tick]
    y: Sequence[Tick]
    right: float = WIDTH - _RIGHT
    bottom: float = HEIGHT - _BOTTOM


def chart(title: str, y_says: str, values: Mapping[str, tuple[int, Mapping[float, float]]]) -> Chart | None:
    """``values``: name -> (style, share -> value). None where no method has two shares."""
    known = {name: one for name, one in values.items() if one[1]}
    shares = sorted({share for _, points in known.values() for share in points})
    if len(shares) < 2 or all(len(points) < 2 for _, points in known.values()):
        return None
    ticks = nice_ticks(*_ends([v for _, points in known.values() for v in points.values()]), 5)
    low, high = ticks[0], ticks[-1]

    def x(share: float) -> float:
        part = math.log(share / shares[0]) / math.log(shares[-1] / shares[0])
        return round(_LEFT + 14 + part * (WIDTH - _RIGHT - _LEFT - 28), 1)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    drawn = []
    for name, (style, points) in known.items():
        at = [(x(share), y(value)) for share, value in sorted(points.items())]
        last = f"{points[max(points)]:.3f}".removeprefix("0")
        drawn.append((name, at, style, last))
    labels = _spread([at[-1][1] for _, at, _, _ in drawn])
    curves = [
        Curve(name, "M" + "L".join(f"{a},{b}" for a, b in at), at, style, at[-1], label, last)
        for (name, at, style, last), label in zip(drawn, labels, strict=True)
    ]
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return Chart(
        title,
        y_says,
        curves,
        [Tick(x(share), f"{100 * share:g} %") for share in shares],
        [Tick(y(v), f"{v:.{digits}f}".removeprefix("0") or "0") for v in ticks],
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Of the axis: those of the values, or a little apart where the values are all but equal."""
    low, high = min(values), max(values)
    apart = max(0.0, _FLATTEST - (high - low)) / 2
    return low - apart, high + apart


def _spread(wanted: Sequence[float]) -> list[float]:
    """Heights of the names: as near to the ends of their lines as they can be without lying on each other."""
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    groups: list[list[int]] = []  # neighbours that touch, laid out around the mean of where they want to be

    def top(group: Sequence[int]) -> float:
        middle = sum(wanted[place] for place in group) / len(group)
        half = _APART * (len(group) - 1) / 2
        return min(max(middle - half, _TOP), max(_TOP, HEIGHT - 2 - 2 * half))

    for place in order:
        groups.append([place])
        while len(groups) > 1 and top(groups[-1]) - top(groups[-2]) < _APART * len(groups[-2]):
            last = groups.pop()
            groups[-1] += last
    found = [0.0] * len(wanted)
    for group in groups:
        for step, place in enumerate(group):
            found[place] = round(top(group) + step * _APART, 1)
    return found
