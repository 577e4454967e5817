"""Read a run folder for the page. A missing or broken file is named on the page and never fatal.

The folder may come from a stranger: no link is followed, and sizes and numbers have limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import read_json_of_stranger, read_text_of_stranger
from place_cxr.core.results import Result
from place_cxr.core.settings import parse_yaml


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The content of a run folder. ``missing`` names in words what is absent or unreadable."""

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    lock: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    status: str = ""
    records: Sequence[Mapping[str, Any]] = ()
    # Of the method itself, and of the controls that it is compared with.
    results: Sequence[Result] = ()
    controls: Sequence[Result] = ()
    gallery: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[str] = ()


def read_run(run: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        PlaceError: PL-R007 if the folder does not exist or holds nothing that a page can show.
    """
    missing: list[str] = []

    # What every run writes.
    config = _read_mapping(run / "config.yaml", missing, "the configuration (config.yaml)")
    environment = _read_mapping(run / "env.json", missing, "versions and hardware (env.json)")
    lock = _read_mapping(
        run / "data.lock.json", missing, "how many images there were (data.lock.json)"
    )
    records = _read_records(run / "metrics.jsonl", missing)
    # Paths are tasks/TASK/SOURCE, of a control baselines/NAME/tasks/TASK/SOURCE.
    own_files = _own(run, run.glob("tasks/*/*/result.json"))

    results = [result for _, result in _read_results(own_files, run, missing)]
    control_files = _own(run, run.glob("baselines/*/tasks/*/*/result.json"))
    controls = _distinct_names(_read_results(control_files, run, missing), results)
    if not (config or records or results):
        raise PlaceError("no run here", code="PL-R007", file=run, fix="give the folder of a run")

    if not results:
        missing.append("results of tasks (tasks/): evaluate the run")
    elif not controls:
        missing.append(
            "results to compare with (baselines/): evaluate a control, such as random weights"
        )

    # The gallery of real patients is written only on request, so the absence of these is normal.
    card = _read_mapping(run / "data_card.json", missing, "the data card", optional=True)
    gallery = _read_mapping(
        run / "gallery" / "gallery.json",
        missing,
        "the gallery (gallery/gallery.json)",
        optional=True,
    )

    status = _read_text(run / "STATUS").strip()
    return RunFiles(
        name=run.resolve().name,
        config=config,
        environment=environment,
        lock=lock,
        card=card,
        status=status,
        records=records,
        results=results,
        controls=controls,
        gallery=gallery,
        missing=missing,
    )


def _own(run: Path, files: Iterable[Path]) -> list[Path]:
    """The files that lie in the run folder itself, sorted: not those behind a linked folder."""
    home = run.resolve()
    return sorted(file for file in files if file.parent.resolve().is_relative_to(home))


def _distinct_names(
    controls: Sequence[tuple[Path, Result]], results: Sequence[Result]
) -> list[Result]:
    """The results of controls; one with the run's own method name gets the name of its folder."""
    run_methods = {result.method for result in results}
    return [
        replace(result, method=file.parents[3].name) if result.method in run_methods else result
        for file, result in controls
    ]


def _read_results(
    files: Sequence[Path], run: Path, missing: list[str]
) -> list[tuple[Path, Result]]:
    results = []
    for file in files:
        try:
            read_text_of_stranger(file)  # no link, and not too large
            results.append((file, Result.read(file)))
        except (OSError, ValueError, PlaceError):
            missing.append(f"{file.relative_to(run)}: cannot be read as a result")

    return results


def _read_records(file: Path, missing: list[str]) -> list[Mapping[str, Any]]:
    """Whole lines only: a process that was killed may leave half a line, which is skipped."""
    records: list[Mapping[str, Any]] = []
    for line in _read_text(file).splitlines():
        try:
            record = read_json_of_stranger(line)
        except ValueError:
            continue

        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)

    if not records:
        missing.append("the course of training (metrics.jsonl)")
    return records


def _read_mapping(
    file: Path, missing: list[str], what: str, *, optional: bool = False
) -> dict[str, Any]:
    try:
        text = read_text_of_stranger(file)
        is_yaml = file.suffix == ".yaml"
        table = parse_yaml(text, file.name) if is_yaml else read_json_of_stranger(text)
    except FileNotFoundError:
        if not optional:
            missing.append(what)
        return {}
    except (OSError, ValueError, PlaceError):
        table = None

    if not isinstance(table, dict):
        missing.append(f"{what}: the file cannot be read")
        return {}

    return table


def _read_text(file: Path) -> str:
    try:
        return read_text_of_stranger(file, errors="replace")
    except (OSError, ValueError):
        return ""
