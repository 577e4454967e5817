"""Packs: the right pixels, made once, never stale, whole or absent, and private."""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from place_cxr.core import files, store
from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.data.packs import cached
from place_cxr.data.packs.cached import PixelPack, cache_root, pack_pixels, pack_text
from place_cxr.images.letterbox import Letterbox
from place_cxr.images.read import read_scaled_image
from place_cxr.text.reports import ReportText
from place_cxr.text.tokenizer import EncodedReports

SIZE = 24
CANARY = "Zuzana-Q7X"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def images(folder: Path, count: int = 5, shape: tuple[int, int] = (90, 70)) -> list[Study]:
    """Noise pictures, the last one a JPEG; nothing about them is constant."""
    folder.mkdir(exist_ok=True)
    studies = []
    for row in range(count):
        grey = np.random.default_rng(row).integers(0, 256, shape, dtype=np.uint8)
        path = folder / f"{CANARY}-{row}.{'jpg' if row == count - 1 else 'png'}"
        Image.fromarray(grey).save(path)
        studies.append(Study(str(row), path, f"{CANARY} has report {row}. The lungs are clear."))
    return studies


def leftovers(root: Path) -> list[str]:
    names = [path.name for path in root.glob(".*")]
    return [name for name in names if name.endswith(".building") or name.startswith(".place-tmp")]


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(cached, "read_scaled_image_and_size", refuse)


def in_child(work: Callable[[], object]) -> int:
    """Run in a forked process; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def quarantine(pack: PixelPack) -> list[dict[str, object]]:
    return [
        json.loads(line) for line in (pack.folder / "quarantine.jsonl").read_text().splitlines()
    ]


def test_rows_are_the_letterboxed_pictures(tmp_path: Path, root: Path) -> None:
    studies = images(tmp_path / "in")
    seen: list[tuple[int, int]] = []
    pack = pack_pixels(studies, SIZE, root, progress=lambda done, total: seen.append((done, total)))
    assert (
        pack.pixels.shape == (5, SIZE, SIZE)
        and pack.rows.tolist() == list(range(5))
        and pack.rejected == 0
    )
    for row, study in enumerate(studies):
        assert pack.letterbox(row) == Letterbox(
            90, 70, SIZE
        )  # the original size, whatever the decoder scaled to
        assert np.array_equal(
            pack.pixels[row],
            Letterbox(90, 70, SIZE).to_square(read_scaled_image(study.image, SIZE)),
        )
    assert isinstance(pack.pixels, np.memmap) and not pack.pixels.flags.writeable
    assert seen[-1] == (5, 5) and quarantine(pack) == []


def test_processes_give_the_same_pack(tmp_path: Path, root: Path) -> None:
    studies = images(tmp_path / "in", 40)
    seen: list[int] = []
    pack = pack_pixels(studies, SIZE, root, workers=2, progress=lambda done, _: seen.append(done))
    alone = pack_pixels(studies, SIZE, tmp_path / "other", workers=1)
    expected = [
        Letterbox(90, 70, SIZE).to_square(read_scaled_image(study.image, SIZE)) for study in studies
    ]
    assert np.array_equal(pack.pixels, expected) and np.array_equal(alone.pixels, expected)
    assert np.array_equal(pack.letterboxes, alone.letterboxes)
    assert seen == sorted(seen) and seen[-1] == 40 and len(seen) == 3


def test_made_once(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies = images(tmp_path / "in")
    first = pack_pixels(studies, SIZE, root)
    no_decoding(monkeypatch)
    again = pack_pixels(studies, SIZE, root)
    assert again.folder == first.folder and np.array_equal(again.pixels, first.pixels)


def test_any_change_makes_another_pack(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = images(tmp_path / "in")
    known = {pack_pixels(studies, SIZE, root).folder}

    def is_new(found: Sequence[Study], size: int = SIZE) -> bool:
        folder = pack_pixels(found, size, root).folder
        fresh = folder not in known
        known.add(folder)
        return fresh

    assert not is_new(studies)
    assert is_new(studies, SIZE + 1)
    assert is_new(studies[::-1])
    assert is_new(studies[:-1])
    before = studies[0].image.stat()
    data = bytearray(studies[0].image.read_bytes())
    studies[0].image.write_bytes(data)  # same length, another time
    os.utime(studies[0].image, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert is_new(studies)
    studies[0].image.write_bytes(data + b"\0")  # another length, the same time
    os.utime(studies[0].image, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert is_new(studies)
    monkeypatch.setattr(cached, "_rule_bytes", lambda *_: b"another rule")
    assert is_new(studies)


def test_a_rule_is_its_number_and_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cached._rule_bytes(1, ("numpy",)) == cached._rule_bytes(1, ("numpy",))
    assert cached._rule_bytes(1, ("numpy",)) not in (
        cached._rule_bytes(2, ("numpy",)),
        cached._rule_bytes(1, ("pillow",)),
    )
    before = cached.pixel_rule_bytes(SIZE)
    assert before != cached.pixel_rule_bytes(SIZE + 1)
    monkeypatch.setattr(cached, "PIXEL_RULE", cached.PIXEL_RULE + 1)
    assert cached.pixel_rule_bytes(SIZE) != before


@pytest.mark.fault("I5", "P3", "S5")
@pytest.mark.timeout(20)
def test_bad_files_are_quarantined_by_row_alone(tmp_path: Path, root: Path) -> None:
    studies = images(tmp_path / "in", 8)
    studies[1].image.write_bytes(b"<html>")
    Image.new("L", (70, 90), 255).save(studies[2].image)
    studies[4].image.unlink()
    studies[5].image.unlink()
    os.mkfifo(studies[5].image)  # reading it would wait for ever
    pack = pack_pixels(studies, SIZE, root)
    assert pack.rows.tolist() == [0, 3, 6, 7] and pack.rejected == 4
    assert not pack.pixels[[1, 2, 4, 5]].any() and pack.pixels[[0, 3, 6, 7]].any(axis=(1, 2)).all()
    found = quarantine(pack)
    assert [item["row"] for item in found] == [1, 2, 4, 5]
    assert [item["code"] for item in found] == ["PL-D101", "PL-D105", "PL-D100", "PL-D100"]
    assert found[0]["sha256"] == "b7d082ee12e9" and found[2]["sha256"] == found[3]["sha256"] == ""
    assert set(found[0]) == {"row", "code", "sha256"}


def test_too_many_bad_files_stop_the_build(tmp_path: Path, root: Path) -> None:
    studies = images(tmp_path / "in", 30)
    for study in studies[3:13]:
        study.image.write_bytes(b"no")
    assert pack_pixels(studies, SIZE, root).rejected == 10
    studies[20].image.write_bytes(b"no")
    with pytest.raises(PlaceError) as caught:
        pack_pixels(studies, SIZE, root)
    assert (
        caught.value.code == "PL-D400"
        and "11 of the first 30 images cannot be used (11 x PL-D101)" in str(caught.value)
    )
    listed = next(root.glob("*.quarantine.jsonl"))
    assert str(listed) in str(caught.value) and len(listed.read_text().splitlines()) == 11
    assert not leftovers(root)
    with pytest.raises(PlaceError, match="PL-D400"):
        pack_pixels(studies[3:6], SIZE, root)  # few, but all
    with pytest.raises(PlaceError, match="PL-D401"):
        pack_pixels([], SIZE, root)


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.fault("D1")
@pytest.mark.timeout(60)
def test_a_dead_worker_is_an_error_not_a_hang(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "_decode_chunk", _die)
    with pytest.raises(PlaceError, match=r"PL-D402.*rows 0"):
        pack_pixels(images(tmp_path / "in", 40), SIZE, root, workers=2)
    assert not leftovers(root)


@pytest.mark.fault("C2", "C3")
@pytest.mark.parametrize("point", ["read_scaled_image_and_size", "write_arrays", "fsync", "rename"])
@pytest.mark.parametrize("nth", [1, 3])
def test_killed_at_any_point_leaves_nothing_wrong(
    tmp_path: Path, root: Path, point: str, nth: int
) -> None:
    studies = images(tmp_path / "in")
    module = {"fsync": os, "rename": os}.get(point, cached)
    real, calls = getattr(module, point), []

    def dying(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == nth or point in ("rename", "write_arrays"):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    def build() -> None:
        setattr(module, point, dying)
        pack_pixels(studies, SIZE, root)

    assert in_child(build) == -signal.SIGKILL
    assert leftovers(root) and not list(root.glob("pixels-*"))
    expected = pack_pixels(studies, SIZE, tmp_path / "other").pixels
    pack_pixels(studies[:2], SIZE, root)  # another pack: its start already sweeps
    assert not leftovers(root)
    assert np.array_equal(pack_pixels(studies, SIZE, root).pixels, expected)


@pytest.mark.fault("C4")
def test_two_builders_both_succeed_and_one_works(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies, log = images(tmp_path / "in"), tmp_path / "decoded"
    real = cached.read_scaled_image_and_size

    def slow(path: str, size: int) -> object:
        time.sleep(0.02)
        with log.open("a") as file:
            file.write("x")
        return real(path, size)

    monkeypatch.setattr(cached, "read_scaled_image_and_size", slow)
    other = os.fork()
    if other == 0:
        os._exit(0 if pack_pixels(studies, SIZE, root).pixels.any() else 1)
    assert pack_pixels(studies, SIZE, root).pixels.any()
    assert os.waitpid(other, 0)[1] == 0
    assert log.read_text() == "x" * 5


@pytest.mark.fault("C3")
def test_a_living_builder_is_not_swept(root: Path) -> None:
    files.make_private_folder(root)
    begun, go_on = threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        begun.set()
        go_on.wait(5)
        store.write_arrays(folder, {"a": np.arange(3)}, {})

    builder = threading.Thread(target=store.build_once, args=(root, "slow", slow))
    builder.start()
    begun.wait(5)
    store.build_once(
        root, "fast", lambda folder: store.write_arrays(folder, {"a": np.arange(2)}, {})
    )
    assert leftovers(root) == [".slow.building"]
    go_on.set()
    builder.join()
    assert store.open_arrays(root / "slow")[0]["a"].tolist() == [0, 1, 2] and not leftovers(root)


@pytest.mark.fault("C7")
@pytest.mark.parametrize("file", ["pixels", "rows", "meta.json"])
def test_a_cut_off_pack_is_built_again(tmp_path: Path, root: Path, file: str) -> None:
    studies = images(tmp_path / "in")
    pack = pack_pixels(studies, SIZE, root)
    expected = np.array(pack.pixels)
    with (pack.folder / file).open("r+b") as damaged:
        damaged.truncate((pack.folder / file).stat().st_size - 1)
    assert np.array_equal(pack_pixels(studies, SIZE, root).pixels, expected)


@pytest.mark.fault("C5")
def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = images(tmp_path / "in")

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(PlaceError, match=r"PL-E002.*File too large"):
            pack_pixels(studies, SIZE, root)

    assert in_child(limited) == 0
    assert not leftovers(root)
    with monkeypatch.context() as patch:
        patch.setattr(cached.shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
        with pytest.raises(PlaceError, match=r"PL-E002.*0\.00 GB are free"):
            pack_pixels(studies, SIZE, root)
    assert pack_pixels(studies, SIZE, root).rejected == 0


@pytest.mark.fault("C6")
def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError, match=r"PL-E011.*PLACE_CACHE"):
        pack_pixels(images(tmp_path / "in"), SIZE, tmp_path / "file")


@pytest.mark.fault("P5")
def test_all_is_private_and_names_nothing(tmp_path: Path, root: Path) -> None:
    studies = images(tmp_path / "in", 8)
    studies[1].image.write_bytes(b"no")
    before = os.umask(0)
    try:
        pack = pack_pixels(studies, SIZE, root)
        pack_text(studies, Words(), root)  # type: ignore[arg-type]
    finally:
        os.umask(before)
    for path in [root, *root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert CANARY not in path.name
        assert path.is_dir() or CANARY.encode() not in path.read_bytes()
    other = pack_pixels(studies, SIZE, tmp_path / "other")
    assert other.folder.name != pack.folder.name  # salted: a name cannot be looked up elsewhere


class Words:
    """A tokenizer that counts letters."""

    def __init__(self, hash_: str = "h") -> None:
        self.hash, self.calls = hash_, 0

    def encode(
        self, reports: Sequence[ReportText], max_tokens: int, max_sentences: int
    ) -> EncodedReports:
        self.calls += 1
        ids = np.zeros((len(reports), max_tokens), dtype=np.uint16)
        keys = np.zeros((len(reports), max_sentences), dtype=np.int64)
        for row, report in enumerate(reports):
            lengths = [len(sentence) for sentence in report.sentences][:max_tokens]
            ids[row, : len(lengths)] = lengths
            keys[row, 0] = sum(lengths)
        sentence = np.where(ids > 0, 0, -1).astype(np.int8)
        return EncodedReports(
            ids=ids,
            sentence=sentence,
            sentence_key=keys,
            report_key=keys[:, 0],
            pad_id=0,
            truncated=3,
        )


def test_text_is_encoded_once_and_read_from_disk(tmp_path: Path, root: Path) -> None:
    studies = images(tmp_path / "in", 3)
    words = Words()
    first = pack_text(studies, words, root, 8, 4)  # type: ignore[arg-type]
    again = pack_text(studies, words, root, 8, 4)  # type: ignore[arg-type]
    expected = words.encode([cached.read_report(study.report) for study in studies], 8, 4)
    assert words.calls == 2 and first.ids.any()
    for got in (first, again):
        for name in ("ids", "sentence", "sentence_key", "report_key"):
            value = getattr(got, name)
            assert (
                np.array_equal(value, getattr(expected, name))
                and value.dtype == getattr(expected, name).dtype
            )
            assert isinstance(value, np.memmap)
        assert (got.pad_id, got.truncated) == (0, 3)


def test_changed_text_or_tokenizer_is_encoded_anew(tmp_path: Path, root: Path) -> None:
    studies = images(tmp_path / "in", 3)
    words = Words()

    def encodes(found: Sequence[Study], tokenizer: Words, *limits: int) -> bool:
        before = tokenizer.calls
        pack_text(found, tokenizer, root, *limits)  # type: ignore[arg-type]
        return tokenizer.calls > before

    assert encodes(studies, words, 8, 4) and not encodes(studies, words, 8, 4)
    assert encodes(studies, words, 9, 4) and encodes(studies, words, 8, 5)
    assert encodes(studies, Words("other"), 8, 4)
    assert encodes(studies[::-1], words, 8, 4)
    moved = [Study("0", studies[0].image, "ab. cd"), Study("1", studies[1].image, "ef.")]
    joined = [Study("0", studies[0].image, "ab. cde"), Study("1", studies[1].image, "f.")]
    assert encodes(moved, words, 8, 4) and encodes(joined, words, 8, 4)
    with pytest.raises(PlaceError, match="PL-D401"):
        pack_text([], words, root)  # type: ignore[arg-type]


def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PLACE_CACHE", str(tmp_path / "here"))
    assert cache_root() == tmp_path / "here"
    monkeypatch.setenv("PLACE_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_root() == tmp_path / ".cache" / "place-cxr"


@pytest.mark.timeout(60)
def test_workers_end_with_a_killed_parent() -> None:
    script = """
if __name__ == "__main__":
    import multiprocessing, os, sys, time
    from concurrent.futures import ProcessPoolExecutor
    from place_cxr.core.workers import die_with_parent
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=die_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    worker = int(done.stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        if "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2]:
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{worker}").exists()
