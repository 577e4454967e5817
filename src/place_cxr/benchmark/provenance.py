"""Where the numbers of a benchmark come from, what is not there, and by which rules it was measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from place_cxr.benchmark import descriptions
from place_cxr.benchmark.cell import ALL, Cost, Place
from place_cxr.benchmark.document import Section
from place_cxr.benchmark.plan import BenchmarkConfig, Row, rows
from place_cxr.benchmark.result_table import Book, columns, key, planned


def ran_section(book: Book, out: Path) -> Section:
    """What ran, on what, when, and how much of the plan is there."""
    config = book.config
    results = [cell.result for cell in book.cells.values()]
    commits = Counter(result.git for result in results if result.git)
    started = sorted(str(_json(out / row.name / "run" / "env.json").get("started", ""))[:10] for row in rows(config))
    dates = sorted({date for date in started if date})
    machines = [
        *(result.hardware for result in results),
        *(cost.hardware for row in rows(config) if (cost := Cost.read(out / row.name))),
    ]
    asked = sum(1 for _ in planned(config))
    facts = {
        "data": _data(config),
        "pre-training split": _once(_split(_json(out / row.name / "run" / "data.lock.json")) for row in rows(config)),
        "test patients": f"apart by site: {', '.join(config.sites)}; the tables are of {config.sites[0]}"
        if config.sites
        else "all together",
        "methods": ", ".join(method.title for method in config.methods.values()),
        "seeds": ", ".join(map(str, config.seeds)),
        "cells": f"{len(book.cells)} of {asked}",
        "commit": ", ".join(f"{git[:9]}{'+' * git.endswith('+')} ({n} cells)" for git, n in commits.items()),
        "pre-training began": " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "",
        "hardware": _once(machines),
    }
    return Section("ran", "What ran", facts=[(name, text) for name, text in facts.items() if text])


def rule_section(book: Book) -> Section:
    """The rules of each task, word by word; where cells follow several, each with how many do."""
    exact = []
    found: dict[str, Counter[str]] = {}
    for cell in book.cells.values():
        found.setdefault(cell.place.task, Counter())[cell.result.signature] += 1
    for task, texts in found.items():
        for text, count in texts.items():
            exact.append((task + (f" ({count} cells)" if len(texts) > 1 else ""), text))
    return Section("rules", "Rules of each task, word by word", exact=exact)


def missing_section(book: Book, out: Path) -> Section:
    """Cells that the plan asks for and that are not there, row by row; numbers that are undefined, with the reason."""
    lacking: dict[Row, list[Place]] = {row: [] for row in rows(book.config)}
    every = Counter[Row]()
    for place in planned(book.config):
        row = Row(place.slug, place.seed)
        every[row] += 1
        if key(place) not in book.cells:
            lacking[row].append(place)
    items = []
    for row, places in lacking.items():
        if places:
            named = f"{book.config.methods[row.slug].title}, seed {row.seed}"
            what = "all cells" if len(places) == every[row] else ", ".join(dict.fromkeys(map(_named, places)))
            old = sum(key(place) in book.stale for place in places)
            said = f"; {old} of them measured with other settings and left out" if old else ""
            items.append(f"{named} ({_state(out / row.name)}): {what}{said}")
    items += _undefined(book)
    return Section("missing", "What is missing", [] if items else ["Nothing: every cell is there."], items=items)


def _undefined(book: Book) -> Iterator[str]:
    """Numbers without a value, by column and reason."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for site in book.config.sites or (ALL,):
        for column in columns(book.config, site):
            for slug, method in book.config.methods.items():
                name = column.metric.format(score=method.score, heat=method.heat)
                for seed in book.config.seeds:
                    cell = book.cell(slug, seed, column)
                    metric = cell.metric(name) if cell else None
                    if cell and (metric is None or metric.value is None):
                        head = ", ".join(filter(None, [_named(cell.place), descriptions.heading(column.metric)]))
                        reason = metric.reason if metric else "not given by the task"
                        found.setdefault((head, reason), {})[f"{method.title} (seed {seed})"] = None
    for (head, reason), who in found.items():
        yield f"{head}, undefined: {reason}: {', '.join(who)}"


def _named(place: Place) -> str:
    site = "" if place.site == ALL else f" site {place.site}"
    share = f" {100 * place.fraction:g} %" if place.fraction else ""
    return f"{place.task}{share}{site}"


def _state(folder: Path) -> str:
    """What a row's folder says of itself."""
    try:
        said = (folder / "STATUS").read_text("utf-8").split()
    except (OSError, UnicodeDecodeError):
        return "not started"
    return said[0] if said else "not started"


def _data(config: BenchmarkConfig) -> str:
    drawn = config.phantom
    made = f"{drawn.studies} made-up studies of {drawn.size} pixels, seed {drawn.seed}" if drawn else ""
    return "; ".join(filter(None, [made, *(f"{name} ({one.source})" for name, one in config.sources.items())]))


def _split(lock: Mapping[str, Any]) -> str:
    counts = [
        f"{', '.join(f'{n} {split}' for split, n in lock[kind].items())} {kind}"
        for kind in ("images", "patients")
        if isinstance(lock.get(kind), Mapping)
    ]
    return "; ".join(counts)


def _once(texts: Iterable[str]) -> str:
    found: Sequence[str] = list(dict.fromkeys(text for text in texts if text))
    return " | ".join(found)


def _json(file: Path) -> Mapping[str, Any]:
    try:
        table = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, Mapping) else {}
