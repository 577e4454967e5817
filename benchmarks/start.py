"""How long a person waits for the first line of a command: wall time, in turn with ``import torch``."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.measure import Figure, report

ROUNDS = 7
GOAL = 0.4  # seconds
COMMANDS = (["--help"], ["pretrain", "--help"], ["config", "show"])


def seconds(*words: str) -> float:
    """Wall time of one interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def figures() -> list[Figure]:
    """Each command against the goal, and against what importing torch alone takes."""
    found = []
    for words in COMMANDS:
        command = ["-m", "place_cxr", *words]
        seconds(*command)  # fills the file cache
        own, torch = zip(*((seconds(*command), seconds("-c", "import torch")) for _ in range(ROUNDS)), strict=True)
        name = " ".join(["place", *words])
        found.append(Figure(name, "none", list(own), GOAL, unit=" s"))
        found.append(Figure(name, "import torch", [a / b for a, b in zip(own, torch, strict=True)], 0.5))
    return found


if __name__ == "__main__":
    report("start", figures())
