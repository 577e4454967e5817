"""A lock excludes, falls with its process, and says where there can be none."""

import errno
import fcntl
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.locks import hold_if_free, hold_lock, try_lock

_HOLDER = """
import sys, time
from pathlib import Path
from place_cxr.core.locks import try_lock
lock = try_lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_excludes_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with hold_lock(path, mode=0o600):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert try_lock(path) is None
        with hold_if_free(path) as free:
            assert not free
        assert try_lock(path) is None, "who did not get the lock must not release it"
    with hold_if_free(path) as free:
        assert free and try_lock(path) is None
    assert path.exists()


def test_a_lock_falls_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert try_lock(path) is None
    finally:
        holder.kill()
        holder.communicate()

    start = time.monotonic()
    with hold_lock(path):
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks_is_one_coded_line(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    for hold in (hold_lock, hold_if_free):
        with pytest.raises(PlaceError, match="PL-E010"), hold(tmp_path / ".lock"):
            pass


def test_a_file_that_cannot_be_opened_is_no_missing_lock(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="directory|exists"), hold_lock(tmp_path / "file" / ".lock"):
        pass
