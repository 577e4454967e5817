"""Work on many files in several processes, chunk by chunk, which end when their parent does."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from place_cxr.errors import PlaceError

R = TypeVar("R")

CHUNK = 16  # files a worker handles between two reports of progress
SMALL = 128  # up to so many files are handled here: starting processes takes longer


def in_chunks(
    work: Callable[..., R], items: Sequence[Any], workers: int = 0, common: tuple[Any, ...] = ()
) -> Iterator[tuple[int, R]]:
    """(first position, ``work(first, items[first : first + CHUNK], *common)``) as chunks are done, in any order.

    ``workers`` 0: one for each core that this process may use, and none beside it for up to SMALL items. ``work`` is a
    function of a module. Raises PL-D402 when a process dies, and whatever ``work`` raises.
    """
    starts = range(0, len(items), CHUNK)
    workers = workers or (cores() if len(items) > SMALL else 1)
    if workers == 1:
        for start in starts:
            yield start, work(start, items[start : start + CHUNK], *common)
        return
    # Spawned, not forked: this process may hold threads and a device.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(starts)), spawn, initializer=die_with_parent)
    waiting: dict[Future[R], int] = {}
    try:
        for start in starts:
            waiting[pool.submit(work, start, items[start : start + CHUNK], *common)] = start
        for future in as_completed(list(waiting)):
            result = future.result()
            yield waiting.pop(future), result
    except BrokenProcessPool:
        problem = f"a decoding process died near rows {min(waiting.values(), default=0)} and following"
        raise PlaceError(problem, code="PL-D402", fix="use fewer workers, or look for a damaged file there") from None
    finally:
        pool.shutdown(cancel_futures=True)


def die_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def cores() -> int:
    """Cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
