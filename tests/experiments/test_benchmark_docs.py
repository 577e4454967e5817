"""A benchmark's page in docs/ and the table of README.md: numbers of its cells, and a reading that
stays.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_docs import README_MARKS, short_table, write_page
from markdown_tables import replace_between

from place_cxr.benchmark.report import READING_MARKS
from place_cxr.benchmark.result_table import ResultTable
from place_cxr.benchmark.summary import summarize
from place_cxr.core.errors import PlaceError
from tests.benchmark import made


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResultTable, Path]:
    out = tmp_path_factory.mktemp("benchmark")
    config = made.small(
        {"place": {}, "convirt": {}, "random": {"ranked": False}},
        [
            {
                "task": "classification",
                "fractions": [0.1, 1.0],
                "columns": ["auroc/macro", "f1/macro"],
            },
            {
                "task": "classification",
                "source": "own",
                "profile": "folds",
                "columns": ["auroc/macro"],
            },
        ],
        sources={"own": {"manifest": "x.csv"}},
        name="trial",
    )
    # The own data set is tested in folds; the last method has no cell there.
    made.write(config, out, skip=lambda place: (place.slug, place.source) == ("random", "own"))
    return ResultTable.read(config, out), out


def test_the_page_keeps_its_reading(results: tuple[ResultTable, Path], tmp_path: Path) -> None:
    first = write_page(*results, tmp_path)
    assert first.name == "benchmark-trial.md"
    text = first.read_text().replace(
        f"{READING_MARKS[0]}\nNone yet.", f"{READING_MARKS[0]}\nIt is so."
    )
    assert "It is so." in text
    first.write_text(text)
    assert write_page(*results, tmp_path).read_text() == text


def test_the_short_table_has_the_largest_fraction_and_the_best_first(
    results: tuple[ResultTable, Path],
) -> None:
    summary = summarize(results[0])
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in short_table(summary).splitlines()
    ]
    assert lines[0] == ["", "classification: AUROC", "classification: AUROC", "mean rank"]
    assert [line[0] for line in lines[2:]] == ["Place", "Convirt", "Random"]
    means = {(slug, column.source): mean.value for (slug, column), mean in summary.means.items()
             if column.fraction == 1 and column.metric == "auroc/macro"}  # fmt: skip
    assert means["place", "own"] > 0  # results by folds are found under their own name
    assert lines[2][1].startswith(f"{means['place', 'pairs']:.3f}"[1:])
    assert lines[2][2].startswith(f"{means['place', 'own']:.3f}"[1:])
    assert lines[4][2:] == ["", ""]  # not evaluated, not ranked: empty


def test_only_what_is_between_the_marks_is_written_again() -> None:
    begin, end = README_MARKS
    text = f"before\n{begin}\nold\n{end}\nafter\n"

    assert replace_between(text, begin, end, "\n| new |\n") == (
        f"before\n{begin}\n| new |\n{end}\nafter\n"
    )
    with pytest.raises(PlaceError, match="no place for the table"):
        replace_between("no marks", begin, end, "| new |")
