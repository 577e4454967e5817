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
    """The exit code that a signal asks for; 0 while none came."""

    code: int = 0


@contextlib.contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Note SIGINT, SIGTERM and SIGUSR1 instead of dying of them; the second one ends the process at
    once.

    Ending at once harms nothing: whatever is being saved has a temporary name. Handlers are put
    back afterwards, and left alone outside the main thread, where Python allows none.
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
