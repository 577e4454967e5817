"""How all is measured here: sides in turn on one thread, CPU seconds, ratios with spread."""

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
# Operators that compute nothing: they return another view of the same memory.
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
# Operators whose result the host needs: on a GPU it waits for the device.
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
    """One measured number per round, its baseline, and the goal of the median, if there is one."""

    name: str
    baseline: str
    values: list[float]
    goal: float | None = None
    better: str = "lower"
    unit: str = "x"
    number: str = ""  # of the goal, in the list of README.md; empty: measured beside the goals
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the median meets the goal."""
        if self.goal is None:
            return True
        value = median(self.values)
        return value <= self.goal if self.better == "lower" else value >= self.goal

    def line(self) -> str:
        """One line for a person."""
        low, high = f"{min(self.values):.4g}", f"{max(self.values):.4g}"
        spread = f"{median(self.values):.4g}"
        if low != high:
            spread += f" ({low} .. {high})"

        state, goal = "measured", ""
        if self.goal is not None:
            state = "holds" if self.holds else "NOT MET"
            number = f" {self.number}" if self.number else ""
            goal = f", goal{number} {'<=' if self.better == 'lower' else '>='} {self.goal:g}"

        notes = "".join(f"; {key} {value}" for key, value in self.notes.items())
        return f"{state:<8} {self.name} / {self.baseline}: {spread} {self.unit}{goal}{notes}"


def interleave(
    sides: Mapping[str, Callable[[], object]], rounds: int, repeat: Mapping[str, int] | None = None
) -> dict[str, list[float]]:
    """CPU seconds of one call of each side, A B A B ..., after one unmeasured round.

    ``repeat``: calls that a quick side is averaged over within a round.
    """
    repeat = repeat or {}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    # CPU seconds of this process, not the clock on the wall: a machine shared with others then
    # still gives usable ratios.
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
    """The ratio of each round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def milliseconds(seconds: Sequence[float]) -> float:
    """The median in milliseconds, for the notes beside a ratio."""
    return round(median(seconds) * 1e3, 3)


def side_milliseconds(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The median of each side, named ``<side> ms``, for the notes beside a ratio."""
    return {f"{name} ms": milliseconds(side) for name, side in seconds.items()}


class OperatorCounter(TorchDispatchMode):
    """Counts all dispatched operators, also backward, and those that make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: Counter[str] = Counter()
        self.reads = 0
        self.provoked = 0  # ``detach`` of saved tensors, which happens only under this counter

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

        # Indexing by a mask makes the host wait: the size of the result depends on the values.
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        self.reads += name in _READS or any(
            t is not None and t.dtype in (torch.bool, torch.uint8) for t in indices
        )
        return func(*args, **(kwargs or {}))


def count_operators(call: Callable[[], object]) -> OperatorCounter:
    """Operators that one call dispatches. ``call`` runs twice."""
    with OperatorCounter() as counter:
        call()

    # The profiler shows how many `detach` there are without the counter.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    events = profile.profiler.kineto_results.events()
    detached = sum(event.name() == "aten::detach" for event in events)
    counter.provoked = counter.ops["detach"] - detached
    return counter


def peak_mebibytes(call: Callable[[], object]) -> float:
    """The most MiB that PyTorch's CPU allocator held during one call, above what it held before."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()

    # Each event is one allocation, or, with negative bytes, one release.
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)

    if not events:
        raise RuntimeError("this PyTorch records no allocations")
    return peak / 2**20


def use_one_thread() -> None:
    """Let PyTorch compute on one thread. Call it before anything is measured."""
    torch.set_num_threads(1)


def describe_machine() -> dict[str, str]:
    """What a figure depends on: machine, commit and versions."""
    changed = " and uncommitted changes" if _git("status", "--porcelain", "--", "src") else ""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD") + changed,
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "load": load,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []

    for line in lines:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    process = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return process.stdout.strip()


def record_figures(name: str, figures: Sequence[Figure]) -> None:
    """Print each figure and write ``results/<name>.json``."""
    for figure in figures:
        print(figure.line(), flush=True)
    rows = [
        asdict(figure) | {"median": median(figure.values), "holds": figure.holds}
        for figure in figures
    ]

    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(
        {"measurement": name, "machine": describe_machine(), "figures": rows}, indent=1
    )
    (RESULTS / f"{name}.json").write_text(text + "\n")
