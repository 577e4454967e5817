"""The log of a run: metrics.jsonl and metrics.csv for programs, a progress bar for people."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from place_cxr.core.files import write_atomic

_log = logging.getLogger(__name__)
_WARN_EVERY = 600.0  # seconds between two warnings about the same failing file
_LINE_EVERY = 10.0  # seconds between two progress lines where there is no terminal


class MetricsLog:
    """Appends one record per call to ``metrics.jsonl`` and ``metrics.csv``.

    ``step`` is the step a run resumes from: later records, of a course that was left, are cut off
    first. A disk that refuses costs the record and one warning per ten minutes, never the training;
    the next record that gets through says in ``lost`` how many are missing.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        self._jsonl, self._csv = folder / "metrics.jsonl", folder / "metrics.csv"
        self._columns: list[str] = []
        self._lost = 0
        self._warned = -math.inf
        try:
            self._cut(step)
        except OSError as error:
            self._warn(error)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record of numbers and short text; numbers that are not finite become null."""
        clean = {name: None if _is_not_finite(value) else value for name, value in record.items()}
        if self._lost:
            clean["lost"] = self._lost
        try:
            self._append(clean)
        except OSError as error:
            self._lost += 1
            self._warn(error)
        else:
            self._lost = 0

    def _append(self, record: dict[str, Any]) -> None:
        with self._jsonl.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if not set(record) <= set(self._columns):
            self._rewrite(_records(self._jsonl))
            return
        with self._csv.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(record)

    def _cut(self, step: int) -> None:
        records = [r for r in _records(self._jsonl) if r.get("step", 0) <= step]
        if self._jsonl.exists():
            write_atomic(self._jsonl, "".join(json.dumps(r) + "\n" for r in records).encode())
            self._rewrite(records)

    def _rewrite(self, records: list[dict[str, Any]]) -> None:
        """The whole table again, because a column came or lines went."""
        self._columns = list(dict.fromkeys(name for record in records for name in record))
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, self._columns)
        table.writeheader()
        table.writerows(records)
        write_atomic(self._csv, text.getvalue().encode())

    def _warn(self, error: OSError) -> None:
        if time.monotonic() - self._warned >= _WARN_EVERY:
            self._warned = time.monotonic()
            _log.warning(
                "metrics cannot be written (%s); training goes on",
                error.strerror or type(error).__name__,
            )


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _records(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a line that a dying process left half written is skipped."""
    records = []
    for line in (
        path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    ):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


class ThroughputClock:
    """Rates of training by the monotonic clock: images per second, and the share of time spent
    waiting for data.
    """

    def __init__(self, step: int, batch_size: int) -> None:
        self._batch = batch_size
        self._first = self._mark = (time.monotonic(), step, 0.0)
        self._waited = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent in here is waiting for data."""
        begun = time.monotonic()
        yield
        self._waited += time.monotonic() - begun

    def lap(self, step: int) -> dict[str, float]:
        """The rates since the last lap."""
        mark, self._mark = self._mark, (time.monotonic(), step, self._waited)
        return self._rates(mark, self._mark)

    def total(self, step: int) -> dict[str, float]:
        """The rates since the start, and ``seconds``."""
        now = (time.monotonic(), step, self._waited)
        return self._rates(self._first, now) | {"seconds": now[0] - self._first[0]}

    def _rates(
        self, start: tuple[float, int, float], end: tuple[float, int, float]
    ) -> dict[str, float]:
        seconds = max(end[0] - start[0], 1e-9)
        images = (end[1] - start[1]) * self._batch
        return {"images_per_s": images / seconds, "data_wait": (end[2] - start[2]) / seconds}


class ProgressBar:
    """A bar with the time left on a terminal; elsewhere a line every ten seconds and at the end.

    The bar is drawn on stderr. ``write_line`` receives the lines; the default prints them to stderr.
    """

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        label: str = "training",
        show: bool = True,
        write_line: Callable[[str], None] | None = None,
    ) -> None:
        self._total, self._start, self._label = total, start, label
        self._begun = self._written = time.monotonic()
        self._text = ""
        self._show = show
        self._write_line = write_line or _print_to_stderr

        self._bar: Any = None
        if show and sys.stderr.isatty():
            self._bar = _terminal_bar()
            self._task = self._bar.add_task(label, total=total, completed=start, text="")
            self._bar.start()

    def update(self, step: int, text: str = "") -> None:
        """``step`` steps are done; ``text`` is shown until the next one."""
        self._text = text or self._text
        if self._bar is not None:
            self._bar.update(self._task, completed=step, text=self._text)
            return

        now = time.monotonic()
        is_last = step == self._total
        is_due = step > self._start and now - self._written >= _LINE_EVERY
        if self._show and (is_last or is_due):
            self._written = now
            left = (now - self._begun) / max(1, step - self._start) * (self._total - step)
            parts = [
                f"{self._label} {step}/{self._total}",
                "" if is_last else f"{format_duration(left)} left",
                self._text,
            ]
            self._write_line(", ".join(filter(None, parts)))

    def close(self) -> None:
        """Leave the bar on the terminal as it is."""
        if self._bar is not None:
            self._bar.stop()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


def _print_to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _terminal_bar() -> Any:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[text]}"),
        console=Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR"))),
    )


def format_duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02d}:{whole_seconds:02d}" if hours else f"{minutes}:{whole_seconds:02d}"
    )
