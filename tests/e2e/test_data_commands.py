"""``place data``: from a manifest to a checked, described, divided and packed data set, and a run
on it.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from place_cxr.training import checkpoint
from tests.images.dicoms import dicom
from tests.small import digest, records, small
from tests.tables import read_rows, write_rows

Place = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(phantom: Path, tmp_path: Path) -> Path:
    """A copy of the phantom, to be spoiled; its manifest."""
    return Path(shutil.copytree(phantom.parent, tmp_path / "data")) / phantom.name


def spoil(manifest: Path) -> None:
    rows = read_rows(manifest)
    (manifest.parent / rows[0]["image"]).write_bytes(b"no")
    rows[1]["report"] = ""
    rows[2]["age"] = "old"
    write_rows(manifest, rows)


@pytest.mark.fault("S5", "T1")
def test_check_exits_4_on_errors_alone(place: Place, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "faults.csv"
    code, stdout, stderr = place("data", "check", "--root", data, "-o", out)
    assert code == 0, stderr
    assert stdout.splitlines() == ["40 rows: 0 errors, 0 warnings", f"All findings: {out}"]
    assert "checking images 40/40" in stderr
    code, stdout, stderr = place("data", "check", "--root", data, "-o", out)
    assert (code, stdout) == (2, "") and "PL-C004" in stderr and "--overwrite" in stderr
    spoil(data)
    clean = data.parent / "clean.csv"
    before = data.read_bytes()
    code, stdout, _ = place(
        "data", "check", "--root", data, "-o", out, "--overwrite", "--fix", clean
    )
    assert code == 4 and data.read_bytes() == before
    lines = stdout.splitlines()
    assert lines[0] == "40 rows: 2 errors, 1 warnings"
    assert lines[4].startswith("error[PL-D101] row 2 (") and "error[PL-D210] row " in lines[5]
    assert lines[5].endswith(": an age is no number of years") and lines[6].startswith(
        "warning[PL-D301] row "
    )
    assert lines[-1] == f"{clean}: 38 rows without errors"
    with out.open() as file:
        found = list(csv.DictReader(file))
    assert [(row["code"], row["level"]) for row in found] == [
        ("PL-D101", "error"), ("PL-D301", "warning"), ("PL-D210", "error"),
    ]  # fmt: skip
    assert (
        data.read_text().splitlines()[int(found[2]["row"]) - 1].startswith("images/")
    )  # rows are lines of the file
    code, stdout, _ = place("data", "check", "--root", clean, "-o", out, "--overwrite", "--json")
    about = json.loads(stdout)
    assert (code, about["errors"], about["counts"]) == (0, 0, {"PL-D301": 1})


def test_check_refuses_what_it_cannot_do(place: Place, data: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "faults.csv")
    for words, code, said in (
        (("--root", data, "--source", "manifesto", *out), 2, "Did you mean 'manifest'?"),
        (("--root", data, "--column", "patient", *out), 2, "OURS=THEIRS"),
        (("--root", data, "--column", "patiant=x", *out), 2, "Did you mean 'patient'?"),
        (("--root", data, "--source", "pack", "--fix", data.parent / "x.csv", *out), 2, "PL-C003"),
        (("--root", data, "--fix", tmp_path / "x.csv", *out), 2, "belongs beside"),
        ((*out,), 2, "--root"),
    ):
        found, stdout, stderr = place("data", "check", *words)
        assert (found, stdout) == (code, "") and said in stderr, stderr
        (tmp_path / "faults.csv").unlink(missing_ok=True)
    code, stdout, _ = place("data", "check", "--root", tmp_path / "no.csv", *out)
    assert code == 4 and "error[PL-D205] all rows: no such file" in stdout


@pytest.mark.fault("S7", "R2")
def test_from_manifest_to_a_run_on_the_pack(place: Place, data: Path, tmp_path: Path) -> None:
    """A run on the pack equals a run on the files, and its checkpoint holds the digest that split
    printed.
    """
    splits, packed = tmp_path / "splits.csv", tmp_path / "packed"
    code, stdout, stderr = place(
        "data",
        "split",
        "--root",
        data,
        "-o",
        splits,
        "--fractions",
        0.6,
        0.2,
        0.2,
        "--seed",
        1,
        "--json",
    )
    assert code == 0, stderr
    printed = json.loads(stdout)["digest"]
    words = ("data", "pack", "--root", data, "-o", packed, "--size", 64, "--splits", splits)
    for shard in ("1/2", "2/2"):
        assert place(*words, "--shard", shard)[0] == 0
    code, stdout, stderr = place(*words, "--tar", tmp_path / "tars")
    assert code == 0, stderr
    assert f"{packed}: 40 of 40 images" in stdout and f"{tmp_path / 'tars'}: 3 files" in stdout
    code, _, stderr = place(
        "data", "card", "--root", packed, "--source", "pack", "-o", tmp_path / "card"
    )
    assert code == 2 and "no original images" in stderr
    small(data)
    recipe = data.parent / "small.yaml"
    runs = {
        "files": (f"data.manifest={data}", f"data.splits={splits}"),
        "pack": (f"data.manifest={packed}", "data.source=pack"),
    }
    for name, values in runs.items():
        if name == "pack":
            shutil.rmtree(data.parent / "images")
        code, _, stderr = place(
            "pretrain", recipe, *values, "train.steps=3", "-o", tmp_path / name, "--device", "cpu"
        )
        assert code == 0, stderr
    first, second = (checkpoint.load(tmp_path / name) for name in runs)
    assert records(tmp_path / "files") == records(tmp_path / "pack")
    assert digest(first.weights) == digest(second.weights)
    for held in (first, second):
        assert held.config["data_lock"]["split_digest"] == printed
    wrong = place(
        "pretrain",
        recipe,
        *runs["pack"],
        "data.pack_size=32",
        "-o",
        tmp_path / "x",
        "--device",
        "cpu",
    )
    assert wrong[0] == 4 and "PL-D412" in wrong[2]


@pytest.mark.fault("P4")
def test_card_shows_pictures_only_to_those_who_may(
    place: Place, data: Path, tmp_path: Path
) -> None:
    words = ("data", "card", "--root", data, "-o", tmp_path / "card")
    code, _, stderr = place(*words, "--pictures", 2)
    assert code == 2 and "--i-have-rights" in stderr and not (tmp_path / "card").exists()
    assert place(*words)[0] == 0
    assert "<img" not in (tmp_path / "card" / "card.html").read_text()
    assert place(*words)[0] == 2
    assert place(*words, "--pictures", 2, "--i-have-rights", "--overwrite")[0] == 0
    assert (tmp_path / "card" / "card.html").read_text().count("<img") == 2


@pytest.mark.fault("S7")
def test_a_public_split_that_leaks_is_told_and_can_be_put_aside(
    place: Place, tmp_path: Path
) -> None:
    """MGCA's split of SIIM divides rows, so that images with two masks lie in two parts; masks are
    no files there.
    """
    root = tmp_path / "siim"
    (root / "dicom-images-train").mkdir(parents=True)
    y, x = np.mgrid[:1024, :1024]
    for number in range(4):
        grey = (127 + 60 * np.sin(x / (90 + 40 * number)) + 60 * np.cos(y / 200)).astype(np.uint8)
        (root / "dicom-images-train" / f"{number}.dcm").write_bytes(dicom(grey))
    rows = [f"{number}, {start} 9" for start in (100, 200) for number in range(4)]
    (root / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *rows]) + "\n")
    words = (
        "data",
        "check",
        "--source",
        "siim",
        "--root",
        root,
        "-o",
        tmp_path / "faults.csv",
        "--overwrite",
        "--json",
    )
    code, stdout, stderr = place(*words, "--option", "split=mgca")
    told = json.loads(stdout)["counts"]
    assert code == 4 and told["PL-D207"] >= 1 and told["PL-D259"] == 3 and "PL-D258" not in told, (
        stderr
    )
    code, stdout, _ = place(*words)
    assert code == 0 and not {"PL-D207", "PL-D258", "PL-D259"} & set(json.loads(stdout)["counts"])
    code, _, stderr = place(*words, "--option", "split=mcga")
    assert code == 2 and "Did you mean 'mgca'?" in stderr
    packing = (
        "data",
        "pack",
        "--source",
        "siim",
        "--root",
        root,
        "-o",
        tmp_path / "packed",
        "--size",
        64,
    )
    (tmp_path / "list.txt").write_text("1\n3\n")
    code, stdout, stderr = place(*packing, "--option", f"split_lists.train={tmp_path / 'list.txt'}")
    assert code == 0 and "2 of 2 images" in stdout, stderr
