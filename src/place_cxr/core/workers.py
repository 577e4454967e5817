"""Work on many files, chunk by chunk, in several processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from place_cxr.core.errors import PlaceError

_R = TypeVar("_R")

CHUNK_SIZE = 16  # files a worker handles between two reports of progress
MAX_INLINE_ITEMS = 128  # up to so many files are handled here: starting processes takes longer


def map_in_chunks(
    work: Callable[..., _R], items: Sequence[Any], workers: int = 0, common: tuple[Any, ...] = ()
) -> Iterator[tuple[int, _R]]:
    """Yield (first position, ``work(first, items[first : first + CHUNK_SIZE], *common)``) as chunks
    are done, in any order.

    ``workers`` 0: one for each core that this process may use, but no process for up to
    ``MAX_INLINE_ITEMS`` items. ``work`` is a function of a module, so that it can be sent to a
    process. Raises PL-D402 when a process dies, PL-E013 when none could start, and what ``work``
    raises.
    """
    refuse_if_spawned()
    starts = range(0, len(items), CHUNK_SIZE)
    workers = workers or (available_cores() if len(items) > MAX_INLINE_ITEMS else 1)
    if workers == 1:
        for start in starts:
            yield start, work(start, items[start : start + CHUNK_SIZE], *common)
        return

    # Spawned, not forked: this process may hold threads and a device.
    spawn = multiprocessing.get_context("spawn")
    started = spawn.Event()

    pool = ProcessPoolExecutor(
        min(workers, len(starts)), spawn, initializer=_init_worker, initargs=(started,)
    )
    waiting: dict[Future[_R], int] = {}
    try:
        for start in starts:
            waiting[pool.submit(work, start, items[start : start + CHUNK_SIZE], *common)] = start
        for future in as_completed(list(waiting)):
            result = future.result()
            yield waiting.pop(future), result
    except BrokenProcessPool:
        if not started.is_set():
            raise _unguarded_main_error() from None

        problem = (
            f"a worker process died near rows {min(waiting.values(), default=0)} and following"
        )
        raise PlaceError(
            problem, code="PL-D402", fix="use fewer workers, or look for a damaged file there"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def refuse_if_spawned() -> None:
    """PL-E013 in a process that is still being started.

    Every process that a script starts runs the script again, unless its calls stand under
    ``if __name__ == "__main__":``. There, a call would overwrite the files of the first process, or
    wait for its locks for ever.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # This process ends here; the traceback would hide the message.
        sys.tracebacklimit = 0
        raise _unguarded_main_error()


def _unguarded_main_error() -> PlaceError:
    problem = (
        "worker processes end before they begin, because each runs the program's own file from its "
        "start"
    )
    return PlaceError(
        problem, code="PL-E013", fix='put the calls of that file under: if __name__ == "__main__":'
    )


def _init_worker(started: Event) -> None:
    started.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    die_with_parent()


def die_with_parent() -> None:
    """End this process when its parent ends: a worker of a killed parent would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with_parent, args=(parent.sentinel,), daemon=True).start()


def available_cores() -> int:
    """Cores that this process may use; all of the machine where the system does not limit them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _exit_with_parent(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
