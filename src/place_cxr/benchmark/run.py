"""Run a benchmark: draw the phantoms, start workers, log the time left, write the tables."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
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
from place_cxr.benchmark.worker import BUSY_EXIT_CODE, CONFIG_FILE, missing_cells, planned_key
from place_cxr.core.errors import PlaceError
from place_cxr.core.files import write_atomic
from place_cxr.core.locks import hold_lock
from place_cxr.core.settings import dump_settings, load_settings
from place_cxr.core.workers import available_cores, refuse_if_spawned
from place_cxr.phantom.write import write_phantom
from place_cxr.training.log import format_duration

LOG_FOLDER = "logs"  # one file for each job
WORKER_MODULE = "place_cxr.cli.worker"  # runs in the process of a job
# Seconds between two checks of the processes, and between two counts of the cells on disk.
_POLL_SECONDS, _COUNT_SECONDS = 1.0, 15.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BenchmarkOutcome:
    """The state of a benchmark at the end of a run."""

    page: Path
    cells: int
    of: int
    failed: tuple[str, ...]  # jobs that ended with an error; the reason is in their log


def run_benchmark(
    recipe: str, overrides: Sequence[str] = (), *, out: Path, workers: int = 0, device: str = "auto"
) -> BenchmarkOutcome:
    """Fill the missing cells of ``out`` and write its tables.

    ``workers`` processes on this machine (0: one for each GPU, else one for each core, at most
    eight) take one job after the other: a method with a seed. The same command may run on other
    machines that share the folder. Finished cells are kept, so a stopped benchmark continues.

    Raises PlaceError PL-R032 where ``out`` holds another benchmark, PL-R004 where it holds other
    files, and as `load_benchmark` and `check_paths`.
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
    """Write the tables again from the finished cells.

    Raises PlaceError PL-R032 where ``out`` holds no benchmark.
    """
    if not (out / CONFIG_FILE).is_file():
        raise PlaceError(
            "holds no benchmark", code="PL-R032", file=out, fix="name the --out of a benchmark"
        )

    config = load_settings(BenchmarkConfig, out / CONFIG_FILE)
    done, total = count_cells(config, out)
    return BenchmarkOutcome(write_results(config, out), done, total, ())


def count_cells(config: BenchmarkConfig, out: Path) -> tuple[int, int]:
    """(finished cells, planned cells); a cell is finished when all its sites are."""
    done = total = 0
    for job in worker_jobs(config):
        planned_count = sum(1 for _ in planned_cells(config, job.slug))
        total += planned_count
        done += planned_count - len(missing_cells(config, out, job))

    return done, total


def seconds_left(config: BenchmarkConfig, out: Path, workers: int) -> float | None:
    """Estimated seconds until the end, from the mean time of finished work of the same kind.

    Work of a kind that was not yet done counts as the mean over kinds. None before any is finished.
    """
    # Kinds: ("train", method) and (task, source, fraction). A cell counts for all its sites.
    seconds_by_kind: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for cell in read_cells(out):
        cell_key = cell.key
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
        missing = missing_cells(config, out, job)
        kinds: list[tuple[str, ...]] = []

        for planned_cell in missing:
            key = planned_key(config, job, planned_cell, ALL_SITES)
            kinds.append((key.task, key.source, f"{key.fraction:g}"))

        pretrains = method.trained and not method.run
        if missing and pretrains and PretrainingCost.read(out / job.name) is None:
            kinds.append(("train", job.slug))

        for kind in kinds:
            left += fmean(seconds_by_kind[kind]) if kind in seconds_by_kind else typical

    return left / max(1, workers)


def _claim_folder(config: BenchmarkConfig, out: Path) -> None:
    """Write the settings into the folder, unless it holds something else."""
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
    """Draw the phantoms once; the first process does, and others wait for it."""
    settings, folder = config.phantom, out / PHANTOM_FOLDER
    if settings is None:
        return
    settings_file = folder / "settings.yaml"

    with hold_lock(out / ".drawing"):
        if folder.exists():
            if settings_file.read_text("utf-8") != dump_settings(settings):
                raise PlaceError(
                    "other phantoms lie there",
                    code="PL-R032",
                    file=folder,
                    fix="choose another --out",
                )

            return

        # Renamed when complete: a folder of that name is never half drawn.
        unfinished = out / f".{PHANTOM_FOLDER}.part"
        _log.info("drawing %d phantom studies", settings.studies)
        write_phantom(unfinished, settings.studies, settings.size, settings.seed)
        (unfinished / settings_file.name).write_text(dump_settings(settings), "utf-8")
        unfinished.rename(folder)


def _run_workers(
    config: BenchmarkConfig, out: Path, workers: int, gpus: int, device: str
) -> list[str]:
    """Run all jobs; returns the names of those that failed.

    A job that another command works on is tried again until it is finished.
    """
    waiting = [job for job in worker_jobs(config) if missing_cells(config, out, job)]
    # slot (0 <= slot < workers) -> its job and process; the slot decides the GPU
    running: dict[int, tuple[WorkerJob, subprocess.Popen[bytes]]] = {}
    failed: list[str] = []
    last_done, counted_at = -1, -_COUNT_SECONDS

    try:
        while waiting or running:
            for slot in range(workers):
                if slot not in running and waiting:
                    job = waiting.pop(0)
                    process = _start_worker(out, job, slot, workers, gpus, device)
                    running[slot] = job, process

            time.sleep(_POLL_SECONDS)
            for slot, (job, process) in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[slot]

                if code == BUSY_EXIT_CODE:
                    waiting.append(job)
                elif code:
                    log = worker_log(out, job)
                    _log.warning("%s failed: %s; see %s", job.name, _failure_reason(log), log)
                    failed.append(job.name)

            if time.monotonic() - counted_at < _COUNT_SECONDS and (waiting or running):
                continue
            counted_at = time.monotonic()
            done, total = count_cells(config, out)

            if done != last_done:
                last_done, left = done, seconds_left(config, out, workers)
                left_text = f", about {format_duration(left)} left" if left else ""
                _log.info("%d of %d cells%s", done, total, left_text)
    finally:
        for _, process in running.values():
            process.terminate()  # it saves, and the next command continues
        for _, process in running.values():
            process.wait()

    return failed


def _start_worker(
    out: Path, job: WorkerJob, slot: int, workers: int, gpus: int, device: str
) -> subprocess.Popen[bytes]:
    worker_log(out, job).parent.mkdir(exist_ok=True)
    # Cores are divided among the workers, unless the user set the variable.
    threads = str(max(1, available_cores() // workers))
    environ = {"OMP_NUM_THREADS": threads, **os.environ}
    if gpus > 1:
        visible = environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        environ["CUDA_VISIBLE_DEVICES"] = visible[slot % gpus]

    arguments = [sys.executable, "-m", WORKER_MODULE, str(out), job.slug, str(job.seed), device]
    with worker_log(out, job).open("ab") as log:
        return subprocess.Popen(arguments, env=environ, stdout=log, stderr=log)  # noqa: S603


def _failure_reason(log: Path) -> str:
    """The error message at the end of a worker's log."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    refusal = re.search(r"error\[PL-.*", lines[-1]) if lines else None
    return refusal[0] if refusal else "a crash"


def worker_log(out: Path, job: WorkerJob) -> Path:
    """The log file of a job."""
    return out / LOG_FOLDER / f"{job.name}.log"


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()
