"""Locks between processes. The system drops a lock with the process that holds it, however it ends.

A lock is a file, made where it does not exist, which stays: a process that waits for a removed file
and one that makes it anew would both get the lock. ``mode`` is that of a new file; -1 leaves it to
the umask.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from place_cxr.core.errors import PlaceError

# What flock answers on file systems that have no locks (some network and FUSE mounts).
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


def try_lock(path: Path, mode: int = -1) -> FileLock | None:
    """The lock of the file ``path``, held until its ``release``; None where another holds it.

    Raises OSError where the file cannot be opened or locked.
    """
    lock = _file_lock(path, mode)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None

    return lock


@contextmanager
def hold_if_free(path: Path, mode: int = -1) -> Iterator[bool]:
    """Whether nobody held the lock; this process then holds it until the end of the block.

    Raises PL-E010 where the file system has no locks, OSError where the file cannot be opened.
    """
    with _refuse_without_locks(path):
        lock = try_lock(path, mode)

    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def hold_lock(path: Path, mode: int = -1) -> Iterator[None]:
    """Wait for the lock and hold it until the end of the block. Raises as ``hold_if_free``."""
    lock = _file_lock(path, mode)
    with _refuse_without_locks(path):
        lock.acquire()

    try:
        yield
    finally:
        lock.release()


def _file_lock(path: Path, mode: int) -> FileLock:
    # fallback_to_soft would take a file that merely exists for a lock: it outlives its process.
    # thread_local=False: the thread that releases a lock need not be the one that took it.
    return FileLock(path, mode=mode, thread_local=False, fallback_to_soft=False)


@contextmanager
def _refuse_without_locks(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise

        raise PlaceError(
            f"this file system has no file locks ({error.strerror})",
            code="PL-E010",
            file=path.parent,
            fix="use a folder on a local disk (for the cache: PLACE_CACHE)",
        ) from None
