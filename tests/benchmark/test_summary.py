"""Means, differences, site shift and costs out of cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from place_cxr.benchmark.cell import CellKey, PretrainingCost, read_cells
from place_cxr.benchmark.provenance import missing_section
from place_cxr.benchmark.result_table import (
    Column,
    ResultTable,
    home_site,
    planned_keys,
    site_columns,
)
from place_cxr.benchmark.summary import (
    mean_cost,
    mean_over_seeds,
    reference_difference,
    reference_differences,
    site_shift,
    summarize,
)
from tests.benchmark import made

AUROC = Column("classification", "pairs", 1.0, "all", "auroc/macro")
NOISE = np.random.default_rng(0).normal(0, 0.02, made.R)
WORDS = {"task": "zero-shot", "columns": ["{score}/auroc/macro"]}
SHARED = ["place", "other"]


def shifted(by: float) -> made.Score:
    """The other method is below by a constant, with every seed and on every resample."""

    def score(place: CellKey, column: str) -> tuple[float, np.ndarray]:
        value = 0.7 + 0.01 * place.seed - by * (place.slug != "place")
        return value, value + NOISE

    return score


def book_of(config, out: Path, score: made.Score, **how) -> ResultTable:
    made.write(config, out, score, **how)
    return ResultTable.read(config, out)


def test_mean_over_seeds(tmp_path: Path) -> None:
    found = mean_over_seeds(book_of(made.small(), tmp_path, shifted(0.0)), "place", AUROC)
    assert (found.value, found.seeds) == (pytest.approx(0.71), 3)
    assert (
        found.low < 0.71 - 0.0248 < 0.71 + 0.0248 < found.high
    )  # t(.975, 2) * .01 / sqrt(3), and more


def test_identical_methods_differ_by_exactly_0(tmp_path: Path) -> None:
    found = reference_difference(book_of(made.small(), tmp_path, shifted(0.0)), "other", AUROC)
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == (0.0, 0.0, 0.0)
    assert (found.estimate.clear, found.ahead, found.p) == (False, 0, 1.0)


def test_a_constant_shift_is_clear_although_the_intervals_overlap(tmp_path: Path) -> None:
    book = book_of(made.small(), tmp_path, shifted(0.01))
    found = reference_differences(book, AUROC)["other"]
    assert found.estimate.value == pytest.approx(0.01)
    assert (found.estimate.clear, found.significant, found.ahead) == (True, True, 3)
    ours, theirs = mean_over_seeds(book, "place", AUROC), mean_over_seeds(book, "other", AUROC)
    assert theirs.high > ours.low


def test_the_sign_of_a_difference(tmp_path: Path) -> None:
    found = reference_difference(book_of(made.small(), tmp_path, shifted(-0.01)), "other", AUROC)
    assert found.estimate.high < 0 and found.ahead == 0


def test_only_seeds_that_both_have(tmp_path: Path) -> None:
    book = book_of(
        made.small(),
        tmp_path,
        shifted(0.01),
        skip=lambda p: (p.slug, p.seed) in {("place", 0), ("other", 2)},
    )
    found = reference_difference(book, "other", AUROC)
    assert (found.estimate.seeds, found.ahead) == (1, 1)
    assert mean_over_seeds(book, "other", AUROC).seeds == 2
    assert (
        reference_difference(
            book_of(made.small(), tmp_path / "b", shifted(0.1), skip=lambda p: p.slug == "place"),
            "other",
            AUROC,
        )
        is None
    )


def test_other_test_rows_are_not_compared(tmp_path: Path) -> None:
    book = book_of(made.small(), tmp_path, shifted(0.01))
    cells = {
        where: replace(cell, result=replace(cell.result, split_digest="others"))
        if where[:2] == ("other", 1)
        else cell
        for where, cell in book.cells.items()
    }
    assert reference_difference(replace(book, cells=cells), "other", AUROC) is None


def test_undefined_and_missing_draws(tmp_path: Path) -> None:
    """NaN is no value; resamples that are all NaN, or not there, are no interval."""
    by_seed = {0: (float("nan"), None), 1: (0.5, np.full(made.R, np.nan)), 2: (0.6, None)}
    book = book_of(made.small(), tmp_path, lambda place, column: by_seed[place.seed])
    found = mean_over_seeds(book, "place", AUROC)
    assert (found.value, found.seeds, found.low) == (pytest.approx(0.55), 2, None)
    told = reference_differences(book, AUROC)["other"]
    assert (told.p, told.corrected, told.significant, told.estimate.clear) == (
        None,
        None,
        False,
        False,
    )


def test_score_stands_for_what_the_method_is_read_by(tmp_path: Path) -> None:
    config = made.small({"place": {"score": "mix"}, "other": {}}, [WORDS])
    book = book_of(
        config,
        tmp_path,
        lambda place, column: ({"mix": 0.8, "instance": 0.6}[column.split("/")[0]], NOISE),
    )
    column = site_columns(config, home_site(config))[0]
    assert [mean_over_seeds(book, slug, column).value for slug in SHARED] == pytest.approx(
        [0.8, 0.6]
    )


def test_home_less_away(tmp_path: Path) -> None:
    config = made.small(sites=["A", "B"])

    def score(place, column):
        value = 0.8 - 0.1 * (place.site == "B")
        return value, value + NOISE

    book = book_of(config, tmp_path, score)
    found = site_shift(book, "place", replace(AUROC, site="A"), "B")
    low, high = np.percentile(NOISE, [2.5, 97.5])
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(
        0.1 - np.hypot(low, high)
    )  # the same patients' noise at both, yet not paired
    assert site_shift(book, "place", replace(AUROC, site="A"), "C") is None


def test_cells_that_the_plan_does_not_ask_for_are_of_no_concern(tmp_path: Path) -> None:
    wide = made.small({"place": {}, "other": {}, "gone": {}}, seeds=(0, 1))
    made.write(wide, tmp_path, shifted(0.0))
    now = made.small(seeds=(0,))
    assert len(list(read_cells(tmp_path))) == 6
    assert {where[:2] for where in ResultTable.read(now, tmp_path).cells} == {
        ("place", 0),
        ("other", 0),
    }


def test_shares_that_are_no_round_number(tmp_path: Path) -> None:
    config = made.small(
        questions=[
            {"task": "classification", "fractions": [0.07, 1 / 3], "columns": ["auroc/macro"]}
        ]
    )
    told = summarize(book_of(config, tmp_path, shifted(0.0)))
    assert len(told.results.cells) == len(list(planned_keys(config))) == 12
    assert len(told.means) == 4


def test_costs(tmp_path: Path) -> None:
    config = made.small(seeds=(0, 1), sites=["A", "B"])
    made.costs(config, tmp_path)
    PretrainingCost(None, None, 10, 5, "").write(tmp_path / "other-s0")
    book = book_of(config, tmp_path, shifted(0.0), skip=lambda p: (p.seed, p.site) == (1, "B"))
    found = mean_cost(book, "place", tmp_path)
    assert (found.seconds, found.memory_gb) == (605.0, 1.6)
    assert found.heads == 41.0  # two sites of seed 0; seed 1 is not whole and is left out
    assert mean_cost(book, "other", tmp_path).seconds == 610.0
    nothing = mean_cost(ResultTable(config, {}), "place", tmp_path / "nothing")
    assert (nothing.seconds, nothing.memory_gb, nothing.parameters, nothing.heads) == (
        None,
        None,
        None,
        None,
    )


def test_cells_of_other_settings_are_left_out(tmp_path: Path) -> None:
    """A plan whose question has changed: what was measured before is not what is asked now."""
    made.write(made.small(), tmp_path, shifted(0.0))
    changed = {"task": "classification", "columns": ["auroc/macro"], "settings": {"batch_size": 16}}
    book = ResultTable.read(made.small(questions=[changed]), tmp_path)
    assert (len(book.cells), len(book.stale)) == (0, 6)
    item = missing_section(book, tmp_path).items[0]
    assert (
        item
        == "Place, seed 0 (not started): all cells; 1 of them measured with other settings and "
        "left out"
    )
