"""``python -m place_cxr.cli.worker OUT SLUG SEED DEVICE``: one row of a benchmark, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from place_cxr.benchmark.plan import BenchmarkConfig, Row
from place_cxr.benchmark.worker import BUSY, CONFIG, do_row
from place_cxr.cli.console import guarded, log_to_stderr
from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import load


def _unless_busy(out: Path, row: Row, device: str) -> None:
    try:
        do_row(load(BenchmarkConfig, out / CONFIG), out, row, device)
    except PlaceError as error:
        if error.code == "PL-R001":
            raise SystemExit(BUSY) from None
        raise


def main() -> None:
    """Fill a row; exit code 75 where another process works on it."""
    out, slug, seed, device = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    log_to_stderr()
    guarded(lambda: _unless_busy(out, Row(slug, seed), device), debug=True)


if __name__ == "__main__":
    main()
