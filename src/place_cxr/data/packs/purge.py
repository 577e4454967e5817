"""Remove the packs that runs keep in the cache folder, and nothing else that may lie there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from place_cxr.core.errors import PlaceError
from place_cxr.core.locks import hold_if_free

_PACK = r"((?:pixels|text)-[0-9a-f]{16})"
_PACK_FILES = re.compile(rf"{_PACK}|\.{_PACK}\.building|{_PACK}\.quarantine\.jsonl")


@dataclass(frozen=True, slots=True)
class PurgeCounts:
    """Packs that were (or would be) removed, complete or not; bytes of their files; packs that stay
    because a process is building them.
    """

    packs: int
    freed: int
    busy: int


def purge_cache(root: Path, *, dry_run: bool = False) -> PurgeCounts:
    """Remove every pack of the cache ``root`` that no process is building; ``dry_run``: only count.

    A run that has a pack open keeps it to its end. Raises PL-E012 for what cannot be removed.
    """
    packs = freed = busy = 0
    if not root.is_dir():
        return PurgeCounts(packs, freed, busy)

    for name in sorted(set(_pack_names(root))):
        # Lock files stay: a process that waits for a removed file, and one that makes it anew,
        # would both build.
        with hold_if_free(root / f".{name}.lock", 0o600) as free:
            if not free:
                busy += 1
                continue

            pack_paths = (
                root / name,
                root / f".{name}.building",
                root / f"{name}.quarantine.jsonl",
            )
            existing = [path for path in pack_paths if path.exists() and not path.is_symlink()]
            packs += bool(existing)
            for path in existing:  # links are not ours
                freed += _size_in_bytes(path)
                if not dry_run:
                    _remove(path)

    if not (dry_run or busy):
        # The names of the lock files stay. With the salt, somebody who has the same data could
        # compute these names, and see that the data were here.
        with hold_if_free(root / ".salt.lock", 0o600) as free:
            if free:
                _remove(root / ".salt")

    return PurgeCounts(packs, freed, busy)


def _pack_names(root: Path) -> Iterator[str]:
    for path in root.iterdir():
        if match := _PACK_FILES.fullmatch(path.name):
            yield next(filter(None, match.groups()))


def _size_in_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        problem = f"cannot be removed ({error.strerror})"
        raise PlaceError(
            problem, code="PL-E012", file=path, fix="check who owns it, or remove it by hand"
        ) from None
