"""A run folder to one HTML file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from place_cxr.core.errors import PlaceError
from place_cxr.core.version import RESEARCH_NOTICE
from place_cxr.page import descriptions, images, report_examples
from place_cxr.page.charts import LineChart, line_chart
from place_cxr.page.read import RunFiles, read_run
from place_cxr.page.tables import headline_cards, method_columns, task_views

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

PAGE_FILE = "results.html"


def write_page(run: Path | str) -> Path:
    """Write ``run/results.html`` from what the run folder holds, and return its path.

    Reads result.json, metrics.jsonl, the configuration and, where it was written, the gallery; what
    is missing is said on the page. With a gallery the page holds pictures and text of the data:
    share it only if the data may be shared.

    Raises:
        PlaceError: PL-R007 if ``run`` holds no run.
    """
    run = Path(run)
    html = render_page(read_run(run), run)
    target = run / PAGE_FILE
    partial = target.with_name(f".{PAGE_FILE}.{os.getpid()}")
    partial.write_text(html, encoding="utf-8")
    partial.replace(target)
    return target


def render_page(files: RunFiles, folder: Path) -> str:
    """The page as text."""
    missing = list(files.missing)
    methods = method_columns([*files.results, *files.controls])
    try:
        studies = images.study_views(files.gallery, folder / "gallery") if files.gallery else []
    except (PlaceError, KeyError, TypeError, ValueError) as error:
        studies = []
        missing.append(
            f"the gallery: "
            f"{error.problem if isinstance(error, PlaceError) else 'not as it should be'}"
        )
    try:
        prevalences = prevalence(files.card)
    except (KeyError, TypeError, ValueError, AttributeError):
        prevalences = {}
        missing.append("how common findings are: the data card is not as it should be")
    return (
        page_templates()
        .get_template("page.html.j2")
        .render(
            notice=RESEARCH_NOTICE,
            run=files,
            missing=missing,
            methods=methods,
            cards=headline_cards(files.results, files.controls, methods),
            charts=training_charts(files.records, files.config),
            machinery=[
                c
                for c in (
                    _described_chart(described, files.records)
                    for described in descriptions.MACHINE_CURVES
                )
                if c
            ],
            tasks=task_views(files.results, files.controls, methods, list(prevalences)),
            studies=studies,
            gallery=files.gallery,
            written=_example_sections(files, folder),
            heat=images.legend_colors(images.HEAT_COLORS) if studies else [],
            likeness=images.legend_colors(images.SIMILARITY_COLORS) if studies else [],
            prevalence=prevalences,
            meanings={
                name: descriptions.FINDING_DESCRIPTIONS[name]
                for name in prevalences
                if name in descriptions.FINDING_DESCRIPTIONS
            },
            splits=descriptions.SPLIT_NAMES,
            phantom=_is_phantom(files),
            settings=_flatten(files.config),
        )
    )


@cache
def page_templates() -> Environment:
    """The pages' templates: text from data is escaped, and a value that is not there is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("place_cxr.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def training_charts(
    records: Sequence[Mapping[str, Any]], config: Mapping[str, Any]
) -> list[LineChart]:
    """How training went: the total, its parts, and what tells whether it learned anything."""
    losses = config.get("losses")
    parts = list(losses) if isinstance(losses, Mapping) else list(descriptions.LOSS_DESCRIPTIONS)
    drawn = []
    for name in ["loss", *(part for part in parts if part not in ("loss", "correlation"))]:
        title, says = descriptions.LOSS_DESCRIPTIONS.get(name, (name, "A part of the loss."))
        holds = () if name == "loss" else (0.0,)
        drawn.append(line_chart(title, says, records, {name: title.split(" (")[0]}, holds=holds))
    columns = {
        "correlation": "prediction",
        "correlation_constant": "same answer for all",
        "correlation_permuted": "another’s report",
    }
    drawn.append(line_chart(*descriptions.CORRELATION_DESCRIPTION, records, columns, holds=(0.0,)))
    drawn += [_described_chart(described, records) for described in descriptions.MONITOR_CURVES]
    return [chart for chart in drawn if chart is not None]


def _example_sections(files: RunFiles, folder: Path) -> dict[tuple[str, str], Markup]:
    """By task and source: drawn reports, where somebody asked for them."""
    from markupsafe import Markup

    results = [result for result in files.results if result.task.startswith("report-generation")]
    sections = {
        (r.task, r.source): report_examples.examples_section(folder / "tasks" / r.task / r.source)
        for r in results
    }
    return {key: Markup(html) for key, html in sections.items() if html}  # noqa: S704  our own tags around base64


def _described_chart(
    described: descriptions.CurvesDescription, records: Sequence[Mapping[str, Any]]
) -> LineChart | None:
    title, says, columns, holds = described
    return line_chart(title, says, records, columns, holds=holds)


def prevalence(card: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    """By finding and split: (present, known), from the data card."""
    findings = card.get("findings")
    if not isinstance(findings, Mapping):
        return {}
    return {
        str(finding): {
            split: (int(n["present"]), int(n["present"]) + int(n["absent"]))
            for split, n in by.items()
        }
        for finding, by in findings.items()
    }


def _is_phantom(files: RunFiles) -> bool:
    """Whether the pictures are drawn: nobody's health is on the page."""
    sources = [result.source for result in files.results] or [str(files.config.get("name", ""))]
    return all("phantom" in source for source in sources)


def _flatten(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names; paths are left out, they may name people."""
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += _flatten(value, f"{name}.")
        elif name not in (
            "data.manifest",
            "data.splits",
            "data.tokenizer",
            "model.text.weights",
            "model.image.weights",
        ):
            rows.append((name, str(value)))
    return rows
