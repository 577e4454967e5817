"""Output of the command line: results to stdout, log and errors to stderr, exit codes."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import typer

from place_cxr.core.errors import PlaceError
from place_cxr.training.log import ProgressBar

# Frames below this folder are ours: a crash names the last of them.
_PACKAGE_FOLDER = str(Path(__file__).parents[1])
_log = logging.getLogger(__name__)
# No space, quota exceeded, file too large.
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def print_result(value: Any, text: str, as_json: bool) -> None:
    """Print a result to stdout: ``value`` as JSON, or ``text``."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str) if as_json else text)


def check_writable(out: Path, overwrite: bool) -> None:
    """Before any work: raises PL-C004 where ``out`` exists, or its folder does not."""
    if out.exists() and not overwrite:
        raise PlaceError(
            "exists already", code="PL-C004", file=out, fix="take another --out, or add --overwrite"
        )

    if not out.parent.is_dir():
        raise PlaceError(
            "its folder does not exist",
            code="PL-C004",
            file=out,
            fix="make it, or take another --out",
        )


def log_to_stderr() -> None:
    """Log the package's messages from INFO on as plain lines.

    The root logger and its handlers are not changed.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("place_cxr")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A function ``(what, done, total)`` that shows the progress of each stage of a long work.

    One bar is open at a time: the next stage closes the bar of the one before it. Without a
    terminal the lines go to the log.
    """
    # At most one entry: rich before 14.1 refuses a second live display.
    bars: dict[str, ProgressBar] = {}

    def close_bars() -> None:
        for bar in bars.values():
            bar.close()
        bars.clear()

    def advance(what: str, done: int, total: int) -> None:
        if what not in bars:
            close_bars()
            bars[what] = ProgressBar(total, label=what, write_line=_log.info)

        bars[what].update(done)
        if done == total:
            close_bars()

    try:
        yield advance
    finally:
        close_bars()


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function ``(done, total)`` that draws one progress bar."""
    with progress_bars() as advance:
        yield partial(advance, what)


def run_guarded(command: Callable[[], object], *, debug: bool) -> None:
    """Run ``command`` and turn errors into messages and exit codes.

    The exit code is that of a PlaceError, 3 for a full disk, 130 for Ctrl-C and 1 for a crash.
    ``debug`` shows whole tracebacks.
    """
    try:
        command()
    except PlaceError as error:
        if debug:
            traceback.print_exception(error)
        else:
            typer.echo(str(error), err=True)

        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        # A full disk can be met anywhere, so it is not a PlaceError yet.
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            disk_full = PlaceError(
                "no space left",
                code="PL-E001",
                file=error.filename or "",
                fix="free some and run it again",
            )
            typer.echo(str(disk_full), err=True)

            raise SystemExit(3) from None

        if debug:
            raise
        _report_crash(error)


def _report_crash(error: Exception) -> NoReturn:
    """Print three lines; the traceback goes to a private file, as it may quote patient data."""
    # Created by mkstemp: readable by the user alone.
    handle, name = tempfile.mkstemp(prefix="place-crash-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        traceback.print_exception(error, file=file)

    frames = traceback.extract_tb(error.__traceback__)
    last_frame = [frame for frame in frames if frame.filename.startswith(_PACKAGE_FOLDER)][-1]
    where = f"{Path(last_frame.filename).name}:{last_frame.lineno}"
    typer.echo(f"error: unexpected {type(error).__name__} in {where}", err=True)
    typer.echo(
        f"The traceback is in {name}; before you pass it on, check that it quotes no patient.",
        err=True,
    )

    typer.echo("Run the command again with --debug to see it here.", err=True)
    raise SystemExit(1) from None
