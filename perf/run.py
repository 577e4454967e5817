"""Run measurements, each in a process of its own on one thread: ``python perf/run.py [NAME ...]``.

Without names all run, about ten minutes of one core. The figures go to ``results/<name>.json``, and
all of them as one table to ``results/README.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = ("ops", "heads", "pcma", "data", "text", "startup", "step", "gpu")
# Numbers of the goals, in the list of README.md, that the figures must cover.
GOALS = ("1", "2", "4", "5", "6", "7", "8", "9", "10", "12", "16")
_HEAD = """# Measured

Written by `python perf/run.py`. Ratios are of CPU seconds on one thread, those of `gpu` of seconds
by the clock. Sides run in turn; the median over the rounds and the spread are shown. What is
compared, and how, stands at the top of each script.

"""
_COLUMNS = (
    "name",
    "measured",
    "baseline",
    "median",
    "spread",
    "number",
    "goal",
    "holds",
    "notes",
    "date, commit, torch",
)


def table(results: list[dict[str, Any]]) -> str:
    """All figures as Markdown."""
    lines = [_line(_COLUMNS), "|---" * len(_COLUMNS) + "|"]
    for result in results:
        lines += [_line(_cells(result, figure)) for figure in result["figures"]]

    machines = sorted({_machine(result["machine"]) for result in results})
    return _HEAD + "\n".join(lines) + "\n\nMachine: " + "; ".join(machines) + ".\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(result: dict[str, Any], figure: dict[str, Any]) -> list[str]:
    machine, values = result["machine"], figure["values"]
    goal = holds = ""
    if figure["goal"] is not None:
        goal = f"{'≤' if figure['better'] == 'lower' else '≥'} {figure['goal']:g}"
        holds = "yes" if figure["holds"] else "**no**"

    return [
        result["measurement"],
        figure["name"],
        figure["baseline"],
        f"{figure['median']:.4g} {figure['unit']}",
        f"{min(values):.4g} .. {max(values):.4g}" if len(values) > 1 else "exact",
        figure.get("number", ""),
        goal,
        holds,
        ", ".join(f"{key} {value}" for key, value in figure["notes"].items()),
        f"{machine['date']}, {machine['commit']}, {machine['torch']}",
    ]


def _machine(machine: dict[str, str]) -> str:
    parts = (machine["cpu"], f"{machine['cores']} cores", machine.get("gpu"))
    return ", ".join(part for part in parts if part)


def main() -> int:
    """1 when a measurement crashed, 2 for an unknown name; a goal not met is no failure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES)}")
    names = parser.parse_args().names
    for name in names:
        if name not in NAMES:
            parser.error(f"no measurement '{name}'; there are {', '.join(NAMES)}")

    # One thread, and no messages of the profiler.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "5"}
    crashed = False
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        process = subprocess.run(
            [sys.executable, "-m", f"perf.{name}"], cwd=HERE.parent, env=environment, check=False
        )
        crashed |= process.returncode != 0

    # The table also shows what was measured earlier.
    files = [HERE / "results" / f"{name}.json" for name in NAMES]
    results = [json.loads(file.read_text()) for file in files if file.is_file()]
    (HERE / "results" / "README.md").write_text(table(results))
    return int(crashed)


if __name__ == "__main__":
    sys.exit(main())
