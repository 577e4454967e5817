"""Saving beside the training: the loop pays only for the copy to main memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Saver:
    """Runs one function at a time in a thread; what it raises is raised in the training thread.

    A program that ends early still waits for the file: Python joins the threads of executors
    before it exits.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="place-save")
        self._save: Future[object] | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Begin ``work`` once the work before it is done; raises what that raised."""
        self.wait()
        self._save = self._executor.submit(work)

    def check(self) -> None:
        """Raise what a finished work raised; do not wait for a running one."""
        if self._save is not None and self._save.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the work, and raise what it raised, once."""
        save, self._save = self._save, None
        if save is not None:
            save.result()

    def join(self) -> None:
        """Wait for the work and end the thread; raise nothing."""
        self._executor.shutdown()
