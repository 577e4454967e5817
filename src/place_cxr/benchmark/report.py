"""Write ``results.md`` and ``results.html`` of a benchmark from its cells alone, at any time.

The text between the two reading marks in ``results.md`` is written by a person and is kept.
"""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from place_cxr.benchmark import descriptions
from place_cxr.benchmark.document import DocumentSection, to_markdown
from place_cxr.benchmark.plan import BenchmarkConfig
from place_cxr.benchmark.provenance import missing_section, ran_section, rules_section
from place_cxr.benchmark.result_table import ResultTable
from place_cxr.benchmark.sections import (
    cost_section,
    curve_sections,
    difference_section,
    overview_section,
    shift_sections,
    task_sections,
)
from place_cxr.benchmark.summary import summarize
from place_cxr.core.files import write_atomic
from place_cxr.core.version import RESEARCH_NOTICE

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MARKDOWN_FILE, HTML_FILE = "results.md", "results.html"
READING_MARKS = ("<!-- reading: kept when the tables are written anew -->", "<!-- /reading -->")


def write_results(config: BenchmarkConfig, out: Path) -> Path:
    """Write ``out/results.md`` and ``out/results.html``; returns the path of ``results.html``.

    Raises PlaceError PL-R020 or PL-R030 for a cell that cannot be read.
    """
    results = ResultTable.read(config, out)
    sections = results_sections(results, out)
    reading = read_reading(out / MARKDOWN_FILE)
    lead = descriptions.PHANTOM_NOTICE if config.phantom and not config.sources else ""
    write_atomic(out / MARKDOWN_FILE, results_markdown(config, lead, reading, sections).encode())
    write_atomic(out / HTML_FILE, results_html(config, lead, reading, sections).encode())

    return out / HTML_FILE


def results_sections(results: ResultTable, out: Path) -> list[DocumentSection]:
    """The parts of the document in their order."""
    reference = results.config.methods[results.config.reference].title
    summary = summarize(results)
    return [
        ran_section(results, out),
        DocumentSection(
            "how",
            "How to read a number",
            [text.format(reference=reference) for text in descriptions.HOW_TO_READ],
        ),
        overview_section(results),
        *task_sections(summary),
        difference_section(summary),
        *shift_sections(summary),
        *curve_sections(summary),
        cost_section(results, out),
        rules_section(results),
        missing_section(results, out),
    ]


def read_reading(file: Path) -> str:
    """The text that a person wrote between the marks; empty where there is none."""
    try:
        _, mark, after = file.read_text("utf-8").partition(READING_MARKS[0])
    except OSError:
        return ""

    text = after.partition(READING_MARKS[1])[0].strip() if mark else ""
    return "" if text == "None yet." else text


def results_markdown(
    config: BenchmarkConfig, lead: str, reading: str, sections: list[DocumentSection]
) -> str:
    """The text of ``results.md``."""
    marked_reading = f"{READING_MARKS[0]}\n{reading or 'None yet.'}\n{READING_MARKS[1]}"
    blocks = [
        f"# Benchmark {config.name}",
        f"**{RESEARCH_NOTICE}**",
        lead,
        "## Reading",
        marked_reading,
        to_markdown(sections),
    ]

    return "\n\n".join(block for block in blocks if block) + "\n"


def results_html(
    config: BenchmarkConfig, lead: str, reading: str, sections: list[DocumentSection]
) -> str:
    """The text of ``results.html``."""
    page = _templates().get_template("results.html.j2")
    return page.render(
        notice=RESEARCH_NOTICE,
        config=config,
        lead=lead,
        reading=_to_paragraphs(reading),
        sections=sections,
    )


@cache
def _templates() -> Environment:
    """Templates of this folder and the style sheet of the results page; text is escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader("place_cxr.benchmark"), PackageLoader("place_cxr.page")]
    return Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _to_paragraphs(reading: str) -> list[Markup]:
    """HTML of a subset of Markdown: paragraphs, flat lists, bold, code, links as plain text."""
    from markupsafe import Markup

    paragraphs = []
    for block in re.split(r"\n\s*\n", reading.strip()):
        # Escaped first: the tags below are then the only ones.
        text = html.escape(re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", block), quote=False)
        text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text, flags=re.DOTALL)
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
        before, *items = re.split(r"^- ", text, flags=re.MULTILINE)
        parts = f"<p>{before.strip()}</p>" if before.strip() else ""
        if items:
            parts += f"<ul>{''.join(f'<li>{item.strip()}</li>' for item in items)}</ul>"
        if parts:
            paragraphs.append(Markup(parts))  # noqa: S704  escaped above

    return paragraphs
