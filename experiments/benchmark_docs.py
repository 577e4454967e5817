"""Write docs/benchmark-NAME.md and the table of README.md from the folder of a benchmark.

    python experiments/benchmark_docs.py runs/benchmark-phantom            # the page in docs/
    python experiments/benchmark_docs.py runs/benchmark-phantom --readme   # and the README's table

A person writes the reading between the two marks of the page; it is kept unchanged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from markdown_tables import markdown_table, replace_between

from place_cxr.benchmark import descriptions
from place_cxr.benchmark.plan import BenchmarkConfig
from place_cxr.benchmark.ranks import rank_methods
from place_cxr.benchmark.report import read_reading, results_markdown, results_sections
from place_cxr.benchmark.result_table import Column, ResultTable, home_site, site_columns
from place_cxr.benchmark.summary import Summary, summarize
from place_cxr.benchmark.worker import CONFIG_FILE
from place_cxr.core.settings import load_settings
from place_cxr.tasks import task_texts

REPOSITORY = Path(__file__).resolve().parents[1]
README_MARKS = (
    "<!-- benchmark: written by experiments/benchmark_docs.py -->",
    "<!-- /benchmark -->",
)


def write_page(results: ResultTable, out: Path, docs: Path) -> Path:
    """Write the page of the benchmark in ``out`` into ``docs``, and return its path.

    Everything is written again, except the reading.
    """
    config = results.config
    name = config.name if config.name.startswith("benchmark") else f"benchmark-{config.name}"
    page = docs / f"{name}.md"

    # The notice says that no patient is involved, so it must not stand above real sets.
    only_phantoms = config.phantom and not config.sources
    lead = descriptions.PHANTOM_NOTICE if only_phantoms else ""

    text = results_markdown(config, lead, read_reading(page), results_sections(results, out))
    page.write_text(text, "utf-8")
    return page


def short_table(summary: Summary) -> str:
    """The table of README.md: one row per method, the best mean rank first.

    A column is the first metric of a task with the largest fraction of labels.
    """
    config = summary.results.config
    columns = leading_columns(config)
    ranks = rank_methods(summary.results).overall
    # Methods without a rank (controls, bounds) come last, in the order of the plan.
    slugs = sorted(config.methods, key=lambda slug: ranks.get(slug, float("inf")))

    rows = []
    for slug in slugs:
        cells = [format_mean(summary, slug, column) for column in columns]
        rank = f"{ranks[slug]:.1f}" if slug in ranks else ""
        rows.append([config.methods[slug].title, *cells, rank])

    lines = markdown_table(["", *(heading(column) for column in columns), "mean rank"], rows)
    lines[1] = f"| {' | '.join(['---', *['--:'] * (len(columns) + 1)])} |"  # numbers to the right
    return "\n".join(lines)


def leading_columns(config: BenchmarkConfig) -> list[Column]:
    """One column of the home site per task and source."""
    leading: dict[tuple[str, str], Column] = {}

    for column in site_columns(config, home_site(config)):
        key = (column.task, column.source)
        first = leading.setdefault(key, column)
        if column.metric == first.metric and column.fraction > first.fraction:
            leading[key] = column

    return list(leading.values())


def heading(column: Column) -> str:
    """Task and metric of a column, in few words."""
    text = task_texts().get(column.task)
    task = text.short if text else column.task
    return f"{task}: {descriptions.metric_heading(column.metric)}"


def format_mean(summary: Summary, slug: str, column: Column) -> str:
    """A mean, marked ▼ if it is clearly below the reference method and ▲ if clearly above.

    Empty if the cell was not run.
    """
    mean = summary.means.get((slug, column))
    if mean is None:
        return ""

    # The difference is reference minus method, so a positive one means that the method is worse.
    difference = summary.differences[column].get(slug)
    sign = ""
    if difference is not None and difference.estimate.clear:
        sign = " ▼" if difference.estimate.value > 0 else " ▲"

    return f"{descriptions.format_number(mean.value)}{sign}"


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readme", action="store_true")
    arguments = parser.parse_args()

    config = load_settings(BenchmarkConfig, arguments.folder / CONFIG_FILE)
    results = ResultTable.read(config, arguments.folder)
    write_page(results, arguments.folder, REPOSITORY / "docs")

    if arguments.readme:
        readme = REPOSITORY / "README.md"
        table = f"\n{short_table(summarize(results))}\n"
        text = replace_between(readme.read_text("utf-8"), *README_MARKS, table)
        readme.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
