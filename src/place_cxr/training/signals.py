"""Signals that ask a training to save and stop, or to stop before it began."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

# 128 + the signal's number, as a shell reports it. Schedulers send SIGUSR1 as a warning before the
# time limit; a terminal that is closed sends SIGHUP. The run then ends as after SIGTERM.
_EXIT_CODES = {
    signal.SIGINT: 130,
    signal.SIGTERM: 143,
    signal.SIGUSR1: 143,
    signal.SIGHUP: 143,
}


@dataclass(slots=True)
class StopRequest:
    """The exit code to stop with; 0 as long as no signal came."""

    code: int = 0


@contextlib.contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Record the first SIGINT, SIGTERM, SIGUSR1 or SIGHUP; the second one ends the process at once.

    SIGHUP stays ignored where it was, as under ``nohup``. Ending at once does no harm: whatever is
    being saved has a temporary name. The earlier handlers are restored afterwards. Outside the main
    thread Python allows no handlers, so none are set.
    """
    stop_request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop_request.code:
            os._exit(_EXIT_CODES[signal.Signals(number)])
        stop_request.code = _EXIT_CODES[signal.Signals(number)]

    with _handling(list(_EXIT_CODES), handle):
        yield stop_request


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Raise `SystemExit` at SIGTERM, SIGUSR1 or SIGHUP, so that open files and folders are closed.

    Without it, Python ends at once. For SIGINT it raises `KeyboardInterrupt` already.
    """
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a forked process owns nothing that is open here
            os._exit(_EXIT_CODES[signal.Signals(number)])
        raise SystemExit(_EXIT_CODES[signal.Signals(number)])

    with _handling([number for number in _EXIT_CODES if number != signal.SIGINT], handle):
        yield


@contextlib.contextmanager
def _handling(
    numbers: Sequence[signal.Signals], handle: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = {}
    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handle)

    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
