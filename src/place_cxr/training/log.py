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

    ``step`` is the step a run resumes from. Later records are cut off first, because these steps
    are made anew. If the disk refuses, the record is lost and training goes on, with one warning
    per ten minutes. The next record that is written says in ``lost`` how many are missing.
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
        # JSON has no NaN and no infinity.
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

        # A new column changes the header, so the whole table is written again.
        if not set(record) <= set(self._columns):
            self._rewrite(_records(self._jsonl))
            return

        with self._csv.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(record)

    def _cut(self, step: int) -> None:
        records = [record for record in _records(self._jsonl) if record.get("step", 0) <= step]
        if self._jsonl.exists():
            lines = [json.dumps(record) + "\n" for record in records]
            write_atomic(self._jsonl, "".join(lines).encode())
            self._rewrite(records)

    def _rewrite(self, records: list[dict[str, Any]]) -> None:
        """Write the whole table again, after a new column or after a cut."""
        names: dict[str, None] = {}  # in the order in which they first appear
        for record in records:
            names.update(dict.fromkeys(record))
        self._columns = list(names)

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
    """All complete records; a line that a killed process left half written is skipped."""
    if not path.exists():
        return []

    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)

    return records


class ThroughputClock:
    """Images per second, and the fraction of time spent waiting for data."""

    def __init__(self, step: int, batch_size: int) -> None:
        self._batch = batch_size
        # A mark is (seconds of the monotonic clock, step, seconds waited so far).
        self._first = self._mark = (time.monotonic(), step, 0.0)
        self._waited = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside this context as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def lap(self, step: int) -> dict[str, float]:
        """The rates since the last call, or since the start."""
        previous, self._mark = self._mark, (time.monotonic(), step, self._waited)
        return self._rates(previous, self._mark)

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

    The bar is drawn on stderr. ``write_line`` receives the lines; by default they go to stderr.
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
        self._started = self._written = time.monotonic()
        self._text = ""
        self._show = show
        self._write_line = write_line or _print_to_stderr

        self._bar: Any = None
        if show and sys.stderr.isatty():
            self._bar = _terminal_bar()
            self._task = self._bar.add_task(label, total=total, completed=start, text="")
            self._bar.start()

    def update(self, step: int, text: str = "") -> None:
        """Show that ``step`` steps are done, and ``text`` until the next text."""
        self._text = text or self._text
        if self._bar is not None:
            self._bar.update(self._task, completed=step, text=self._text)
            return

        now = time.monotonic()
        is_last = step == self._total
        is_due = step > self._start and now - self._written >= _LINE_EVERY
        if self._show and (is_last or is_due):
            self._written = now
            # Steps of an earlier call say nothing about the rate of this one.
            left = (now - self._started) / max(1, step - self._start) * (self._total - step)
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
    if hours:
        return f"{hours}:{minutes:02d}:{whole_seconds:02d}"
    return f"{minutes}:{whole_seconds:02d}"
