"""``python -m place_cxr.cli.worker OUT SLUG SEED DEVICE``: one job of a benchmark."""

from __future__ import annotations

import sys
from pathlib import Path

from place_cxr.benchmark.plan import BenchmarkConfig, WorkerJob
from place_cxr.benchmark.worker import BUSY_EXIT_CODE, CONFIG_FILE, run_worker
from place_cxr.cli.console import log_to_stderr, run_guarded
from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import load_settings


def _run_unless_busy(out: Path, job: WorkerJob, device: str) -> None:
    try:
        run_worker(load_settings(BenchmarkConfig, out / CONFIG_FILE), out, job, device)
    except PlaceError as error:
        # The benchmark tries the job again later.
        if error.code == "PL-R001":
            raise SystemExit(BUSY_EXIT_CODE) from None
        raise


def main() -> None:
    """Run a job; exit code 75 where another process works on it."""
    out, slug, seed, device = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    log_to_stderr()
    run_guarded(lambda: _run_unless_busy(out, WorkerJob(slug, seed), device), debug=True)


if __name__ == "__main__":
    main()
