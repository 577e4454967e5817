"""The folder of a run: used by one process at a time, checked before training, self-explaining.

``config.yaml env.json command.txt STATUS metrics.jsonl metrics.csv train.log checkpoints/``
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import platform
import shlex
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock

from place_cxr.core import distributed, files
from place_cxr.core.errors import PlaceError
from place_cxr.core.locks import try_lock
from place_cxr.training import checkpoint
from place_cxr.training.signals import exit_on_signals

# Libraries whose version may change a number.
_LIBRARIES = (
    "accelerate",
    "numpy",
    "pillow",
    "place-cxr",
    "safetensors",
    "timm",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
)
_LOCK, _STATUS = ".lock", "STATUS"
_HELD_RECORDS = 10_000  # log records kept until a resumed run starts
_log = logging.getLogger(__name__)


class RunFolder:
    """An open run folder, locked until `close`. Open it with `RunFolder.create` in a ``with``.

    A run that is resumed keeps all of its files until the first `status`, which is written once
    nothing can be refused any more: a refused resume changes nothing.

    On ranks other than 0 it only knows the path and writes nothing.
    """

    def __init__(self, path: Path, lock: FileLock | None) -> None:
        self.path = path
        self._lock = lock
        self._handler: logging.Handler | None = None
        self._identity = _lock_identity(path) if lock is not None else None
        self._state = ""  # that this process wrote last
        self._signals = ExitStack()

    @classmethod
    def create(
        cls, path: Path | str, *, resume: bool = False, overwrite: bool = False
    ) -> RunFolder:
        """Open ``path`` for a new run, or for one to ``resume``, and lock it.

        ``overwrite`` deletes nothing: the old run is renamed to ``<name>.old-1`` (or the next free
        number).

        Raises PlaceError before anything is computed: PL-R001 another process is using it (which
        one, on which machine), PL-R002 it holds an unfinished run, PL-R003 a finished one, PL-R004
        files that are no run, PL-E006 it cannot be written.
        """
        path = Path(path)
        if distributed.rank() != 0:
            return cls(path, None)

        refuse_foreign_folder(path)
        lock = _take_lock(path)
        try:
            if not (resume or overwrite):
                _refuse_occupied(path)
            if overwrite and any(entry.name != _LOCK for entry in path.iterdir()):
                path, lock = _move_aside(path, lock)
            _check_writable(path)
            files.remove_orphans(path)
        except BaseException:
            lock.release()
            raise

        run = cls(path, lock)
        run._hold_log()
        if not (resume and (path / _STATUS).exists()):
            run.status("running")
        return run

    @property
    def main(self) -> bool:
        """Whether this process writes: rank 0."""
        return self._lock is not None

    def check(self) -> None:
        """Raise PL-R005 unless the path still holds the folder that was locked.

        A folder that is renamed takes its lock with it, and another process may have made a new one
        under the old path: whatever is written there is a second run's.
        """
        if self.main and not self._is_own():
            self._close_log()
            raise PlaceError(
                "the folder of the run was moved, removed or replaced",
                code="PL-R005",
                file=self.path.name,
                fix="go on with --resume auto where the folder is now, and leave a folder in its "
                "place while it is in use",
            )

    def _is_own(self) -> bool:
        return self._identity is not None and self._identity == _lock_identity(self.path)

    def write(self, name: str, content: str) -> None:
        """Write a small text file atomically. Raises PL-E005 if the disk refuses, as `check`."""
        if not self.main:
            return

        self.check()
        try:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            files.write_atomic(self.path / name, content.encode())
        except OSError as error:
            reason = f"cannot be written: {error.strerror}"
            raise PlaceError(
                reason, code="PL-E005", file=f"{self.path.name}/{name}", fix="free space"
            ) from error

    def describe(self, config_yaml: str) -> None:
        """Write ``config.yaml``, ``env.json`` and ``command.txt``: settings, machine, command."""
        self.write("config.yaml", config_yaml)
        if self.main:
            self.write("env.json", json.dumps(environment(), indent=1) + "\n")
        self.write("command.txt", shlex.join(["place", *sys.argv[1:]]) + "\n")

    def status(self, state: str, step: int | None = None) -> None:
        """Write ``STATUS``: running, interrupted, failed or finished, and the last step.

        The first call opens ``train.log`` and writes what was logged before.
        """
        self._open_log()
        self.write(_STATUS, state + (f" step {step}" if step is not None else "") + "\n")
        self._state = state

    def _hold_log(self) -> None:
        """Keep what is logged in memory."""
        self._handler = logging.handlers.MemoryHandler(
            _HELD_RECORDS, flushLevel=logging.CRITICAL + 1, flushOnClose=False
        )
        self._handler.setLevel(logging.INFO)
        logging.getLogger("place_cxr").addHandler(self._handler)

    def _open_log(self) -> None:
        """Write ``train.log`` from now on, with what was kept in memory first."""
        if not isinstance(self._handler, logging.handlers.MemoryHandler):
            return

        held, self._handler = self._handler, _log_file(self.path)
        logging.getLogger("place_cxr").removeHandler(held)
        held.setTarget(self._handler)
        held.flush()
        held.close()

    def close(self) -> None:
        """Release the lock and close the log file."""
        self._close_log()
        if self._lock is not None:
            if self._is_own():
                _mark_closed(self.path)
            self._lock.release()
            self._lock = None

    def _close_log(self) -> None:
        if self._handler is not None:
            logging.getLogger("place_cxr").removeHandler(self._handler)
            self._handler.close()
            self._handler = None

    def __enter__(self) -> RunFolder:
        # Training catches signals itself; this is for the time before and after it.
        self._signals.enter_context(exit_on_signals())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            # Training writes "interrupted" or "finished" itself; "running" here means a crash, or a
            # signal during set-up.
            if kind is not None and self._state == "running" and self._is_own():
                is_stopped = issubclass(kind, (KeyboardInterrupt, SystemExit))
                self.status("interrupted" if is_stopped else "failed")
        except PlaceError as second:
            _log.warning("%s", second)
        finally:
            self.close()
            self._signals.close()


def _read_status(path: Path) -> tuple[str, str]:
    """(state, the rest) of a run folder; empty when there is none."""
    try:
        first, _, details = (path / _STATUS).read_text(encoding="utf-8").strip().partition(" ")
    except (OSError, UnicodeDecodeError):
        return "", ""
    return first, details


def is_finished(path: Path) -> bool:
    """Whether a folder holds a run that ended after its last step."""
    return _read_status(path)[0] == "finished"


def refuse_foreign_folder(path: Path) -> None:
    """Raise PL-R004 for a folder with files that are no run, PL-E006 for a file or no access.

    Called before the first byte is written, so such a folder stays as it is.
    """
    if path.exists() and not path.is_dir():
        raise PlaceError(
            "is a file, not a folder", code="PL-E006", file=path, fix="choose another --out"
        )
    try:
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except OSError as error:
        raise _unwritable(path, error) from error
    if names and not names & {_LOCK, _STATUS, "checkpoints"}:
        raise PlaceError(
            "holds files that are no run", code="PL-R004", file=path, fix="choose another --out"
        )


def _refuse_occupied(path: Path) -> None:
    state, details = _read_status(path)
    fix = "use --resume auto, another --out, or --overwrite"
    if state == "finished":
        raise PlaceError(f"holds a finished run ({details})", code="PL-R003", file=path, fix=fix)
    if (saved := checkpoint.latest_intact_step(path)) is not None:
        raise PlaceError(
            f"holds an unfinished run ({saved.name})", code="PL-R002", file=path, fix=fix
        )


def _unwritable(path: Path, error: OSError) -> PlaceError:
    reason = f"cannot be written: {error.strerror or type(error).__name__}"
    return PlaceError(
        reason, code="PL-E006", file=path, fix="choose another --out, or change its permissions"
    )


def _take_lock(path: Path) -> FileLock:
    """Lock the folder; the lock's file says which process holds it."""
    # The kernel releases the lock when the process ends, however it ends.
    holder_file, lock = path / _LOCK, None
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = try_lock(holder_file)
        before = holder_file.read_text("utf-8", errors="replace").strip()
        if lock is not None:
            holder_file.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    except OSError as error:
        if lock is not None:
            lock.release()
        raise _unwritable(path, error) from error

    if lock is None:
        raise PlaceError(
            f"is in use by {before or 'another process'}",
            code="PL-R001",
            file=path,
            fix="wait for it, or choose another --out",
        )

    if before:
        _log.warning(
            "%s: taking over from %s, which ended without closing the run", path.name, before
        )
    return lock


def _mark_closed(path: Path) -> None:
    """Empty the file of the lock: its owner closed the run in order."""
    with suppress(FileNotFoundError):  # somebody removed the folder just now
        os.truncate(path / _LOCK, 0)


def _lock_identity(path: Path) -> tuple[int, int] | None:
    """Device and number of the file of the lock; None where there is none.

    The number is not used again as long as the lock is held, because its file is open.
    """
    try:
        status = (path / _LOCK).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _move_aside(path: Path, lock: FileLock) -> tuple[Path, FileLock]:
    number = 1
    while (aside := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
    except OSError as error:
        raise _unwritable(path, error) from error
    _log.warning("%s: the earlier run was kept as %s", path.name, aside.name)

    fresh = _take_lock(path)
    _mark_closed(aside)
    lock.release()
    return path, fresh


def _check_writable(path: Path) -> None:
    """Write, flush, rename and remove a file, so that a bad disk is found before training."""
    probe = path / "probe"
    try:
        files.write_atomic(probe, b"probe")
        probe.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def _log_file(path: Path) -> logging.Handler:
    # `delay`: no empty file where nothing is logged.
    handler = logging.FileHandler(path / "train.log", encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.INFO)
    logging.getLogger("place_cxr").addHandler(handler)
    return handler


def environment() -> dict[str, Any]:
    """Versions and hardware: enough to repeat a run elsewhere; no host name, user name or path."""
    import torch

    versions: dict[str, str | None] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": versions,
        "commit": _git_commit(),
        "cpu": {"model": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": devices,
        "world_size": distributed.world_size(),
    }


def _git_commit() -> str | None:
    """The git commit of this code, with ``+`` for uncommitted changes; None outside a checkout."""
    package_folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package_folder), *arguments]
        process = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=True, timeout=10
        )
        return process.stdout.strip()

    try:
        # An installed package may lie inside another repository, which does not track this file.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        changes = git("status", "--porcelain", "--", str(package_folder.parent))
        return git("rev-parse", "HEAD") + ("+" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()

    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""
