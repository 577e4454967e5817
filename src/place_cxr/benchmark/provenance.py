"""Sections of the results: what ran, what is missing, and the rules of each task."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from place_cxr.benchmark import descriptions
from place_cxr.benchmark.cell import ALL_SITES, CellKey, PretrainingCost
from place_cxr.benchmark.document import DocumentSection
from place_cxr.benchmark.plan import BenchmarkConfig, WorkerJob, worker_jobs
from place_cxr.benchmark.result_table import ResultTable, path_key, planned_keys, site_columns


def ran_section(result_table: ResultTable, out: Path) -> DocumentSection:
    """Data, methods, dates, hardware, and how much of the plan is finished."""
    config = result_table.config
    results = [cell.result for cell in result_table.cells.values()]
    commits = Counter(result.git for result in results if result.git)
    started = sorted(
        str(_read_json(out / job.name / "run" / "env.json").get("started", ""))[:10]
        for job in worker_jobs(config)
    )

    dates = sorted({date for date in started if date})
    costs = [PretrainingCost.read(out / job.name) for job in worker_jobs(config)]
    machines = [result.hardware for result in results]
    machines += [cost.hardware for cost in costs if cost]
    planned_count = sum(1 for _ in planned_keys(config))

    facts = {
        "data": _describe_data(config),
        "pre-training split": _join_unique(
            _describe_split(_read_json(out / job.name / "run" / "data.lock.json"))
            for job in worker_jobs(config)
        ),
        "test patients": f"apart by site: {', '.join(config.sites)}; the tables are of "
        f"{config.sites[0]}"
        if config.sites
        else "all together",
        "methods": ", ".join(method.title for method in config.methods.values()),
        "seeds": ", ".join(map(str, config.seeds)),
        "cells": f"{len(result_table.cells)} of {planned_count}",
        "commit": ", ".join(
            f"{git[:9]}{'+' * git.endswith('+')} ({n} cells)" for git, n in commits.items()
        ),
        "pre-training began": " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "",
        "hardware": _join_unique(machines),
    }

    return DocumentSection(
        "ran", "What ran", facts=[(name, text) for name, text in facts.items() if text]
    )


def rules_section(results: ResultTable) -> DocumentSection:
    """The rules of each task, unchanged; where its cells differ, each with the number of cells."""
    exact = []
    # task -> signature -> number of cells
    signature_counts: dict[str, Counter[str]] = {}
    for cell in results.cells.values():
        signature_counts.setdefault(cell.key.task, Counter())[cell.result.signature] += 1

    for task, texts in signature_counts.items():
        for text, count in texts.items():
            exact.append((task + (f" ({count} cells)" if len(texts) > 1 else ""), text))

    return DocumentSection("rules", "Rules of each task, word by word", exact=exact)


def missing_section(results: ResultTable, out: Path) -> DocumentSection:
    """Planned cells without a result, by job, and undefined numbers with their reason."""
    missing_by_job: dict[WorkerJob, list[CellKey]] = {
        job: [] for job in worker_jobs(results.config)
    }
    planned_counts = Counter[WorkerJob]()

    for cell_key in planned_keys(results.config):
        job = WorkerJob(cell_key.slug, cell_key.seed)
        planned_counts[job] += 1
        if path_key(cell_key) not in results.cells:
            missing_by_job[job].append(cell_key)

    items = []
    for job, cell_keys in missing_by_job.items():
        if cell_keys:
            job_name = f"{results.config.methods[job.slug].title}, seed {job.seed}"
            listed = (
                "all cells"
                if len(cell_keys) == planned_counts[job]
                else ", ".join(dict.fromkeys(map(_cell_name, cell_keys)))
            )
            stale_count = sum(path_key(cell_key) in results.stale for cell_key in cell_keys)

            stale_note = (
                f"; {stale_count} of them measured with other settings and left out"
                if stale_count
                else ""
            )
            items.append(f"{job_name} ({_read_status(out / job.name)}): {listed}{stale_note}")

    items += _undefined(results)
    return DocumentSection(
        "missing",
        "What is missing",
        [] if items else ["Nothing: every cell is there."],
        items=items,
    )


def _undefined(results: ResultTable) -> Iterator[str]:
    """Metrics without a value, one line for each column and reason."""
    # (cell, reason) -> methods with their seed; a dict keeps the order and drops repeats
    seeds_by_reason: dict[tuple[str, str], dict[str, None]] = {}
    for site in results.config.sites or (ALL_SITES,):
        for column in site_columns(results.config, site):
            for slug, method in results.config.methods.items():
                name = column.metric.format(score=method.score, heat=method.heat)
                for seed in results.config.seeds:
                    cell = results.cell(slug, seed, column)
                    metric = cell.metric(name) if cell else None
                    if cell and (metric is None or metric.value is None):
                        heading = descriptions.metric_heading(column.metric)
                        cell_name = ", ".join(filter(None, [_cell_name(cell.key), heading]))
                        reason = metric.reason if metric else "not given by the task"
                        methods = seeds_by_reason.setdefault((cell_name, reason), {})
                        methods[f"{method.title} (seed {seed})"] = None

    for (cell_name, reason), methods in seeds_by_reason.items():
        yield f"{cell_name}, undefined: {reason}: {', '.join(methods)}"


def _cell_name(cell_key: CellKey) -> str:
    site = "" if cell_key.site == ALL_SITES else f" site {cell_key.site}"
    percent = f" {100 * cell_key.fraction:g} %" if cell_key.fraction else ""
    return f"{cell_key.task}{percent}{site}"


def _read_status(folder: Path) -> str:
    """The state in the STATUS file of a job."""
    try:
        words = (folder / "STATUS").read_text("utf-8").split()
    except (OSError, UnicodeDecodeError):
        return "not started"
    return words[0] if words else "not started"


def _describe_data(config: BenchmarkConfig) -> str:
    parts = [f"{name} ({settings.source})" for name, settings in config.sources.items()]
    if (phantom := config.phantom) is not None:
        drawn = f"{phantom.studies} made-up studies of {phantom.size} pixels, seed {phantom.seed}"
        parts.insert(0, drawn)
    return "; ".join(parts)


def _describe_split(lock: Mapping[str, Any]) -> str:
    """Counts of images and patients by split, from data.lock.json."""
    texts = []
    for kind in ("images", "patients"):
        if isinstance(lock.get(kind), Mapping):
            counts = [f"{n} {split}" for split, n in lock[kind].items()]
            texts.append(f"{', '.join(counts)} {kind}")

    return "; ".join(texts)


def _join_unique(texts: Iterable[str]) -> str:
    unique: Sequence[str] = list(dict.fromkeys(text for text in texts if text))
    return " | ".join(unique)


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        table = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, Mapping) else {}
