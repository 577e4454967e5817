"""Ranks: ties, means over columns and tasks, what is left out, and how often a method comes
first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from place_cxr.benchmark.cell import CellKey
from place_cxr.benchmark.ranks import rank_methods
from place_cxr.benchmark.result_table import ResultTable
from tests.benchmark import made

FOUR: dict[str, dict[str, object]] = {"place": {}, "a": {}, "b": {}, "bound": {"ranked": False}}
SEGMENT = {"task": "segmentation", "fractions": (0.1, 1.0), "columns": ["dice/macro"]}
WORDS = {"task": "zero-shot", "columns": ["{score}/auroc/macro"]}
SPREAD = np.linspace(-0.01, 0.01, 20)


def level(table: Mapping[str, float]) -> made.Score:
    """Every column of a method has one value."""
    return lambda place, column: (table[place.slug], table[place.slug] + SPREAD)


def test_ties_share_the_mean_rank(tmp_path: Path) -> None:
    config = made.small(FOUR, [SEGMENT], seeds=(0,))
    made.write(config, tmp_path, level({"place": 0.5, "a": 0.5, "b": 0.3, "bound": 0.9}))
    found = rank_methods(ResultTable.read(config, tmp_path))
    assert list(found.overall.values()) == list(rankdata([-0.5, -0.5, -0.3])) == [1.5, 1.5, 3]
    assert "bound" not in found.overall
    assert found.best == {"place": 0.5, "a": 0.5, "b": 0.0}


def test_mean_over_columns_then_over_tasks(tmp_path: Path) -> None:
    """Segmentation has two columns and zero-shot one; each task counts half."""
    config = made.small(FOUR, [SEGMENT, WORDS], seeds=(0,))
    score = {
        "segmentation": {"place": 0.4, "a": 0.5, "b": 0.3},
        "zero-shot": {"place": 0.9, "a": 0.6, "b": 0.7},
    }

    def of(place: CellKey, column: str) -> tuple[float, np.ndarray]:
        value = score[place.task].get(place.slug, 1.0)
        if (place.slug, place.fraction) == ("b", 1.0):
            value = 0.45  # second with all labels
        return value, value + SPREAD

    made.write(config, tmp_path, of)
    found = rank_methods(ResultTable.read(config, tmp_path))
    assert found.by_task["segmentation"] == {"place": 2.5, "a": 1.0, "b": 2.5}
    assert found.by_task["zero-shot"] == {"place": 1.0, "a": 3.0, "b": 2.0}
    assert found.overall == {"place": 1.75, "a": 2.0, "b": 2.25}


def test_columns_that_a_ranked_method_lacks_do_not_count(tmp_path: Path) -> None:
    config = made.small(FOUR, [SEGMENT, WORDS], seeds=(0, 1))
    made.write(
        config,
        tmp_path,
        level({"place": 0.4, "a": 0.5, "b": 0.3, "bound": 0.9}),
        skip=lambda place: place.slug == "a" and place.task == "zero-shot",
    )
    found = rank_methods(ResultTable.read(config, tmp_path))
    assert set(found.by_task) == {"segmentation"}
    assert [column.task for column in found.left_out] == ["zero-shot"]


def test_only_seeds_that_all_have(tmp_path: Path) -> None:
    """Method a is best with seed 1, which b lacks: seed 0 alone counts."""
    config = made.small(FOUR, [WORDS], seeds=(0, 1))
    made.write(
        config,
        tmp_path,
        lambda place, column: (
            0.9 if (place.slug, place.seed) == ("a", 1) else 0.5 - 0.1 * (place.slug == "a"),
            SPREAD,
        ),
        skip=lambda place: (place.slug, place.seed) == ("b", 1),
    )
    assert rank_methods(ResultTable.read(config, tmp_path)).overall == {
        "place": 1.5,
        "a": 3.0,
        "b": 1.5,
    }


def test_first_in_a_share_of_resamples(tmp_path: Path) -> None:
    """The leader by the mean is behind on a quarter of the resamples, undefined resamples apart."""
    config = made.small({"place": {}, "a": {}}, [WORDS], seeds=(0,))
    ahead = np.array([0.6, 0.6, 0.6, 0.4, np.nan])
    made.write(
        config,
        tmp_path,
        lambda place, column: (0.6, ahead) if place.slug == "place" else (0.5, np.full(5, 0.5)),
    )
    assert rank_methods(ResultTable.read(config, tmp_path)).best == pytest.approx(
        {"place": 0.75, "a": 0.25}
    )


def test_no_draws_no_share(tmp_path: Path) -> None:
    config = made.small({"place": {}, "a": {}}, [WORDS], seeds=(0,))
    made.write(config, tmp_path, lambda place, column: (0.5, None))
    found = rank_methods(ResultTable.read(config, tmp_path))
    assert found.overall == {"place": 1.5, "a": 1.5} and found.best == {}


def test_one_method_or_none_has_no_rank(tmp_path: Path) -> None:
    config = made.small({"place": {}, "a": {"ranked": False}}, [WORDS], seeds=(0,))
    made.write(config, tmp_path, level({"place": 0.5, "a": 0.5}))
    assert rank_methods(ResultTable.read(config, tmp_path)).overall == {}
    assert (
        rank_methods(ResultTable.read(made.small(FOUR, [WORDS]), tmp_path / "nothing")).overall
        == {}
    )
