"""Folders of arrays that are complete or absent: one process builds a folder, others wait for it.

A folder is built under a hidden name, flushed, and renamed. The builder holds a file lock, which
the system drops with the process: whoever gets the lock of an unfinished folder knows that no
process works on it. Everything is private to the user (0700, 0600). Names are salted, so that they
do not tell which data lie in the folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import (
    PRIVATE_MODE,
    atomic_file,
    create_private_file,
    remove_orphans,
    sync_path,
)
from place_cxr.core.locks import hold_if_free, hold_lock
from place_cxr.core.workers import refuse_if_spawned

_log = logging.getLogger(__name__)
_SCHEMA = 1
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NamedArrays = dict[str, NDArray[Any]]


def build_once(root: Path, name: str, build: Callable[[Path], None]) -> Path:
    """The folder ``root/name``; where it is not complete, ``build`` fills a new one first, while
    other processes wait.

    What ``build`` raises is passed on, and nothing of the folder is left. Raises PL-E002 when the
    disk is full, PL-E010 where the file system has no locks.
    """
    final, unfinished = root / name, root / f".{name}.building"
    if not is_folder_complete(final):
        with _building_lock(root / f".{name}.lock"):
            _remove_unfinished(root)
            # Again: another process may have built it while we waited.
            if not is_folder_complete(final):
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir(mode=0o700)
                try:
                    build(unfinished)
                    for file in unfinished.iterdir():
                        sync_path(file)

                    sync_path(unfinished)

                    # Every byte is on the disk before the name appears.
                    shutil.rmtree(final, ignore_errors=True)  # an incomplete one
                    os.rename(unfinished, final)
                    sync_path(root)
                except BaseException as error:
                    shutil.rmtree(unfinished, ignore_errors=True)
                    if isinstance(error, OSError) and error.errno in _FULL:
                        problem = f"writing a pack failed ({error.strerror}); nothing of it is kept"
                        raise PlaceError(
                            problem, code="PL-E002", file=root, fix="free space, or set PLACE_CACHE"
                        ) from None

                    raise

    return final


def salted_hash(root: Path, parts: Iterable[bytes]) -> str:
    """16 hex digits for the parts: always the same in this ``root``, unrelated in another one."""
    salt = root / ".salt"
    with _building_lock(root / ".salt.lock"):
        if not salt.exists():
            remove_orphans(root)
            with atomic_file(salt, PRIVATE_MODE) as file:
                file.write(os.urandom(32))

    digest = hashlib.blake2b(key=salt.read_bytes(), digest_size=8)
    for part in parts:
        # With the length in front, ("ab", "c") and ("a", "bc") differ.
        digest.update(len(part).to_bytes(8, "little") + part)

    return digest.hexdigest()


def write_arrays(
    folder: Path, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]
) -> None:
    """Write arrays as raw bytes, then their shapes and ``numbers`` (JSON values) as ``meta.json``.

    With ``meta.json`` the folder is complete. A file that exists already is taken as the bytes of
    its array.
    """
    array_specs = {}
    for name, array in arrays.items():
        array_specs[name] = {"dtype": array.dtype.str, "shape": list(array.shape)}
        if not (folder / name).exists():
            with create_private_file(folder / name) as file:
                file.write(np.ascontiguousarray(array).data)

    with create_private_file(folder / "meta.json") as file:
        file.write(
            json.dumps(
                {"schema": _SCHEMA, "arrays": array_specs, "numbers": dict(numbers)}, default=int
            ).encode()
        )


def open_arrays(folder: Path) -> tuple[NamedArrays, dict[str, Any]]:
    """Read what ``write_arrays`` wrote: the arrays as read-only memory maps, and the numbers."""
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    arrays: NamedArrays = {
        name: np.memmap(
            folder / name, dtype=np.dtype(item["dtype"]), mode="r", shape=tuple(item["shape"])
        )
        for name, item in meta["arrays"].items()
    }

    return arrays, meta["numbers"]


def is_folder_complete(folder: Path) -> bool:
    """Whether every file of the folder exists with its size. Contents are not checked."""
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        return meta["schema"] == _SCHEMA and all(
            (folder / name).stat().st_size
            == np.dtype(item["dtype"]).itemsize * int(np.prod(item["shape"]))
            for name, item in meta["arrays"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _building_lock(path: Path) -> Iterator[None]:
    """Hold the lock of something that is built once, waiting for whoever builds it now."""
    refuse_if_spawned()
    with hold_if_free(path, PRIVATE_MODE) as free:
        if free:
            yield
            return

    _log.info("waiting for another process that builds the same pack")
    with hold_lock(path, PRIVATE_MODE):
        yield


def _remove_unfinished(root: Path) -> None:
    """Remove unfinished folders whose builder is gone."""
    for unfinished in root.glob(".*.building"):
        with hold_if_free(unfinished.with_suffix(".lock"), PRIVATE_MODE) as free:
            if free:
                shutil.rmtree(unfinished, ignore_errors=True)
                _log.info("removed an unfinished pack: %s", unfinished.name)
