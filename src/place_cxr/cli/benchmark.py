"""``place benchmark``: compare methods on every task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from place_cxr.cli.console import print_result
from place_cxr.cli.options import (
    Device,
    DeviceOption,
    JsonOption,
    OverridesArgument,
    register_command,
)


def add_benchmark_command(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    register_command(
        app,
        "benchmark",
        "Compare methods on every task.",
        "place benchmark benchmark-phantom -o runs/benchmark              90 minutes on two cores",
        "place benchmark benchmark-phantom -o runs/benchmark --dry-run    what would be run",
        "place benchmark benchmark-real -o runs/real sources.kermany.manifest=/data/kermany.csv",
        "place benchmark mine.yaml -o /shared/mine                        on several machines at "
        "once",
    )(benchmark)


def benchmark(
    recipe: Annotated[
        str, typer.Argument(help="A shipped benchmark, or a YAML file.", show_default=False)
    ],
    overrides: OverridesArgument = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Its folder; default runs/NAME.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes; 0: one per GPU, else one per core.")
    ] = 0,
    device: DeviceOption = Device.auto,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what is missing, and run nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Pre-train every method of RECIPE with every seed, evaluate every task, and write tables.

    Finished work is kept: the same command continues after a stop, and may run on several machines
    that share the folder. Exit code 6 if a worker failed; the tables then have empty cells.
    """
    from place_cxr.benchmark.plan import check_paths, load_benchmark
    from place_cxr.benchmark.run import count_cells
    from place_cxr.benchmark.run import run_benchmark as run

    folder = out or Path("runs") / Path(recipe).stem
    if dry_run:
        config = load_benchmark(recipe, tuple(overrides or []))
        check_paths(config)
        done, total = count_cells(config, folder)
        pretrained = [m for m in config.methods.values() if m.trained and not m.run]
        runs = len(pretrained) * len(config.seeds)
        text = f"{total} cells after {runs} pre-training runs; {done} are there"
        counts = {"done": done, "cells": total, "pre-training runs": runs}

        print_result(counts, text, as_json)
        return

    outcome = run(recipe, overrides or [], out=folder, workers=workers, device=device.value)
    text = f"{outcome.cells} of {outcome.of} cells. Results: {outcome.page.resolve()}"
    print_result(
        {
            "page": str(outcome.page),
            "cells": outcome.cells,
            "of": outcome.of,
            "failed": list(outcome.failed),
        },
        text,
        as_json,
    )
    if outcome.failed:
        raise typer.Exit(6)
