"""Write the results page of a run folder: one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import PRIVATE_MODE, write_atomic
from place_cxr.core.task_text import TaskText
from place_cxr.core.version import RESEARCH_NOTICE
from place_cxr.page import descriptions, images, report_examples
from place_cxr.page.charts import LineChart, line_chart
from place_cxr.page.read import RunFiles, read_run
from place_cxr.page.tables import headline_cards, method_columns, task_views

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

PAGE_FILE = "results.html"
_PICTURE_START = "data:image/"
_SHARED_MODE = 0o666  # less the umask
_DEEPEST_SETTING = 12  # levels of the configuration that the page shows
_BROKEN = (PlaceError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError, IndexError)


def write_page(run: Path | str, texts: Mapping[str, TaskText]) -> Path:
    """Write ``run/results.html`` from the files of the run folder; returns its path.

    ``texts`` explain the tasks, in the order of the page; a task without text goes by its name.
    Reads result.json, metrics.jsonl, the configuration and, if there is one, the gallery. The page
    names what is missing. With a gallery the page holds images and text of the data: share it only
    if the data may be shared.

    Raises:
        PlaceError: PL-R007 if ``run`` holds no run.
    """
    run = Path(run)
    html = render_page(read_run(run), run, texts)

    # Pictures may be of patients: such a page is for this user alone.
    target = run / PAGE_FILE
    mode = PRIVATE_MODE if _PICTURE_START in html else _SHARED_MODE
    write_atomic(target, html.encode(), mode)

    return target


def render_page(files: RunFiles, folder: Path, texts: Mapping[str, TaskText]) -> str:
    """The page as text."""
    missing = list(files.missing)
    methods = method_columns([*files.results, *files.controls])

    # A part of the page that cannot be made is named on it; the other parts are shown.
    try:
        studies = images.study_views(files.gallery, folder / "gallery") if files.gallery else []
    except (*_BROKEN, OSError) as error:
        studies = []
        problem = error.problem if isinstance(error, PlaceError) else "not as it should be"
        missing.append(f"the gallery: {problem}")

    try:
        prevalences = prevalence(files.card)
    except _BROKEN:
        prevalences = {}
        missing.append("how common findings are: the data card is not as it should be")

    try:
        charts = training_charts(files.records, files.config)
        machine_charts = [
            _described_chart(described, files.records) for described in descriptions.MACHINE_CURVES
        ]
    except _BROKEN:
        charts, machine_charts = [], []
        missing.append("the course of training: its numbers cannot be drawn")

    # Finding -> explanation, of the findings on this page alone.
    meanings = {
        name: text
        for name, text in descriptions.FINDING_DESCRIPTIONS.items()
        if name in prevalences
    }

    template = page_templates().get_template("page.html.j2")
    return template.render(
        notice=RESEARCH_NOTICE,
        run=files,
        missing=missing,
        methods=methods,
        cards=headline_cards(files.results, files.controls, methods, texts),
        charts=charts,
        machinery=[chart for chart in machine_charts if chart],
        tasks=task_views(files.results, files.controls, methods, texts, list(prevalences)),
        studies=studies,
        gallery=files.gallery,
        written=_example_sections(files, folder),
        heat=images.legend_colors(images.HEAT_COLORS) if studies else [],
        likeness=images.legend_colors(images.SIMILARITY_COLORS) if studies else [],
        prevalence=prevalences,
        meanings=meanings,
        splits=descriptions.SPLIT_NAMES,
        phantom=_is_phantom(files),
        settings=_flatten(files.config),
    )


@cache
def page_templates() -> Environment:
    """The pages' templates. Text of the data is escaped; an undefined value is an error."""
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
    """Charts of training: the total loss, its parts, and monitors of what was learned."""
    losses = config.get("losses")
    # A configuration that cannot be read still leaves the losses of PLACE to look for.
    parts = list(losses) if isinstance(losses, Mapping) else list(descriptions.LOSS_DESCRIPTIONS)
    drawn = []

    for name in ["loss", *(part for part in parts if part not in ("loss", "correlation"))]:
        title, says = descriptions.LOSS_DESCRIPTIONS.get(name, (name, "A part of the loss."))
        # The axes of the parts include 0; that of the total does not.
        holds = () if name == "loss" else (0.0,)
        drawn.append(line_chart(title, says, records, {name: title.split(" (")[0]}, holds=holds))

    # The correlation loss beside two answers that use no report, or the wrong one.
    columns = {
        "correlation": "prediction",
        "correlation_constant": "same answer for all",
        "correlation_permuted": "another’s report",
    }
    drawn.append(line_chart(*descriptions.CORRELATION_DESCRIPTION, records, columns, holds=(0.0,)))
    drawn += [_described_chart(described, records) for described in descriptions.MONITOR_CURVES]

    return [chart for chart in drawn if chart is not None]


def _example_sections(files: RunFiles, folder: Path) -> dict[tuple[str, str], Markup]:
    """By task and source: examples of generated reports, where the task wrote them."""
    from markupsafe import Markup

    sections = {}
    for result in files.results:
        if result.task.startswith("report-generation"):
            result_folder = folder / "tasks" / result.task / result.source
            html = report_examples.examples_section(result_folder)
            if html:
                # Our own tags around base64: nothing to escape.
                sections[result.task, result.source] = Markup(html)  # noqa: S704

    return sections


def _described_chart(
    described: descriptions.CurvesDescription, records: Sequence[Mapping[str, Any]]
) -> LineChart | None:
    title, says, columns, holds = described
    return line_chart(title, says, records, columns, holds=holds)


def prevalence(card: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    """By finding and split: (present, present or absent), from the data card."""
    findings = card.get("findings")
    if not isinstance(findings, Mapping):
        return {}

    table: dict[str, dict[str, tuple[int, int]]] = {}
    for finding, counts_by_split in findings.items():
        by_split = table[str(finding)] = {}
        for split, counts in counts_by_split.items():
            present = int(counts["present"])
            by_split[split] = present, present + int(counts["absent"])

    return table


def _is_phantom(files: RunFiles) -> bool:
    """Whether all images are synthetic, so that the page holds nothing of a patient."""
    # Without results the name of the configuration has to do.
    sources = [result.source for result in files.results] or [str(files.config.get("name", ""))]
    return all("phantom" in source for source in sources)


def _flatten(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names; paths are left out, they may name people."""
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and name.count(".") < _DEEPEST_SETTING:
            rows += _flatten(value, f"{name}.")
        elif name not in (
            "data.manifest",
            "data.splits",
            "data.tokenizer",
            "model.text.weights",
            "model.image.weights",
        ):
            rows.append((name, "..." if isinstance(value, Mapping) and value else str(value)))

    return rows
