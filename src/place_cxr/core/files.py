"""Files that are complete or absent, whatever kills the process; the removal of what it left; and
files that only this user may read.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from place_cxr.core.errors import PlaceError

PRIVATE_MODE = 0o600  # of a file that only this user may read
_TEMP = ".place-tmp"  # prefix of the names that `remove_orphans` may remove
# Tags of a temporary name: moved aside by a save, and about to be removed.
OLD_TAG, GONE_TAG = "old", "gone"
_STRANGER_LIMIT = 64 << 20  # bytes of a file that is read as a whole
_MAX_DIGITS = 19  # of an integer: sign and 18 digits always fit 64 bits
_TEMP_AGE = 3600.0  # seconds after which a temporary file is an orphan whoever owns it
_log = logging.getLogger(__name__)


def crashpoint(name: str) -> None:
    """End the process here as if killed, where a test has set ``PLACE_CRASH_AT`` to ``name``."""
    if os.environ.get("PLACE_CRASH_AT") == name:
        os._exit(137)


def sync_path(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk, where the file system can do it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def temporary_path(target: Path, tag: str = "new") -> Path:
    """A name beside ``target`` that says which process of which host owns it: `remove_orphans`
    reads it.
    """
    parts = [_TEMP, socket.gethostname(), str(os.getpid()), tag, target.name]
    return target.with_name("@".join(parts))


@contextmanager
def atomic_file(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A new file, open for writing bytes, that takes the place of ``path`` when the block ends.

    ``path`` holds either what it held before or all that was written, even if the power goes.
    ``mode`` is that of the new file, less what the umask takes away. Raises OSError.
    """
    temp = temporary_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)

    try:
        with _create(temp, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

        crashpoint(f"written {path.name}")
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise

    sync_path(path.parent)


def write_atomic(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write ``content`` as ``atomic_file`` does. Raises OSError."""
    with atomic_file(path, mode) as file:
        _write_in_halves(file, content, path.name)


def write_synced(path: Path, content: bytes) -> None:
    """Write and flush to the disk. Raises OSError."""
    # A Python file object keeps the errno of a full disk, which torch and safetensors lose.
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        _write_in_halves(file, content, path.name)
        file.flush()
        os.fsync(file.fileno())

    crashpoint(f"written {path.name}")


def _write_in_halves(file: IO[bytes], content: bytes, name: str) -> None:
    """Write, with a point between the halves at which a test may end the process."""
    half = len(content) // 2
    file.write(content[:half])
    crashpoint(f"write {name}")
    file.write(content[half:])


def create_private_file(path: Path) -> IO[bytes]:
    """An empty file, open for writing bytes, that only this user may read."""
    return _create(path, PRIVATE_MODE)


def create_private_text_file(path: Path) -> TextIO:
    """An empty UTF-8 file, open for writing text, that only this user may read."""
    return io.TextIOWrapper(create_private_file(path), encoding="utf-8", newline="")


def _create(path: Path, mode: int) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode), "wb")


def make_private_folder(path: Path) -> Path:
    """``path``, made for this user alone where it did not exist. Raises PL-E011 when it cannot be
    made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlaceError(
            f"cannot make this folder ({error.strerror})",
            code="PL-E011",
            file=path,
            fix="set PLACE_CACHE",
        ) from None

    return path


def sha256_of(path: str | Path) -> str:
    """A file's SHA-256 in hex, empty where it cannot be read. A FIFO or device is never opened."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


def remove_orphans(folder: Path) -> int:
    """Remove what killed processes left in a folder and its ``checkpoints``; returns how many.

    Only names of our own prefix are removed, if their process is dead (on this host) or if they are
    older than an hour. The caller holds the lock of the folder. A checkpoint that was moved aside
    by a save that died before the new one was in place is moved back.
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

    # Our own number, but not our file, as we are only starting: in a container every start has the
    # same process number.
    if process == os.getpid():
        return True

    try:
        os.kill(process, 0)  # signal 0 only asks whether the process exists
    except ProcessLookupError:
        return True
    except PermissionError:  # it exists, and belongs to another user
        return False

    return False


def read_bytes_of_stranger(path: Path, limit: int = _STRANGER_LIMIT) -> bytes:
    """The content of a regular file of at most ``limit`` bytes.

    Neither a link (it could lead to any file of this machine) nor a FIFO or device is opened.
    Raises OSError, and ValueError for a file that is not of this kind.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    if status.st_size > limit:
        raise ValueError("too large for what it should hold")

    return path.read_bytes()


def read_text_of_stranger(path: Path, *, errors: str = "strict") -> str:
    """UTF-8 text, as ``read_bytes_of_stranger``."""
    return read_bytes_of_stranger(path).decode("utf-8", errors)


def read_json_of_stranger(text: str | bytes) -> Any:
    """The value of a JSON text whose integers fit 64 bits. Raises ValueError, also where it is
    nested too deeply.
    """
    try:
        return json.loads(text, parse_int=_parse_int)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _parse_int(text: str) -> int:
    # Longer ones cannot become floats, arrays or indices.
    if len(text) > _MAX_DIGITS:
        raise ValueError("an integer of too many digits")
    return int(text)
