"""A benchmark run: draw what has to be drawn, hand rows to workers, say how long it takes, write
the tables.
"""

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

from place_cxr.benchmark.cell import ALL_SITES, PretrainingCost, read_cells
from place_cxr.benchmark.plan import (
    PHANTOM_FOLDER,
    BenchmarkConfig,
    WorkerJob,
    check_paths,
    load_benchmark,
    planned_cells,
    worker_jobs,
)
from place_cxr.benchmark.report import write_results
from place_cxr.benchmark.worker import BUSY_EXIT_CODE, CONFIG_FILE, missing_sites, planned_key
from place_cxr.core.errors import PlaceError
from place_cxr.core.files import write_atomic
from place_cxr.core.settings import dump_settings, load_settings
from place_cxr.core.workers import available_cores, refuse_if_spawned
from place_cxr.phantom.write import write_phantom
from place_cxr.training.log import format_duration

LOG_FOLDER = "logs"  # what workers say, a file a row
WORKER_MODULE = "place_cxr.cli.worker"  # the module that a row\'s process runs
_POLL_SECONDS, _COUNT_SECONDS = (
    1.0,
    15.0,
)  # seconds between two looks at the workers, and between two at the cells
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BenchmarkOutcome:
    """What there is when a run ends."""

    page: Path
    cells: int
    of: int
    failed: tuple[str, ...]  # rows whose worker ended with an error; their log tells why


def run_benchmark(
    recipe: str, overrides: Sequence[str] = (), *, out: Path, workers: int = 0, device: str = "auto"
) -> BenchmarkOutcome:
    """Fill the missing cells of ``out`` and write its tables.

    ``workers`` processes on this machine (0: one a GPU, else one a core, at most eight) take rows,
    a method with a seed, one after the other; the same command may run on other machines that share
    the folder. What is there is kept, so a stopped benchmark goes on. Raises PlaceError PL-R032
    where ``out`` holds another benchmark, PL-R004 where it holds something else, and as
    `load_benchmark` and `check_paths`.
    """
    refuse_if_spawned()
    config = load_benchmark(recipe, tuple(overrides))
    check_paths(config)
    _claim_folder(config, out)
    _draw_phantoms(config, out)
    gpus = _count_gpus() if device != "cpu" else 0
    workers = workers or gpus or min(available_cores(), 8)
    failed = _run_workers(config, out, workers, gpus, device)
    done, total = count_cells(config, out)
    return BenchmarkOutcome(write_results(config, out), done, total, tuple(failed))


def rewrite_results(out: Path) -> BenchmarkOutcome:
    """The tables anew, from the cells that are there. Raises PlaceError PL-R032 where ``out`` holds
    no benchmark.
    """
    if not (out / CONFIG_FILE).is_file():
        raise PlaceError(
            "holds no benchmark", code="PL-R032", file=out, fix="name the --out of a benchmark"
        )
    config = load_settings(BenchmarkConfig, out / CONFIG_FILE)
    done, total = count_cells(config, out)
    return BenchmarkOutcome(write_results(config, out), done, total, ())


def count_cells(config: BenchmarkConfig, out: Path) -> tuple[int, int]:
    """Cells that are there, and cells in all; a cell is there when all its sites are."""
    missing_by_cell = [
        missing_sites(config, out, job, planned_cell)
        for job in worker_jobs(config)
        for planned_cell in planned_cells(config, job.slug)
    ]
    return sum(not sites for sites in missing_by_cell), len(missing_by_cell)


def seconds_left(config: BenchmarkConfig, out: Path, workers: int) -> float | None:
    """Work that remains, over workers, by what like work took; None before anything is done."""
    seconds_by_kind: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for cell in read_cells(out):
        cell_key = cell.place
        seconds_by_kind[cell_key.task, cell_key.source, f"{cell_key.fraction:g}"].append(
            cell.result.seconds * len(config.sites or (ALL_SITES,))
        )
    for job in worker_jobs(config):
        cost = PretrainingCost.read(out / job.name)
        if cost is not None and cost.seconds is not None:
            seconds_by_kind["train", job.slug].append(cost.seconds)
    if not seconds_by_kind:
        return None
    typical = fmean(fmean(values) for values in seconds_by_kind.values())
    left = 0.0
    for job in worker_jobs(config):
        method = config.methods[job.slug]
        missing_cells = [
            planned_cell
            for planned_cell in planned_cells(config, job.slug)
            if missing_sites(config, out, job, planned_cell)
        ]
        cell_keys = [
            (planned_key(config, job, planned_cell, ALL_SITES)) for planned_cell in missing_cells
        ]
        keys = [
            (cell_key.task, cell_key.source, f"{cell_key.fraction:g}") for cell_key in cell_keys
        ]
        if (
            missing_cells
            and method.trained
            and not method.run
            and PretrainingCost.read(out / job.name) is None
        ):
            keys.append(("train", job.slug))  # type: ignore[arg-type]
        left += sum(
            fmean(seconds_by_kind[key]) if key in seconds_by_kind else typical for key in keys
        )
    return left / max(1, workers)


def _claim_folder(config: BenchmarkConfig, out: Path) -> None:
    """Write the settings into the folder, if it is ours to fill."""
    file = out / CONFIG_FILE
    if out.exists() and any(out.iterdir()) and not file.is_file():
        raise PlaceError(
            "holds files that are no benchmark",
            code="PL-R004",
            file=out,
            fix="choose another --out",
        )
    if file.is_file() and load_settings(BenchmarkConfig, file).name != config.name:
        raise PlaceError(
            "holds another benchmark", code="PL-R032", file=out, fix="choose another --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(file, dump_settings(config).encode())


def _draw_phantoms(config: BenchmarkConfig, out: Path) -> None:
    """The phantoms, once, whoever comes first."""
    settings, folder = config.phantom, out / PHANTOM_FOLDER
    if settings is None:
        return
    settings_file = folder / "settings.yaml"
    with _file_lock(out / ".drawing"):
        if folder.exists():
            if settings_file.read_text("utf-8") != dump_settings(settings):
                raise PlaceError(
                    "other phantoms lie there",
                    code="PL-R032",
                    file=folder,
                    fix="choose another --out",
                )
            return
        unfinished = out / f".{PHANTOM_FOLDER}.part"
        _log.info("drawing %d phantom studies", settings.studies)
        write_phantom(unfinished, settings.studies, settings.size, settings.seed)
        (unfinished / settings_file.name).write_text(dump_settings(settings), "utf-8")
        unfinished.rename(folder)


@contextmanager
def _file_lock(lock: Path) -> Iterator[None]:
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run_workers(
    config: BenchmarkConfig, out: Path, workers: int, gpus: int, device: str
) -> list[str]:
    """Rows that failed. A row that another command works on is looked at again until it is done."""
    waiting = [
        job
        for job in worker_jobs(config)
        if any(
            missing_sites(config, out, job, planned_cell)
            for planned_cell in planned_cells(config, job.slug)
        )
    ]
    running: dict[int, tuple[WorkerJob, subprocess.Popen[bytes]]] = {}
    failed: list[str] = []
    last_done, counted_at = -1, -_COUNT_SECONDS
    try:
        while waiting or running:
            for slot in range(workers):
                if slot not in running and waiting:
                    running[slot] = (
                        waiting[0],
                        _start_worker(out, waiting.pop(0), slot, workers, gpus, device),
                    )
            time.sleep(_POLL_SECONDS)
            for slot, (job, process) in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[slot]
                if code == BUSY_EXIT_CODE:
                    waiting.append(job)
                elif code:
                    _log.warning(
                        "%s failed: %s; see %s",
                        job.name,
                        _failure_reason(worker_log(out, job)),
                        worker_log(out, job),
                    )
                    failed.append(job.name)
            if time.monotonic() - counted_at < _COUNT_SECONDS and (waiting or running):
                continue
            counted_at = time.monotonic()
            done, total = count_cells(config, out)
            if done != last_done:
                last_done, left = done, seconds_left(config, out, workers)
                _log.info(
                    "%d of %d cells%s",
                    done,
                    total,
                    f", about {format_duration(left)} left" if left else "",
                )
    finally:
        for _, process in running.values():
            process.terminate()  # it saves, and the next command goes on
        for _, process in running.values():
            process.wait()
    return failed


def _start_worker(
    out: Path, job: WorkerJob, slot: int, workers: int, gpus: int, device: str
) -> subprocess.Popen[bytes]:
    worker_log(out, job).parent.mkdir(exist_ok=True)
    environ = {
        "OMP_NUM_THREADS": str(max(1, available_cores() // workers)),
        **os.environ,
    }  # what the user says comes first
    if gpus > 1:
        visible = environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        environ["CUDA_VISIBLE_DEVICES"] = visible[slot % gpus]
    arguments = [sys.executable, "-m", WORKER_MODULE, str(out), job.slug, str(job.seed), device]
    with worker_log(out, job).open("ab") as log:
        return subprocess.Popen(arguments, env=environ, stdout=log, stderr=log)  # noqa: S603


def _failure_reason(log: Path) -> str:
    """The refusal that a worker's log ends with."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    refusal = re.search(r"error\[PL-.*", lines[-1]) if lines else None
    return refusal[0] if refusal else "a crash"


def worker_log(out: Path, job: WorkerJob) -> Path:
    """What the worker of a row said."""
    return out / LOG_FOLDER / f"{job.name}.log"


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()
