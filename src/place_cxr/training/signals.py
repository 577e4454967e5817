"""Signals that ask a training to save and stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

# 128 + the signal's number, as a shell reports it. Schedulers send SIGUSR1 as a warning before the
# time limit; the run then ends as after SIGTERM.
_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


@dataclass(slots=True)
class StopRequest:
    """The exit code to stop with; 0 as long as no signal came."""

    code: int = 0


@contextlib.contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Record the first SIGINT, SIGTERM or SIGUSR1; the second one ends the process at once.

    Ending at once does no harm: whatever is being saved has a temporary name. The earlier handlers
    are restored afterwards. Outside the main thread Python allows no handlers, so none are set.
    """
    stop_request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop_request.code:
            os._exit(_EXIT_CODES[signal.Signals(number)])
        stop_request.code = _EXIT_CODES[signal.Signals(number)]

    if threading.current_thread() is not threading.main_thread():
        yield stop_request
        return

    before = {number: signal.signal(number, handle) for number in _EXIT_CODES}
    try:
        yield stop_request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
