"""How answers, logs and errors reach the person at the terminal: stdout, stderr, exit codes."""

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

_PACKAGE_FOLDER = str(Path(__file__).parents[1])
_log = logging.getLogger(__name__)
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def print_result(value: Any, text: str, as_json: bool) -> None:
    """A result on stdout, for a program or for a reader."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str) if as_json else text)


def check_writable(out: Path, overwrite: bool) -> None:
    """Before any work: a file is not replaced unasked, and its folder exists."""
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
    """The package's log from INFO on, as plain lines; handlers of the root logger are left alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("place_cxr")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A function ``(what, done, total)`` that shows how far each stage of a long work is.

    One bar is open at a time: the next stage closes the bar of the one before it. Without a terminal
    the lines go to the log.
    """
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
    """One bar: a function ``(done, total)``."""
    with progress_bars() as advance:
        yield partial(advance, what)


def run_guarded(command: Callable[[], object], *, debug: bool) -> None:
    """Run ``command``; leave with the exit code of its PlaceError, 3 for a full disk, 130 for
    Ctrl-C, 1 for a crash.

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
    """Three lines on the screen, the rest in a private file: the text of an error may quote what
    was read.
    """
    handle, name = tempfile.mkstemp(prefix="place-crash-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    last_frame = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(_PACKAGE_FOLDER)
    ][-1]
    typer.echo(
        f"error: unexpected {type(error).__name__} in "
        f"{Path(last_frame.filename).name}:{last_frame.lineno}",
        err=True,
    )
    typer.echo(
        f"The traceback is in {name}; before you pass it on, check that it quotes no patient.",
        err=True,
    )
    typer.echo("Run the command again with --debug to see it here.", err=True)
    raise SystemExit(1) from None
