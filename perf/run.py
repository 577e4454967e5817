"""Run measurements, each in a process of its own on one thread: ``python perf/run.py [NAME ...]``.

Without names all run, about ten minutes of one core. What they measured goes to
``results/<name>.json``, all of it as one table to ``results/README.md``. GOALS are the numbers of
the goals that these figures have to show.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = ("ops", "heads", "pcma", "data", "text", "startup", "step", "gpu")
GOALS = ("1", "2", "4", "5", "6", "7", "8", "9", "10", "12", "16")
_HEAD = """# Measured

Written by `python perf/run.py`. Ratios are of CPU seconds on one thread, those of `gpu` of the clock, sides
in turn: median over the rounds and the spread. What is compared, and how, stands at the top of each script.

| benchmark | measured | baseline | median | spread | number | goal | holds | notes | date, commit, torch |
|---|---|---|---|---|---|---|---|---|---|
"""


def table(results: list[dict[str, Any]]) -> str:
    """All figures as Markdown."""
    lines = []
    for result in results:
        machine = result["machine"]
        for row in result["figures"]:
            values = [
                f"{value:.4g}" for value in (row["median"], min(row["values"]), max(row["values"]))
            ]
            sign = "≤" if row["better"] == "lower" else "≥"
            goal = "" if row["goal"] is None else f"{sign} {row['goal']:g}"
            cells = [
                result["benchmark"],
                row["name"],
                row["baseline"],
                f"{values[0]} {row['unit']}",
                f"{values[1]} .. {values[2]}" if len(row["values"]) > 1 else "exact",
                row.get("number", ""),
                goal,
                ("yes" if row["holds"] else "**no**") if goal else "",
                ", ".join(f"{key} {value}" for key, value in row["about"].items()),
                f"{machine['date']}, {machine['commit']}, {machine['torch']}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    machines = sorted({_machine(result["machine"]) for result in results})
    return _HEAD + "\n".join(lines) + "\n\nMachine: " + "; ".join(machines) + ".\n"


def _machine(machine: dict[str, str]) -> str:
    return ", ".join(
        filter(None, (machine["cpu"], f"{machine['cores']} cores", machine.get("gpu")))
    )


def main(names: list[str]) -> int:
    """Exit code 2 for an unknown name, 1 when a benchmark broke; a goal that is not met is no
    failure.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark '{unknown[0]}'; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    broken = 0
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "5"}
        done = subprocess.run(
            [sys.executable, "-m", f"perf.{name}"], cwd=HERE.parent, env=environment, check=False
        )
        broken += done.returncode != 0
    files = [HERE / "results" / f"{name}.json" for name in NAMES]
    (HERE / "results" / "README.md").write_text(
        table([json.loads(file.read_text()) for file in files if file.is_file()])
    )
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
