"""Files that are there wholly or not at all, whatever kills the process, and the sweeping of what
it left.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import time
from pathlib import Path

_TEMP = ".place-tmp"  # everything that starts so is ours to sweep
OLD_TAG, GONE_TAG = (
    "old",
    "gone",
)  # tags of a temporary name: moved aside by a save; about to be removed
_TEMP_AGE = 3600.0  # seconds after which a temporary file is an orphan whoever owns it
_log = logging.getLogger(__name__)


def crashpoint(name: str) -> None:
    """Die here as if killed, where the test that set ``PLACE_CRASH_AT`` asks for it."""
    if os.environ.get("PLACE_CRASH_AT") == name:
        os._exit(137)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk; file systems that cannot are left alone."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def temporary_path(target: Path, tag: str = "new") -> Path:
    """A name beside ``target`` that says which process of which host owns it; `remove_orphans`
    knows it.
    """
    return target.with_name(
        "@".join([_TEMP, socket.gethostname(), str(os.getpid()), tag, target.name])
    )


def write_atomic(path: Path, content: bytes) -> None:
    """``path`` holds either what it held before or all of ``content``, even if the power goes.
    Raises OSError.
    """
    temp = temporary_path(path)
    try:
        write_synced(temp, content)
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write and flush to the disk. Raises OSError."""
    # A Python file object keeps the errno of a full disk, which torch and safetensors lose.
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.rpartition("@")[2]
    with path.open("wb") as file:
        half = len(content) // 2
        file.write(content[:half])
        crashpoint(f"write {name}")
        file.write(content[half:])
        file.flush()
        os.fsync(file.fileno())
    crashpoint(f"written {name}")


def remove_orphans(folder: Path) -> int:
    """Remove what killed processes left in a run and its checkpoints: how many. Said once in the
    log.

    Only names of our own prefix whose process is dead (same host), or which are older than an hour;
    the caller holds the run's lock. A checkpoint that was moved aside by a save that died before
    putting the new one in place goes back.
    """
    removed = 0
    for path in [*folder.glob(f"{_TEMP}@*"), *(folder / "checkpoints").glob(f"{_TEMP}@*")]:
        _, host, process, tag, name = path.name.split("@", 4)
        if not _is_orphan(path, host, int(process)):
            continue
        if tag == OLD_TAG and not path.with_name(name).exists():
            path.rename(path.with_name(name))
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed += 1
    if removed:
        _log.warning(
            "%s: removed %d unfinished files of a process that was killed", folder.name, removed
        )
    return removed


def _is_orphan(path: Path, host: str, process: int) -> bool:
    if time.time() - path.stat().st_mtime > _TEMP_AGE:
        return True
    if host != socket.gethostname():
        return False
    if (
        process == os.getpid()
    ):  # not ours, who are only starting: in a container, each start has the same number
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
