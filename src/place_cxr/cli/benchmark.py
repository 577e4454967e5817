"""``place benchmark``: methods beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from place_cxr.cli.console import show
from place_cxr.cli.options import AsJson, Device, On, Overrides, command


def add(app: typer.Typer) -> None:
    """Put the verb into ``app``."""
    command(
        app,
        "benchmark",
        "Methods beside each other on every task.",
        "place benchmark benchmark-phantom -o runs/benchmark              90 minutes on two cores",
        "place benchmark benchmark-phantom -o runs/benchmark --dry-run    what would be run",
        "place benchmark benchmark-real -o runs/real sources.kermany.manifest=/data/kermany.csv",
        "place benchmark mine.yaml -o /shared/mine                        on several machines at once",
    )(benchmark)


def benchmark(
    recipe: Annotated[str, typer.Argument(help="A shipped benchmark, or a YAML file.", show_default=False)],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Its folder; default runs/NAME.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0: one a GPU, else one a core.")] = 0,
    device: On = Device.auto,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is missing, and run nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pre-train every method of RECIPE with every seed, ask every question, and write tables of what is there.

    What is done stays done: the same command goes on after a stop, and may run on several machines that share the
    folder. Exit code 6 if a worker failed; the tables then have empty cells.
    """
    from place_cxr.benchmark.plan import check_places, load_benchmark
    from place_cxr.benchmark.run import benchmark as run
    from place_cxr.benchmark.run import count

    folder = out or Path("runs") / Path(recipe).stem
    if dry_run:
        config = load_benchmark(recipe, tuple(overrides or []))
        check_places(config)
        done, of = count(config, folder)
        runs = sum(method.trained and not method.run for method in config.methods.values()) * len(config.seeds)
        show(
            {"done": done, "cells": of, "pre-training runs": runs},
            f"{of} cells after {runs} pre-training runs; {done} are there",
            as_json,
        )
        return
    ended = run(recipe, overrides or [], out=folder, workers=workers, device=device.value)
    text = f"{ended.cells} of {ended.of} cells. Results: {ended.page.resolve()}"
    show({"page": str(ended.page), "cells": ended.cells, "of": ended.of, "failed": list(ended.failed)}, text, as_json)
    if ended.failed:
        raise typer.Exit(6)
