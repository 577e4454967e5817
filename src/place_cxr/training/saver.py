"""One save at a time, beside the training: the loop pays for the copy to main memory only."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Saver:
    """Runs a function in a thread; the next call, or `wait`, joins it and raises what it raised."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Begin ``work`` once the work before is done."""
        self.wait()
        # Not a daemon: a program that ends early still waits for the file.
        self._thread = threading.Thread(target=self._run, args=(work,), name="place-save")
        self._thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # handed to the thread that trains, which must not miss it
            self._error = error

    def check(self) -> None:
        """Raise what a finished work raised; do not wait for a running one."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def join(self) -> None:
        """Wait for the work; raise nothing."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wait(self) -> None:
        """Wait for the work, and raise what it raised."""
        self.join()
        self.check()
