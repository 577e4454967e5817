"""A benchmark's folder to ``results.md`` and ``results.html``: from its cells and nothing else, at any time.

Only the reading between its two marks in ``results.md`` is a person's; it is kept as it stands.
"""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from place_cxr.benchmark import descriptions
from place_cxr.benchmark.document import Section, markdown
from place_cxr.benchmark.plan import BenchmarkConfig
from place_cxr.benchmark.provenance import missing_section, ran_section, rule_section
from place_cxr.benchmark.result_table import Book
from place_cxr.benchmark.sections import (
    cost_section,
    curve_sections,
    difference_section,
    overview,
    shift_sections,
    task_sections,
)
from place_cxr.benchmark.summary import summarise
from place_cxr.core.files import write_atomic
from place_cxr.page.descriptions import NOTICE

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MARKDOWN, PAGE = "results.md", "results.html"
READING = ("<!-- reading: kept when the tables are written anew -->", "<!-- /reading -->")


def write_report(config: BenchmarkConfig, out: Path) -> Path:
    """Write ``out/results.md`` and ``out/results.html``, and return the latter's path.

    Raises PlaceError PL-R020 or PL-R030 for a cell that cannot be read.
    """
    book = Book.read(config, out)
    sections = sections_of(book, out)
    reading = read_reading(out / MARKDOWN)
    lead = descriptions.PHANTOM if config.phantom and not config.sources else ""
    write_atomic(out / MARKDOWN, as_markdown(config, lead, reading, sections).encode())
    write_atomic(out / PAGE, as_html(config, lead, reading, sections).encode())
    return out / PAGE


def sections_of(book: Book, out: Path) -> list[Section]:
    """The report's parts in their order."""
    reference, told = book.config.methods[book.config.reference].title, summarise(book)
    return [
        ran_section(book, out),
        Section("how", "How to read a number", [text.format(reference=reference) for text in descriptions.HOW]),
        overview(book),
        *task_sections(told),
        difference_section(told),
        *shift_sections(told),
        *curve_sections(told),
        cost_section(book, out),
        rule_section(book),
        missing_section(book, out),
    ]


def read_reading(file: Path) -> str:
    """What a person wrote between the marks; nothing where there is none."""
    try:
        _, found, rest = file.read_text("utf-8").partition(READING[0])
    except OSError:
        return ""
    text = rest.partition(READING[1])[0].strip() if found else ""
    return "" if text == "None yet." else text


def as_markdown(config: BenchmarkConfig, lead: str, reading: str, sections: list[Section]) -> str:
    """``results.md``, whole."""
    kept = f"{READING[0]}\n{reading or 'None yet.'}\n{READING[1]}"
    blocks = [f"# Benchmark {config.name}", f"**{NOTICE}**", lead, "## Reading", kept, markdown(sections)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def as_html(config: BenchmarkConfig, lead: str, reading: str, sections: list[Section]) -> str:
    """``results.html``, whole."""
    page = templates().get_template("results.html.j2")
    return page.render(notice=NOTICE, config=config, lead=lead, reading=_paragraphs(reading), sections=sections)


@cache
def templates() -> Environment:
    """Of this folder, and the results page's style sheet; text is escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader("place_cxr.benchmark"), PackageLoader("place_cxr.page")]
    return Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _paragraphs(reading: str) -> list[Markup]:
    """Markdown as it is written there: paragraphs, lists of one level, bold, code, links as text."""
    from markupsafe import Markup

    found = []
    for block in re.split(r"\n\s*\n", reading.strip()):
        text = html.escape(re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", block), quote=False)
        text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text, flags=re.DOTALL)
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
        before, *items = re.split(r"^- ", text, flags=re.MULTILINE)
        parts = f"<p>{before.strip()}</p>" if before.strip() else ""
        parts += f"<ul>{''.join(f'<li>{item.strip()}</li>' for item in items)}</ul>" if items else ""
        found += [Markup(parts)] if parts else []  # noqa: S704  escaped above
    return found
