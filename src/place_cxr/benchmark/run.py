"""A benchmark run: draw what has to be drawn, hand rows to workers, say how long it takes, write the tables."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from place_cxr.benchmark.cell import ALL, Cost, read_cells
from place_cxr.benchmark.plan import PHANTOM, BenchmarkConfig, Row, cells, check_places, load_benchmark, rows
from place_cxr.benchmark.report import write_report
from place_cxr.benchmark.worker import BUSY, CONFIG, missing, place_of
from place_cxr.core.errors import PlaceError
from place_cxr.core.files import write_atomic
from place_cxr.core.settings import dump, load
from place_cxr.core.workers import cores, refuse_if_spawned
from place_cxr.phantom.write import write_phantom
from place_cxr.training.log import duration

LOGS = "logs"  # what workers say, a file a row
WORKER = "place_cxr.cli.worker"  # the module that a row\'s process runs
_LOOK, _COUNT = 1.0, 15.0  # seconds between two looks at the workers, and between two at the cells
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """What there is when a run ends."""

    page: Path
    cells: int
    of: int
    failed: tuple[str, ...]  # rows whose worker ended with an error; their log tells why


def benchmark(recipe: str, overrides: Sequence[str] = (), *, out: Path, workers: int = 0, device: str = "auto") -> Done:
    """Fill the missing cells of ``out`` and write its tables.

    ``workers`` processes on this machine (0: one a GPU, else one a core, at most eight) take rows, a method with a
    seed, one after the other; the same command may run on other machines that share the folder. What is there is kept,
    so a stopped benchmark goes on. Raises PlaceError PL-R032 where ``out`` holds another benchmark, PL-R004 where it
    holds something else, and as `load_benchmark` and `check_places`.
    """
    refuse_if_spawned()
    config = load_benchmark(recipe, tuple(overrides))
    check_places(config)
    _take(config, out)
    _draw(config, out)
    gpus = _gpus() if device != "cpu" else 0
    workers = workers or gpus or min(cores(), 8)
    failed = _work(config, out, workers, gpus, device)
    done, of = count(config, out)
    return Done(write_report(config, out), done, of, tuple(failed))


def report(out: Path) -> Done:
    """The tables anew, from the cells that are there. Raises PlaceError PL-R032 where ``out`` holds no benchmark."""
    if not (out / CONFIG).is_file():
        raise PlaceError("holds no benchmark", code="PL-R032", file=out, fix="name the --out of a benchmark")
    config = load(BenchmarkConfig, out / CONFIG)
    done, of = count(config, out)
    return Done(write_report(config, out), done, of, ())


def count(config: BenchmarkConfig, out: Path) -> tuple[int, int]:
    """Cells that are there, and cells in all; a cell is there when all its sites are."""
    todo = [missing(config, out, row, asked) for row in rows(config) for asked in cells(config, row.slug)]
    return sum(not sites for sites in todo), len(todo)


def seconds_left(config: BenchmarkConfig, out: Path, workers: int) -> float | None:
    """Work that remains, over workers, by what like work took; None before anything is done."""
    taken: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for cell in read_cells(out):
        place = cell.place
        taken[place.task, place.source, f"{place.fraction:g}"].append(cell.result.seconds * len(config.sites or (ALL,)))
    for row in rows(config):
        cost = Cost.read(out / row.name)
        if cost is not None and cost.seconds is not None:
            taken["train", row.slug].append(cost.seconds)
    if not taken:
        return None
    usual = fmean(fmean(values) for values in taken.values())
    left = 0.0
    for row in rows(config):
        method = config.methods[row.slug]
        asked = [one for one in cells(config, row.slug) if missing(config, out, row, one)]
        kinds = [(place_of(config, row, one, ALL)) for one in asked]
        keys = [(place.task, place.source, f"{place.fraction:g}") for place in kinds]
        if asked and method.trained and not method.run and Cost.read(out / row.name) is None:
            keys.append(("train", row.slug))  # type: ignore[arg-type]
        left += sum(fmean(taken[key]) if key in taken else usual for key in keys)
    return left / max(1, workers)


def _take(config: BenchmarkConfig, out: Path) -> None:
    """Write the settings into the folder, if it is ours to fill."""
    file = out / CONFIG
    if out.exists() and any(out.iterdir()) and not file.is_file():
        raise PlaceError("holds files that are no benchmark", code="PL-R004", file=out, fix="choose another --out")
    if file.is_file() and load(BenchmarkConfig, file).name != config.name:
        raise PlaceError("holds another benchmark", code="PL-R032", file=out, fix="choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(file, dump(config).encode())


def _draw(config: BenchmarkConfig, out: Path) -> None:
    """The phantoms, once, whoever comes first."""
    wanted, folder = config.phantom, out / PHANTOM
    if wanted is None:
        return
    about = folder / "settings.yaml"
    with _alone(out / ".drawing"):
        if folder.exists():
            if about.read_text("utf-8") != dump(wanted):
                raise PlaceError("other phantoms lie there", code="PL-R032", file=folder, fix="choose another --out")
            return
        unfinished = out / f".{PHANTOM}.part"
        _log.info("drawing %d phantom studies", wanted.studies)
        write_phantom(unfinished, wanted.studies, wanted.size, wanted.seed)
        (unfinished / about.name).write_text(dump(wanted), "utf-8")
        unfinished.rename(folder)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _work(config: BenchmarkConfig, out: Path, workers: int, gpus: int, device: str) -> list[str]:
    """Rows that failed. A row that another command works on is looked at again until it is done."""
    waiting = [
        row for row in rows(config) if any(missing(config, out, row, asked) for asked in cells(config, row.slug))
    ]
    running: dict[int, tuple[Row, subprocess.Popen[bytes]]] = {}
    failed: list[str] = []
    told, counted = -1, -_COUNT
    try:
        while waiting or running:
            for slot in range(workers):
                if slot not in running and waiting:
                    running[slot] = waiting[0], _start(out, waiting.pop(0), slot, workers, gpus, device)
            time.sleep(_LOOK)
            for slot, (row, process) in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[slot]
                if code == BUSY:
                    waiting.append(row)
                elif code:
                    _log.warning("%s failed: %s; see %s", row.name, _why(log_of(out, row)), log_of(out, row))
                    failed.append(row.name)
            if time.monotonic() - counted < _COUNT and (waiting or running):
                continue
            counted = time.monotonic()
            done, of = count(config, out)
            if done != told:
                told, left = done, seconds_left(config, out, workers)
                _log.info("%d of %d cells%s", done, of, f", about {duration(left)} left" if left else "")
    finally:
        for _, process in running.values():
            process.terminate()  # it saves, and the next command goes on
        for _, process in running.values():
            process.wait()
    return failed


def _start(out: Path, row: Row, slot: int, workers: int, gpus: int, device: str) -> subprocess.Popen[bytes]:
    log_of(out, row).parent.mkdir(exist_ok=True)
    environ = {"OMP_NUM_THREADS": str(max(1, cores() // workers)), **os.environ}  # what the user says comes first
    if gpus > 1:
        shown = environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        environ["CUDA_VISIBLE_DEVICES"] = shown[slot % gpus]
    words = [sys.executable, "-m", WORKER, str(out), row.slug, str(row.seed), device]
    with log_of(out, row).open("ab") as log:
        return subprocess.Popen(words, env=environ, stdout=log, stderr=log)  # noqa: S603


def _why(log: Path) -> str:
    """The refusal that a worker's log ends with."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    found = re.search(r"error\[PL-.*", lines[-1]) if lines else None
    return found[0] if found else "a crash"


def log_of(out: Path, row: Row) -> Path:
    """What the worker of a row said."""
    return out / LOGS / f"{row.name}.log"


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
