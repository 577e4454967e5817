"""How everything here is measured: sides in turn on one thread, CPU seconds, ratios with their
spread.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

RESULTS = Path(__file__).parent / "results"
# Operators that compute nothing: they describe memory anew.
_VIEWS = (
    *(
        "alias",
        "as_strided",
        "detach",
        "diagonal",
        "expand",
        "permute",
        "select",
        "slice",
        "split",
        "split_with_sizes",
    ),
    *("squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view", "_unsafe_view"),
)
_READS = (
    "_local_scalar_dense",
    "nonzero",
    "is_nonzero",
    "equal",
    "item",
    "_unique2",
    "masked_select",
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number per round, its baseline, and the goal, if there is one, that the median
    must meet.
    """

    name: str
    baseline: str
    values: list[float]
    goal: float | None = None
    better: str = "lower"
    unit: str = "x"
    number: str = ""  # of the goal, in the list of README.md; empty: measured beside the goals
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the median meets the goal."""
        if self.goal is None:
            return True
        return (
            median(self.values) <= self.goal
            if self.better == "lower"
            else median(self.values) >= self.goal
        )

    def line(self) -> str:
        """One line for a person."""
        low, mid, high = (
            f"{v:.4g}" for v in (min(self.values), median(self.values), max(self.values))
        )
        sign = "<=" if self.better == "lower" else ">="
        spread = mid if low == high else f"{mid} ({low} .. {high})"
        state = ("holds" if self.holds else "NOT MET") if self.goal is not None else "measured"
        about = "".join(f"; {key} {value}" for key, value in self.about.items())
        of = f" {self.number}" if self.number else ""
        goal = f", goal{of} {sign} {self.goal:g}" if self.goal is not None else ""
        return f"{state:<8} {self.name} / {self.baseline}: {spread} {self.unit}{goal}{about}"


def interleave(
    sides: Mapping[str, Callable[[], object]], rounds: int, repeat: Mapping[str, int] | None = None
) -> dict[str, list[float]]:
    """CPU seconds of one call of each side, A B A B ..., after one unmeasured round.

    ``repeat``: calls that a quick side is averaged over within a round. CPU seconds of this
    process, not the clock on the wall: a machine shared with others then still gives usable ratios.
    """
    repeat = repeat or {}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, call in sides.items():
            times = repeat.get(name, 1) if number else 1
            start = time.process_time()
            for _ in range(times):
                call()
            if number:
                seconds[name].append((time.process_time() - start) / times)
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def milliseconds(seconds: Sequence[float]) -> float:
    """The median, for the notes beside a ratio."""
    return round(median(seconds) * 1e3, 3)


class Tape(TorchDispatchMode):
    """Counts every operator that PyTorch dispatches, backward pass included, and those that wait
    for the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ops: Counter[str] = Counter()
        self.reads = 0
        self.provoked = 0  # ``detach`` of saved tensors, which there is only while somebody counts

    @property
    def computing(self) -> int:
        """Operators that compute or copy."""
        return self.ops.total() - sum(self.ops[name] for name in _VIEWS)

    @property
    def dispatched(self) -> int:
        """All operators, views too, without those that counting provokes."""
        return self.ops.total() - self.provoked

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.ops[name] += 1
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        self.reads += name in _READS or any(
            t is not None and t.dtype in (torch.bool, torch.uint8) for t in indices
        )
        return func(*args, **(kwargs or {}))


def count(call: Callable[[], object]) -> Tape:
    """Operators that one call dispatches. It is called twice: a profiler sees what there is when
    nobody counts.
    """
    with Tape() as tape:
        call()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        call()
    detached = sum(
        event.name() == "aten::detach" for event in seen.profiler.kineto_results.events()
    )
    tape.provoked = tape.ops["detach"] - detached
    return tape


def peak_mebibytes(call: Callable[[], object]) -> float:
    """The most that PyTorch's CPU allocator held at once during one call, above what it held
    before.
    """
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        call()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    if not events:
        raise RuntimeError("this PyTorch records no allocations")
    return peak / 2**20


def one_thread() -> None:
    """Before anything is measured."""
    torch.set_num_threads(1)


def machine() -> dict[str, str]:
    """What a figure depends on besides the code."""
    try:
        info = Path("/proc/cpuinfo").read_text()
        cpu = next(
            line.split(":")[1].strip()
            for line in info.splitlines()
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        cpu = platform.processor()
    changed = _git("status", "--porcelain", "--", "src")
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD")
        + (" and uncommitted changes" if changed else ""),
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "load": load,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def report(name: str, figures: Sequence[Figure]) -> None:
    """Print each figure and write ``results/<name>.json``."""
    for figure in figures:
        print(figure.line(), flush=True)
    rows = [
        asdict(figure) | {"median": median(figure.values), "holds": figure.holds}
        for figure in figures
    ]
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"benchmark": name, "machine": machine(), "figures": rows}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")
