"""docs/benchmark-NAME.md and the table of README.md, from the folder of a benchmark and nothing
else.

python experiments/benchmark_docs.py runs/benchmark-phantom            the page in docs/ python
experiments/benchmark_docs.py runs/benchmark-phantom --readme   and the table of README.md

The reading between the two marks of the page in docs/ is a person's; it is kept as it stands.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from place_cxr.benchmark import descriptions
from place_cxr.benchmark.plan import BenchmarkConfig
from place_cxr.benchmark.ranks import rank_methods
from place_cxr.benchmark.report import read_reading, results_markdown, results_sections
from place_cxr.benchmark.result_table import Column, ResultTable, home_site, site_columns
from place_cxr.benchmark.summary import Summary, summarize
from place_cxr.benchmark.worker import CONFIG_FILE
from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
MARKS = ("<!-- benchmark: written by experiments/benchmark_docs.py -->", "<!-- /benchmark -->")


def page(book: ResultTable, out: Path, docs: Path) -> Path:
    """Write the page of a benchmark into the folder ``docs``, whole but for its reading."""
    config = book.config
    name = config.name if config.name.startswith("benchmark") else f"benchmark-{config.name}"
    target = docs / f"{name}.md"
    lead = descriptions.PHANTOM_NOTICE if config.phantom and not config.sources else ""
    target.write_text(
        results_markdown(config, lead, read_reading(target), results_sections(book, out)), "utf-8"
    )
    return target


def short_table(told: Summary) -> str:
    """Means of each task's first metric with the largest share, and the mean rank; a row a method,
    the best first.
    """
    book = told.results
    leading = leading_columns(book.config)
    ranks = rank_methods(book).overall
    slugs = sorted(book.config.methods, key=lambda slug: ranks.get(slug, float("inf")))
    lines = [
        ["", *(head(column) for column in leading), "mean rank"],
        ["---", *["--:"] * (len(leading) + 1)],
    ]
    for slug in slugs:
        numbers = [number(told, slug, column) for column in leading]
        lines.append(
            [
                book.config.methods[slug].title,
                *numbers,
                f"{ranks[slug]:.1f}" if slug in ranks else "",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def leading_columns(config: BenchmarkConfig) -> list[Column]:
    """One column a question of the home site."""
    found: dict[tuple[str, str], Column] = {}
    for column in site_columns(config, home_site(config)):
        first = found.setdefault((column.task, column.source), column)
        if column.metric == first.metric and column.fraction > first.fraction:
            found[column.task, column.source] = column
    return list(found.values())


def head(column: Column) -> str:
    """What a column holds, in few words."""
    task = (
        descriptions.TASK_DESCRIPTIONS[column.task].short
        if column.task in descriptions.TASK_DESCRIPTIONS
        else column.task
    )
    return f"{task}: {descriptions.metric_heading(column.metric)}"


def number(told: Summary, slug: str, column: Column) -> str:
    """A mean, and whether it is clearly below (▼) or above (▲) the reference; empty where nothing
    was run.
    """
    found = told.means.get((slug, column))
    if found is None:
        return ""
    apart = told.differences[column].get(slug)
    sign = (
        ""
        if apart is None or not apart.estimate.clear
        else " ▼"
        if apart.estimate.value > 0
        else " ▲"
    )
    return f"{descriptions.format_number(found.value)}{sign}"


def put(text: str, table: str) -> str:
    """``text`` with ``table`` between its marks. Raises PL-R020 where it has none."""
    before, first, rest = text.partition(MARKS[0])
    _, second, after = rest.partition(MARKS[1])
    if not first or not second:
        raise PlaceError(
            "no place for the table", code="PL-R020", fix=f"put {MARKS[0]} and {MARKS[1]} there"
        )
    return f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}"


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readme", action="store_true")
    given = parser.parse_args()
    book = ResultTable.read(
        load_settings(BenchmarkConfig, given.folder / CONFIG_FILE), given.folder
    )
    page(book, given.folder, ROOT / "docs")
    if given.readme:
        readme = ROOT / "README.md"
        readme.write_text(put(readme.read_text("utf-8"), short_table(summarize(book))), "utf-8")


if __name__ == "__main__":
    main()
