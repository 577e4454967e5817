"""``place cache purge``: the packs go, and nothing else; none that somebody builds."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.data.packs.cached import pack_pixels
from place_cxr.data.packs.purge import PurgeCounts, purge_cache
from tests.cli.test_main import place  # noqa: F401

Place = Callable[..., tuple[int, str, str]]
SIZE = 16


@pytest.fixture
def studies(tmp_path: Path) -> list[Study]:
    (tmp_path / "in").mkdir()
    found = [Study(id=str(n), image=tmp_path / "in" / f"{n}.png", report="") for n in range(4)]
    for n, study in enumerate(found):
        Image.fromarray(
            np.arange(n, n + 400, dtype=np.uint16).astype(np.uint8).reshape(20, 20)
        ).save(study.image)
    found[1].image.write_bytes(b"no")
    return found


@pytest.fixture
def cache(tmp_path: Path, studies: list[Study], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packs, what a killed process and a refused data set left, and things of somebody else."""
    root = tmp_path / "cache"
    monkeypatch.setenv("PLACE_CACHE", str(root))
    for size in (SIZE, 2 * SIZE):
        pack_pixels(studies, size, workers=1)
    (root / f".text-{'0' * 16}.building").mkdir()
    (root / f".text-{'0' * 16}.building" / "ids").write_bytes(b"12345")
    (root / f"pixels-{'1' * 16}.quarantine.jsonl").write_text("{}")
    for name in (
        "pixels-mine.txt",
        "pixels-0123",
        f"text-{'A' * 16}",
        f"pixels-{'0' * 16}.bak",
        "notes",
    ):
        (root / name).write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("mine")
    (root / f"pixels-{'2' * 16}").symlink_to(tmp_path / "elsewhere")
    return root


def held(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.mark.fault("P5")
def test_packs_go_and_all_else_stays(cache: Path, studies: list[Study], tmp_path: Path) -> None:
    for path in cache.glob("pixels-*/"):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o600}
    before = held(cache)
    packed = sum(len(data) for name, data in before.items() if "/" in name) + len("{}")
    assert packed > 4 * SIZE * SIZE * 5
    assert purge_cache(cache, dry_run=True) == PurgeCounts(4, packed, 0)
    assert {name: data for name, data in held(cache).items() if name in before} == before
    assert purge_cache(cache) == PurgeCounts(4, packed, 0)
    left = held(cache)
    assert {name for name in left if not name.endswith(".lock")} == {
        "pixels-mine.txt", "pixels-0123", f"text-{'A' * 16}", f"pixels-{'0' * 16}.bak", "notes",
    }  # fmt: skip
    assert all(data in (b"mine", b"") for data in left.values())
    assert (tmp_path / "elsewhere" / "file").read_text() == "mine"
    assert pack_pixels(studies, SIZE, workers=1).rejected == 1, "and the cache can be used again"
    assert stat.S_IMODE((cache / ".salt").stat().st_mode) == 0o600


@pytest.mark.fault("P5")
def test_what_is_being_built_stays_and_so_does_the_salt(cache: Path) -> None:
    busy = next(path.name for path in cache.glob("pixels-*/") if (path / "meta.json").exists())
    salt = (cache / ".salt").read_bytes()
    handle = os.open(cache / f".{busy}.lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        found = purge_cache(cache)
    finally:
        os.close(handle)
    assert (found.packs, found.busy) == (3, 1)
    assert (cache / busy / "meta.json").exists() and (cache / ".salt").read_bytes() == salt
    assert purge_cache(cache).packs == 1 and not (cache / busy).exists()


def test_the_command_says_how_much(
    place: Place,  # noqa: F811
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    total = purge_cache(cache, dry_run=True).freed
    code, out, _ = place("cache", "purge", "--dry-run")
    assert (code, out) == (0, f"Would remove 4 packs, {total:,} bytes, from {cache}\n")
    code, out, _ = place("cache", "purge", "--json")
    assert json.loads(out) == {
        "cache": str(cache),
        "packs": 4,
        "freed": total,
        "busy": 0,
        "dry_run": False,
    }
    monkeypatch.setenv("PLACE_CACHE", str(cache / "nowhere"))
    assert place("cache", "purge")[:2] == (
        0,
        f"Removed 0 packs, 0 bytes, from {cache / 'nowhere'}\n",
    )


def test_what_cannot_be_removed_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("place_cxr.data.packs.purge.shutil.rmtree", refuse)
    with pytest.raises(PlaceError, match=r"PL-E012.*Permission denied"):
        purge_cache(cache)
