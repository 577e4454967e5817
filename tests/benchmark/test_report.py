"""The report: every number from a cell, nothing filled in, the reading kept, one file that needs no
other.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from place_cxr.benchmark import descriptions
from place_cxr.benchmark.cell import CellKey
from place_cxr.benchmark.curves import curve_chart
from place_cxr.benchmark.plan import BenchmarkConfig
from place_cxr.benchmark.report import READING_MARKS, write_results
from place_cxr.benchmark.result_table import ResultTable
from place_cxr.benchmark.sections import group_columns
from tests.benchmark import made

NOTICE = "Research use only. Not a medical device. Do not use for diagnosis."


@pytest.fixture(scope="module")
def config() -> BenchmarkConfig:
    """Three methods and a bound, two seeds, every task, two sites."""
    methods = {
        "place": {"score": "mix"},
        "other": {"title": "a <b>bold</b> | peer"},
        "gloria": {},
        "supervised": {"ranked": False, "mode": "finetune", "fractions": [1.0], "trained": False},
    }
    return made.small(
        methods, made.QUESTIONS, seeds=(0, 1), sites=["A", "B"], phantom={"studies": 600}
    )


@pytest.fixture(scope="module")
def out(config: BenchmarkConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its cells, some of them missing or undefined, and its report."""
    folder = tmp_path_factory.mktemp("benchmark")

    def skip(place: CellKey) -> bool:
        return (place.slug, place.seed) == ("gloria", 1) or (place.slug, place.task) == (
            "other",
            "detection",
        )

    def score(place: CellKey, column: str) -> tuple[float, np.ndarray]:
        value, draws = made.realistic(
            CellKey("mgca" if place.slug == "other" else place.slug, *_rest(place)), column
        )
        return (
            float("nan") if (place.slug, column) == ("other", "BLEU-4/decoder") else value
        ), draws

    made.write(config, folder, score, skip=skip)
    made.costs(config, folder)
    (folder / "gloria-s1" / "STATUS").write_text("failed\n")
    write_results(config, folder)
    return folder


def _rest(place: CellKey) -> tuple[int, str, str, float, str]:
    return place.seed, place.task, place.source, place.fraction, place.site


def table(text: str, title: str) -> list[list[str]]:
    """Rows of the first Markdown table below a heading."""
    lines = text[text.index(title) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def test_parts_in_their_order(out: Path) -> None:
    text = (out / "results.md").read_text()
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert titles == [
        "Reading",
        "What ran",
        "How to read a number",
        "Overview",
        "Classification",
        "Segmentation",
        "Detection",
        "Report generation",
        "Retrieval",
        "Zero-shot classification",
        "Differences to Place",
        "Site shift: from A to B",
        "Sample-size curves",
        "Costs",
        "Rules of each task, word by word",
        "What is missing",
    ]
    assert text.startswith(f"# Benchmark made up\n\n**{NOTICE}**")


def test_a_number_of_the_table_is_that_of_the_cells(config: BenchmarkConfig, out: Path) -> None:
    place = [CellKey("place", seed, "segmentation", "pairs", 0.1, "A") for seed in (0, 1)]
    mean = np.mean([made.realistic(one, "dice/macro")[0] for one in place])
    rows = table((out / "results.md").read_text(), "## Segmentation")
    assert rows[0] == ["", "1 % of labels", "10 % of labels", "100 % of labels"]
    assert f"{mean:.3f}"[1:] in rows[2][2]
    assert re.fullmatch(r"(\*\*)?\.\d{3}(\*\*)? \[−?\.\d{3}, \.\d{3}\]", rows[2][2])


def test_missing_cells_are_blank_and_fewer_seeds_are_named(out: Path) -> None:
    text = (out / "results.md").read_text()
    rows = {row[0]: row[1:] for row in table(text, "## Detection")[2:]}
    assert rows["a \\<b>bold\\</b> \\| peer"] == ["—", "—"]
    assert all("<sup>1 of 2 seeds</sup>" in cell for cell in rows["Gloria"])
    assert rows["*Supervised*"][0] == "—" and rows["*Supervised*"][1] != "—"
    missing = text[text.index("## What is missing") :]
    assert "- Gloria, seed 1 (failed): all cells" in missing
    assert "seed 0 (not started): detection 10 % site A" in missing
    assert "BLEU-4, undefined: no case on the test side: a \\<b>bold" in missing
    assert "report-generation-finetune" in text and "cells**: 12" not in text


def test_columns_that_do_not_count_are_named(out: Path) -> None:
    text = (out / "results.md").read_text()
    overview = text[text.index("## Overview") : text.index("## Classification")]
    sentences = " ".join(overview.split())  # paragraphs are wrapped
    assert "18 of 20 columns" not in sentences  # detection twice, and BLEU-4
    assert re.search(r"19 of 22 columns count\. Not all ranked methods have: detection, AP 40-75, "
                     r"10 % of labels; detection, AP 40-75, 100 % of "
                     r"labels; reports, BLEU-4, 100 % of labels\.", sentences)  # fmt: skip
    assert table(overview, "Overview")[-1][:3] == ["*Supervised*", "—", "—"]


def test_whole_or_empty(config: BenchmarkConfig, tmp_path: Path) -> None:
    write_results(config, tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert "**cells**: 0 of" in text and "(not started): all cells" in text
    numbers = re.findall(r"^\|.*\.\d{3}.*\|$", text, re.MULTILINE)
    assert numbers == []
    whole = made.small(seeds=(0,))
    made.write(whole, tmp_path / "whole", lambda place, column: (0.5, np.linspace(0.4, 0.6, 50)))
    write_results(whole, tmp_path / "whole")
    text = (tmp_path / "whole" / "results.md").read_text()
    assert (
        "Nothing: every cell is there." in text
        and "Site shift" not in text
        and "curves" not in text
    )


def test_clear_differences_have_a_sign(tmp_path: Path) -> None:
    """Far below the reference: ▼ in the task's table, ** in that of differences; the same: no
    sign.
    """
    config = made.small({"place": {}, "low": {}, "high": {}, "same": {}})
    by = {"place": 0.7, "low": 0.6, "high": 0.8, "same": 0.7}
    made.write(
        config,
        tmp_path,
        lambda place, column: (by[place.slug], by[place.slug] + np.linspace(-0.05, 0.05, 99)),
    )
    write_results(config, tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert [row[1][-1] for row in table(text, "## Classification")[2:]] == ["]", "▼", "▲", "]"]
    rows = table(text, "## Differences")[2:]
    assert [row[1].split(" <sup>")[0] for row in rows] == [
        "+.100 [+.100, +.100] \\*\\*", "−.100 [−.100, −.100] \\*\\*", ".000 [.000, .000]"
    ]  # fmt: skip
    assert [row[1].split("<sup>")[1] for row in rows] == ["3/3</sup>", "0/3</sup>", "0/3</sup>"]


def test_written_twice_keeps_the_reading_and_nothing_else(
    config: BenchmarkConfig, out: Path
) -> None:
    file, page = out / "results.md", out / "results.html"
    before = file.read_text(), page.read_text()
    write_results(config, out)
    assert (file.read_text(), page.read_text()) == before
    reading = "**PLACE** leads `here`, see [the log](LOG.md).\n\n- one <script>\n- two"
    start, end = (
        before[0].index(READING_MARKS[0]) + len(READING_MARKS[0]),
        before[0].index(READING_MARKS[1]),
    )
    file.write_text(before[0][:start] + f"\n{reading}\n" + before[0][end:] + "\nstray words\n")
    write_results(config, out)
    text, html = file.read_text(), page.read_text()
    assert text == before[0].replace("None yet.", reading)
    assert "<p><b>PLACE</b> leads <code>here</code>, see the log.</p>" in html
    assert "<ul><li>one &lt;script&gt;</li><li>two</li></ul>" in html
    file.write_text(before[0])
    write_results(config, out)


class Outside(HTMLParser):
    """What a page would fetch or run, and tags that were not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag in ("script", "link", "iframe", "img", "object", "form") else []
        self.found += [
            f"{k}={v}"
            for k, v in attrs
            if k in ("src", "href", "style") and not str(v).startswith("#")
        ]
        self.found += [k for k, _ in attrs if k.startswith("on")]
        self.ids += [str(v) for k, v in attrs if k == "id"]
        if tag not in ("meta", "line", "circle", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open = [one for one in self.open if one not in ("line", "circle", "path")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_needs_nothing_else(out: Path) -> None:
    html = (out / "results.html").read_text()
    parser = Outside()
    parser.feed(html)
    assert (parser.found, parser.open) == ([], [])
    assert len(parser.ids) == len(set(parser.ids))
    assert set(re.findall(r'href="#([^"]+)"', html)) == set(parser.ids)
    assert (
        "http:" not in html
        and "https:" not in html
        and "url(" not in html
        and "<b>bold" not in html
    )
    assert "default-src 'none'" in html and NOTICE in html
    assert html.count("<svg") == 3 and html.count('class="axis') > 20
    assert "rules of zero-shot; {&#39;lr&#39;: 0.001} | &lt;whole&gt;" in html


def test_tables_are_not_too_wide(config: BenchmarkConfig, out: Path) -> None:
    text = (out / "results.md").read_text()
    rows = re.findall(
        r"^\|.*\|$", text[text.index("## Classification") : text.index("## Costs")], re.MULTILINE
    )
    assert (
        max(len(re.split(r"(?<!\\)\|", row)) for row in rows) <= 7
    )  # a name and four columns between outer marks


def test_trivial_answers_stand_below_their_table(tmp_path: Path) -> None:
    told = {"BLEU-4/decoder": 0.2, "micro F1/decoder": 0.5, "micro F1/frequent": 0.26}
    config = made.small(
        questions=[{"task": "report-generation", "columns": list(told)}], seeds=(0, 1)
    )
    made.write(
        config, tmp_path, lambda place, column: (told[column] + 0.02 * place.seed, np.zeros(made.R))
    )
    text = write_results(config, tmp_path).read_text("utf-8")
    assert text.count("To beat, ") == 1
    assert "To beat, micro F1: the most frequent training report .270." in text


def test_one_task_on_two_sources(tmp_path: Path) -> None:
    config = made.small(
        questions=[
            {"task": "classification", "source": name, "columns": ["auroc/macro"]}
            for name in ("kermany", "nih")
        ],
        sources={name: {"source": "manifest", "manifest": "x"} for name in ("kermany", "nih")},
    )
    assert [group[:2] for group in group_columns(config)] == [
        ("Classification on kermany", "classification-kermany"),
        ("Classification on nih", "classification-nih"),
    ]
    assert ResultTable.read(config, tmp_path).cells == {}


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.7241, False, ".724"),
        (-0.0123, True, "−.012"),
        (0.5, True, "+.500"),
        (1.25, False, "1.250"),
        (-0.0001, True, ".000"),
        (None, False, "—"),
        (1.0, True, "+1.000"),
    ],
)
def test_numbers(value: float | None, signed: bool, text: str) -> None:
    assert descriptions.format_number(value, signed=signed) == text


def test_headings() -> None:
    names = [
        "{score}/auroc/macro",
        "instance/auroc/macro",
        "micro F1/decoder",
        "{score}/image to report/R@10",
    ]
    assert [descriptions.metric_heading(name) for name in names] == [
        "AUROC",
        "instance, AUROC",
        "micro F1",
        "image to report, R@10",
    ]


def test_names_of_curves_do_not_lie_on_each_other() -> None:
    values = {f"m{i}": (i, {0.01: 0.5, 1.0: 0.7 + 0.001 * i}) for i in range(9)}
    drawn = curve_chart("t", "y", values)
    heights = sorted(curve.label for curve in drawn.curves)
    assert min(b - a for a, b in zip(heights, heights[1:], strict=False)) >= 16.9
    assert [c.label for c in drawn.curves] == sorted(
        heights, reverse=True
    )  # the highest value on top
    assert [tick.label for tick in drawn.x] == ["1 %", "100 %"]
    assert curve_chart("t", "y", {"a": (0, {1.0: 0.5}), "b": (1, {})}) is None
    assert curve_chart("t", "y", {}) is None


@pytest.mark.parametrize("apart", [0.0, 1e-16, 1e-13, 1e-3])
def test_curves_that_are_all_but_flat(apart: float) -> None:
    drawn = curve_chart("t", "y", {"a": (0, {0.5: 0.9, 1.0: 0.9 + apart})})
    assert len({tick.label for tick in drawn.y}) == len(drawn.y) >= 3
    assert abs(drawn.curves[0].points[0][1] - drawn.curves[0].points[1][1]) < 40
