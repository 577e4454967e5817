"""Curves, axes and small pictures are where the numbers are."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from place_cxr.core.results import Metric
from place_cxr.page.charts import CHART_HEIGHT, CHART_WIDTH, format_short, line_chart, nice_ticks
from place_cxr.page.images import heat_image, legend_colors, similarity_image
from place_cxr.page.tables import MetricRow, _axis_end, _match_star


def points(path: str) -> list[tuple[float, float]]:
    return [
        (float(x), float(y)) for x, _, y in (pair.partition(",") for pair in path[1:].split("L"))
    ]


def picture(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.5, 1]),
        (0, 9, [0, 5, 10]),
        (-0.06, -0.03, [-0.06, -0.05, -0.04, -0.03]),
        (2, 2, [1.8, 1.9, 2, 2.1, 2.2]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high, 4) == pytest.approx(ticks)


def test_curve_lies_on_its_axes() -> None:
    chart = line_chart(
        "t",
        "s",
        [{"step": 0, "a": 0.0}, {"step": 50, "a": 5.0}, {"step": 100, "a": 10.0}],
        {"a": "a"},
    )
    assert chart
    (x0, y0), (x1, y1), (x2, y2) = points(chart.lines[0].path)
    assert (x1, y1) == pytest.approx(((x0 + x2) / 2, (y0 + y2) / 2), abs=0.1)
    at = {tick.label: tick.at for tick in chart.y}
    assert (at["0"], at["10"]) == pytest.approx((y0, y2), abs=0.1)
    assert 0 < y2 < y0 < CHART_HEIGHT and 0 < x0 < x2 < CHART_WIDTH
    assert chart.lines[0].last == "10"


@pytest.mark.parametrize(
    ("top", "labels"),
    [
        (0.002, ["0", "5e-4", "1.0e-3", "1.5e-3", "2.0e-3"]),
        (2e-8, ["0", "5e-9", "1.0e-8", "1.5e-8", "2.0e-8"]),
        (0.3, ["0.0", "0.1", "0.2", "0.3"]),
        (0.004, ["0.000", "0.001", "0.002", "0.003", "0.004"]),
        (3000, ["0", "1,000", "2,000", "3,000"]),
    ],
)
def test_ticks_are_told_apart(top: float, labels: list[str]) -> None:
    chart = line_chart("t", "s", [{"step": 0, "a": 0.0}, {"step": 9, "a": top}], {"a": "a"})
    assert chart and [tick.label for tick in chart.y] == labels


def test_an_axis_holds_what_it_is_asked_to() -> None:
    records = [{"step": 0, "a": -0.04}, {"step": 9, "a": -0.01}]
    chart = line_chart("t", "s", records, {"a": "a"}, holds=(0.0, 1.0))
    assert chart and {"0.0", "1.0"} <= {tick.label for tick in chart.y}
    (_, first), (_, last) = points(chart.lines[0].path)
    assert first - last < 0.03 * CHART_HEIGHT


def test_gaps_and_foreign_values_are_left_out() -> None:
    records = [
        {"step": 1, "a": 1.0},
        {"step": 2, "a": None},
        {"step": 3, "a": "x"},
        {"step": 4, "a": 2.0},
        {"step": 5},
    ]
    chart = line_chart("t", "s", records, {"a": "a", "b": "b"})
    assert chart and [len(points(line.path)) for line in chart.lines] == [2]
    assert line_chart("t", "s", records, {"b": "b"}) is None
    assert line_chart("t", "s", [], {"a": "a"}) is None


def test_long_runs_stay_small_and_keep_their_end() -> None:
    chart = line_chart("t", "s", [{"step": i, "a": float(i)} for i in range(10_001)], {"a": "a"})
    assert chart and len(points(chart.lines[0].path)) <= 302
    assert chart.lines[0].last == "10,000"
    assert points(chart.lines[0].path)[-1][0] == pytest.approx(CHART_WIDTH - 10)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0513, "0.0513"), (8.3, "8.3"), (12345.6, "12,346"), (0.0, "0"), (1e-8, "1e-08")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert format_short(value) == text


@pytest.mark.parametrize(
    ("pattern", "name", "label"),
    [
        ("mix/auroc/*", "mix/auroc/Edema", "Edema"),
        ("mix/auroc/*", "mix/auroc/a/b", "a/b"),
        ("mix/auroc/*", "instance/auroc/Edema", None),
        ("*/auroc/macro", "1%/auroc/macro", "1%"),
        ("*/auroc/macro", "1%/auroc/Edema", None),
        ("mix/image to report/R@*", "mix/image to report/R@10", "10"),
        ("mix/image to report/R@*", "mix/image to report/median rank", None),
        ("mix/image to report/R@*", "mix/image to report, 1000 candidates/R@1", None),
        ("mix/auroc/*", "auroc", None),
    ],
)
def test_patterns_name_rows(pattern: str, name: str, label: str | None) -> None:
    assert _match_star(pattern, name) == label


@pytest.mark.parametrize(
    ("values", "top"),
    [
        ((0.01, 0.04), 0.05),
        ((0.3, 0.6), 1.0),
        ((0.2, 0.2), 0.2),
        ((3.0, 4.0), 0.0),
        ((-0.1, 0.5), 0.0),
    ],
)
def test_axis_holds_all_values(values: tuple[float, float], top: float) -> None:
    rows = [
        MetricRow("a", [Metric(values[0], None, None, 1, ""), None]),
        MetricRow("b", [Metric(values[0], *values, 1, "")]),
    ]
    assert _axis_end(rows) == top


def test_heat_is_clear_where_cold_and_opaque_where_hot() -> None:
    cold = np.zeros((4, 4))
    cold[3, 0] = 2.0
    image = picture(heat_image(cold))
    assert image.shape == (16, 16, 4)
    assert image[0, -1, 3] == 0
    assert image[-1, 0, 3] == image[..., 3].max() > 200
    assert picture(heat_image(np.zeros((2, 2))))[..., 3].max() == 0


def test_likeness_has_a_middle_that_leans_nowhere() -> None:
    image = picture(similarity_image(np.array([[1.0, 0.0, -1.0]])))
    assert image.shape == (1, 3, 4)
    alike, neither, opposite = image[0, :, :3]
    assert alike[0] > alike[2] and opposite[2] > opposite[0]
    assert neither.min() > 235


def test_heat_gets_lighter_evenly() -> None:
    """So that it reads in grey, and by people who do not tell red from green."""
    rgb = np.array(
        [[int(x) for x in colour[4:-1].split()] for colour in legend_colors(("inferno", 0.35, 1.0))]
    )
    assert (np.diff(rgb @ np.array([0.299, 0.587, 0.114])) > 0).all()


def test_a_run_that_logged_once_has_a_chart() -> None:
    chart = line_chart("Loss", "", [{"step": 3, "loss": 2.5}], {"loss": "loss"})
    assert chart is not None and chart.lines[0].last == "2.5"
