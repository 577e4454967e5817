"""A packed folder: the same bytes however it was made, goes on after a kill, needs nothing but
itself.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import NOT_MENTIONED, Box, Study
from place_cxr.data.corpus import DataSettings, prepare_corpus
from place_cxr.data.packs import cached, export, tars
from place_cxr.data.packs.export import open_packed_pixels, pack_dataset, read_packed_studies
from place_cxr.data.sources import SOURCES

SIZE, COUNT = 16, 40


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROWS_PER_PART", 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Study]]:
    return make(tmp_path_factory.mktemp("data"), COUNT)


def make(folder: Path, count: int) -> tuple[Path, list[Study]]:
    """Noise pictures; one of them is no picture."""
    studies = []
    for row in range(count):
        path = folder / f"{row}.png"
        pixels = np.random.default_rng(row).integers(0, 256, (20, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        labels = {"Nodule": float(row % 2), "Edema": NOT_MENTIONED}
        split = ("train", "val")[row % 10 == 9]
        studies.append(
            Study(
                f"s{row}",
                path,
                f"Lungs {row}.",
                f"p{row}",
                split,
                age=row,
                labels=labels,
                boxes=(Box("a", 0, 1, 2, 3),),
            )
        )
    (folder / "3.png").write_bytes(b"no")
    return folder, studies


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def whole(data: tuple[Path, list[Study]], out: Path) -> dict[str, bytes]:
    assert pack_dataset(data[1], data[0], SIZE, out) is not None
    return contents(out / "data")


@pytest.mark.usefixtures("small_parts")
def test_rows_are_those_of_a_cached_pack(data: tuple[Path, list[Study]], tmp_path: Path) -> None:
    folder, studies = data
    seen: list[tuple[int, int]] = []
    made = pack_dataset(
        studies, folder, SIZE, tmp_path / "out", progress=lambda *now: seen.append(now)
    )
    expected = cached.pack_pixels(studies, SIZE, tmp_path / "cache")
    assert made is not None and made.rejected == 1 and made.digest == expected.digest
    assert np.array_equal(made.pixels, expected.pixels) and np.array_equal(
        made.letterboxes, expected.letterboxes
    )
    assert made.rows.tolist() == expected.rows.tolist()
    assert (
        contents(made.folder)["quarantine.jsonl"]
        == (expected.folder / "quarantine.jsonl").read_bytes()
    )
    assert seen == sorted(seen) and seen[-1] == (COUNT, COUNT)
    assert not (tmp_path / "out" / "parts").exists()
    assert all(path.stat().st_mode & 0o77 == 0 for path in (tmp_path / "out").rglob("*"))


@pytest.mark.usefixtures("small_parts")
def test_shards_in_any_order_give_the_same_bytes(
    data: tuple[Path, list[Study]], tmp_path: Path
) -> None:
    folder, studies = data
    expected = whole(data, tmp_path / "one")
    for shard in ((3, 3), (1, 3), (2, 3), (1, 3)):
        assert pack_dataset(studies, folder, SIZE, tmp_path / "three", shard=shard) is None
    assert len(list((tmp_path / "three" / "parts").glob("part-*"))) == 5
    assert whole(data, tmp_path / "three") == expected
    pack_dataset(
        studies, folder, SIZE, tmp_path / "some", shard=(2, 2)
    )  # the other is done by the last run
    assert whole(data, tmp_path / "some") == expected
    assert (
        pack_dataset(studies, folder, SIZE, tmp_path / "some", shard=(1, 2)) is None
    )  # all is there already
    for shard in ((0, 2), (3, 2)):
        with pytest.raises(PlaceError, match="PL-C009"):
            pack_dataset(studies, folder, SIZE, tmp_path / "none", shard=shard)


def place(*words: object, **more: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "place_cxr", "data", "pack", *map(str, words)]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **streams, **more)  # type: ignore[call-overload]


def table(folder: Path, count: int) -> Path:
    _, studies = make(folder, count)
    lines = [f"{study.image.name},Lungs {row}.,{study.id}" for row, study in enumerate(studies)]
    (folder / "manifest.csv").write_text("\n".join(["image,report,study", *lines]) + "\n")
    return folder


@pytest.mark.slow
def test_two_processes_at_once_and_a_killed_one(tmp_path: Path) -> None:
    """Through the command line, with parts as they are: 3 of them."""
    (tmp_path / "data").mkdir()
    root = table(tmp_path / "data", 1100)
    words = ("--root", root, "--size", SIZE, "--workers", 1)
    one = place(*words, "-o", tmp_path / "one")
    two = [place(*words, "-o", tmp_path / "two", "--shard", f"{i}/2") for i in (1, 2)]
    killed = place(*words, "-o", tmp_path / "killed")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "killed" / "parts").glob("part-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    kept = list((tmp_path / "killed" / "parts").glob("part-*"))
    assert killed.returncode == -signal.SIGKILL and kept
    for process in (one, *two):
        assert (process.communicate()[1] is not None) and process.returncode == 0
    for name in ("two", "killed"):
        last = place(*words, "-o", tmp_path / name)
        assert last.communicate() is not None and last.returncode == 0
        assert contents(tmp_path / name / "data") == contents(tmp_path / "one" / "data")


@pytest.mark.usefixtures("small_parts")
def test_parts_that_are_there_are_not_decoded_again(
    data: tuple[Path, list[Study]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, studies = data
    expected = whole(data, tmp_path / "other")
    real, decoded = cached.read_scaled_image_and_size, []

    def counting(path: str, size: int) -> object:
        decoded.append(path)
        if len(decoded) == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, size)

    child = os.fork()
    if child == 0:
        cached.read_scaled_image_and_size = counting  # type: ignore[assignment]
        pack_dataset(studies, folder, SIZE, tmp_path / "out")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    monkeypatch.setattr(cached, "read_scaled_image_and_size", counting)
    decoded += ["x"] * 100
    before = len(decoded)
    assert whole(data, tmp_path / "out") == expected
    assert len(decoded) - before == COUNT - 16  # two parts of eight were whole


@pytest.mark.usefixtures("small_parts")
def test_old_pixels_or_texts_are_never_taken_for_new(
    data: tuple[Path, list[Study]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, studies = Path(shutil.copytree(data[0], tmp_path / "data")), []
    for study in data[1]:
        studies.append(Study(**{**fields(study), "image": folder / study.image.name}))
    pack_dataset(studies, folder, SIZE, tmp_path / "out")

    def is_refused(some: list[Study], size: int = SIZE) -> bool:
        try:
            pack_dataset(some, folder, size, tmp_path / "out")
        except PlaceError as error:
            return error.code == "PL-D411"
        return False

    assert not is_refused(studies)
    assert is_refused(studies, SIZE + 1) and is_refused(studies[:-1]) and is_refused(studies[::-1])
    assert is_refused([*studies[:-1], Study(**{**fields(studies[-1]), "report": "Another."})])
    pack_dataset(studies, folder, SIZE, tmp_path / "part", shard=(1, 2))
    with monkeypatch.context() as patch:
        patch.setattr(export, "pixel_rule_bytes", lambda size: b"another rule")
        assert is_refused(studies)
        pack_dataset(studies, folder, SIZE, tmp_path / "part", shard=(1, 2))
    assert len(list((tmp_path / "part" / "parts").glob("part-*"))) == 6  # three of each rule
    os.utime(folder / "5.png", ns=(1, 1))
    assert is_refused(studies)


def fields(study: Study) -> dict[str, object]:
    return {name: getattr(study, name) for name in Study.__dataclass_fields__}


@pytest.mark.usefixtures("small_parts")
def test_too_many_bad_files_stop_it(data: tuple[Path, list[Study]], tmp_path: Path) -> None:
    folder, studies = Path(shutil.copytree(data[0], tmp_path / "data")), []
    for study in data[1]:
        studies.append(Study(**{**fields(study), "image": folder / study.image.name}))
    for study in studies[10:25]:
        study.image.write_bytes(b"no")
    with pytest.raises(PlaceError, match=r"PL-D400.*15 of the first 24 images cannot be used"):
        pack_dataset(studies, folder, SIZE, tmp_path / "out", workers=1)
    rows = [
        json.loads(line)["row"]
        for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    ]
    assert rows == [3, *range(10, 24)]


def test_studies_come_back_and_the_folder_travels(phantom: Path, tmp_path: Path) -> None:
    """Packed, moved, the originals out of reach: the same data to the bit, by the contents'
    digest.
    """
    copy = Path(shutil.copytree(phantom.parent, tmp_path / "data")) / phantom.name
    studies = SOURCES["manifest"](copy)
    pack_dataset(studies, copy.parent, 64, tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    shutil.rmtree(copy.parent)
    back = read_packed_studies(tmp_path / "elsewhere")
    for a, b in zip(studies, back, strict=True):
        same = ("id", "report", "patient", "split", "view", "sex", "age", "site", "boxes")
        assert all(getattr(a, name) == getattr(b, name) for name in same)
        np.testing.assert_equal(dict(a.labels), b.labels)
        np.testing.assert_equal(dict(a.said), b.said)
    settings = {"pack_size": 64, "vocab_size": 300}
    here = prepare_corpus(
        DataSettings(source="pack", manifest=str(tmp_path / "elsewhere"), **settings), max_tokens=24
    )
    there = prepare_corpus(DataSettings(manifest=str(phantom), **settings), max_tokens=24)
    assert here.lock() == there.lock()
    with pytest.raises(PlaceError, match=r"PL-D412.*data.pack_size=64"):
        open_packed_pixels(tmp_path / "elsewhere", 32)


def test_half_a_pack_is_no_pack(data: tuple[Path, list[Study]], tmp_path: Path) -> None:
    folder, studies = data
    pack_dataset(studies, folder, SIZE, tmp_path / "out", shard=(1, 1))
    for read in (read_packed_studies, lambda out: open_packed_pixels(out, SIZE)):
        with pytest.raises(PlaceError, match="PL-D410"):
            read(tmp_path / "out")
    with pytest.raises(PlaceError, match="PL-D401"):
        pack_dataset([], folder, SIZE, tmp_path / "out")


@pytest.mark.usefixtures("small_parts")
def test_tar_files_hold_pictures_and_studies(
    data: tuple[Path, list[Study]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("place_cxr.data.packs.tars.ROWS_PER_TAR", 20)
    folder, studies = data
    made = pack_dataset(studies, folder, SIZE, tmp_path / "out")
    assert made is not None
    files = tars.write_tars(studies, made, tmp_path / "tars")
    assert [file.name for file in files] == [
        "train-000000.tar",
        "train-000001.tar",
        "val-000000.tar",
    ]
    seen = []
    for file in files:
        with tarfile.open(file) as tar:
            names = tar.getnames()
            assert names[::2] == [name.replace("json", "png") for name in names[1::2]]
            for name in names[::2]:
                row = int(name[:9])
                png = tar.extractfile(name)
                text = tar.extractfile(name.replace("png", "json"))
                assert png is not None and text is not None
                with Image.open(io.BytesIO(png.read())) as image:
                    assert np.array_equal(np.asarray(image), made.pixels[row])
                about = json.loads(text.read())
                assert about["report"] == studies[row].report and about["labels"]["Edema"] is None
                assert about["original_size"] == [20, 30] and about["boxes"] == [["a", 0, 1, 2, 3]]
                seen.append(row)
    assert sorted(seen) == made.rows.tolist()
    again = tars.write_tars(studies, made, tmp_path / "again")
    assert [a.read_bytes() for a in files] == [b.read_bytes() for b in again]
    assert all(path.stat().st_mode & 0o77 == 0 for path in tmp_path.joinpath("tars").iterdir())
