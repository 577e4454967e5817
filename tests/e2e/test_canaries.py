"""Row P1: identifiers planted wherever a data set can hold one, looked for in all that the commands
print or write.

What a person asks for by name holds what the manifest held, and is private to the user: the cleaned
manifest, the file of splits, the studies beside packed pixels, the exported shards. All else must
hold nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from place_cxr.data.checks import check
from place_cxr.data.packs import cached
from tests.images.dicoms import dicom
from tests.small import small
from tests.tables import read_rows, write_rows

Place = Callable[..., tuple[int, str, str]]
EXTRA = (
    "mrn",
    "accession",
    "patient_name",
    "birth_date",
    "address",
    "phone",
    "referrer",
    "comment",
)
EXIF = {
    "ImageDescription": 0x010E,
    "Make": 0x010F,
    "Artist": 0x013B,
    "Copyright": 0x8298,
    "HostComputer": 0x013C,
}
DICOM = (
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "InstitutionName",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientAddress",
    "OtherPatientNames",
    "StudyID",
    "PatientComments",
    "StationName",
    "OperatorsName",
)
ALLOWED = ("clean.csv", "splits.csv", "packed/data/studies.jsonl", "tars")


class Canaries:
    """Unique words, each known by where it was planted."""

    def __init__(self) -> None:
        self.words: dict[str, str] = {}

    def new(self, where: str) -> str:
        word = f"zq{len(self.words):03d}xkcanary"
        self.words[word] = where
        return word

    def found(self, data: bytes) -> list[str]:
        low = data.lower()
        if b"xkcanary" not in low:
            return []
        return [f"{word} ({where})" for word, where in self.words.items() if word.encode() in low]


@pytest.fixture
def planted(phantom: Path, tmp_path: Path) -> tuple[Path, Canaries]:
    """The phantom with canaries in file names, ids, extra columns, reports, PNG text chunks and
    EXIF.
    """
    canaries = Canaries()
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rows = read_rows(phantom)
    patients: dict[str, str] = {}
    for number, row in enumerate(rows):
        image = Image.open(phantom.parent / row["image"])
        name = f"images/{canaries.new('file name') if number < 20 else number}"
        if number % 4 == 0:
            exif = Image.Exif()
            for tag, code in EXIF.items():
                exif[code] = canaries.new(f"EXIF {tag}") if number == 0 else "x"
            image.save(
                folder / f"{name}.jpg", exif=exif, comment=canaries.new("JPEG comment"), quality=95
            )
            name += ".jpg"
        elif number == 2:
            words = {tag: canaries.new(f"DICOM {tag}") for tag in DICOM}
            (folder / f"{name}.dcm").write_bytes(dicom(np.asarray(image), **words))
            name += ".dcm"
        else:
            chunks = PngImagePlugin.PngInfo()
            chunks.add_text("Patient", canaries.new("PNG tEXt") if number < 8 else "x")
            chunks.add_itxt("Comment", canaries.new("PNG iTXt") if number < 8 else "x")
            image.save(folder / f"{name}.png", pnginfo=chunks)
            name += ".png"
        extra = {column: canaries.new(f"column {column}") if number < 3 else "" for column in EXTRA}
        if row["patient"] not in patients:
            patients[row["patient"]] = canaries.new("patient")
        row |= {
            "image": name,
            "patient": patients[row["patient"]],
            "study": canaries.new("study"),
            "site": "ward 7",
        }
        row |= extra | {key: "" for key in row if key.startswith("mask.")}
        if number % 5 == 0:
            row["report"] += f" Discussed with {canaries.new('report')} by phone."
    rows[0]["view"], rows[1]["sex"], rows[2]["site"] = (
        canaries.new(name) for name in ("view", "sex", "site")
    )
    manifest = folder / "manifest.csv"
    write_rows(manifest, rows)
    return manifest, canaries


def leaks(base: Path, canaries: Canaries) -> Iterator[str]:
    for path in base.rglob("*"):
        name = path.relative_to(base).as_posix()
        if path.is_dir() or name.startswith("data/") or name.startswith(ALLOWED):
            continue
        yield from (
            f"{name}: {what}" for what in canaries.found(name.encode() + b"\n" + path.read_bytes())
        )


@pytest.mark.fault("P1", "P3", "P4", "P5", "I10")
@pytest.mark.slow
def test_no_command_tells_who(
    place: Place, planted: tuple[Path, Canaries], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, canaries = planted
    monkeypatch.setenv("PLACE_CACHE", str(tmp_path / "cache"))
    inputs = b"".join(
        path.name.encode() + path.read_bytes()
        for path in manifest.parent.rglob("*")
        if path.is_file()
    )
    assert len(canaries.words) >= 60 and len(canaries.found(inputs)) == len(
        canaries.words
    )  # the search finds them
    small(manifest)
    recipe = manifest.parent / "small.yaml"
    plain = next(
        path for path in (manifest.parent / "images").iterdir() if "canary" not in path.name
    )
    run, root = tmp_path / "run", ("--root", manifest)

    def said(*words: object, code: int = 0) -> None:
        found, out, err = place(*words, "--debug")
        assert found == code, err
        assert canaries.found((out + err).encode()) == [], words

    said(
        "data",
        "check",
        *root,
        "-o",
        tmp_path / "faults.csv",
        "--fix",
        manifest.parent / "clean.csv",
    )
    said("data", "check", *root, "-o", tmp_path / "faults.csv", "--overwrite", "--json")
    said("data", "card", *root, "-o", tmp_path / "card", "--pictures", 4, "--i-have-rights")
    said("data", "split", *root, "-o", tmp_path / "splits.csv")
    said("data", "pack", *root, "-o", tmp_path / "packed", "--size", 64, "--tar", tmp_path / "tars")
    said(
        "pretrain",
        recipe,
        f"data.manifest={manifest}",
        "train.steps=2",
        "--device",
        "cpu",
        "-o",
        run,
    )
    on_pack = (
        f"data.manifest={tmp_path / 'packed'}",
        "data.source=pack",
        f"data.splits={tmp_path / 'splits.csv'}",
    )
    said("pretrain", recipe, *on_pack, "train.steps=2", "--device", "cpu", "-o", tmp_path / "run2")
    said("task", "classification", "--checkpoint", run, "--fraction", "1", "--seeds", "0")
    said("task", "retrieval", "--checkpoint", run)
    decoder = "decoder={width: 16, heads: 2, layers: 1, max_tokens: 8}"
    written = ("--fraction", "1", "--seeds", "0", "steps=2", "batch_size=8", decoder)
    said("task", "report-generation", "--checkpoint", run, *written)
    said("page", run)
    said("zeroshot", run, plain, "--finding", "nodule")
    said("ground", run, plain, "left pleural effusion", "-o", tmp_path / "heat.png")
    said("embed", run, plain, "-o", tmp_path / "vectors.npy")

    # Every kind of fault in the rows that carry canaries: refused, listed, still silent about who.
    rows = read_rows(manifest)
    images = manifest.parent
    (images / rows[0]["image"]).write_bytes(b"<html>")
    (images / rows[1]["image"]).unlink()
    Image.new("L", (64, 64)).save(images / rows[2]["image"], format="PNG")
    rows[3]["labels.Nodule"] = rows[3]["study"]
    rows[4]["age"] = rows[4]["patient"]
    rows[5] |= {"image": f"../{rows[5]['image']}"}
    rows[6]["split"] = rows[6]["study"]
    rows[7]["report"] = ""
    rows.append({**rows[8], "report": rows[9]["report"]})
    rows.append(
        {**rows[10], "study": rows[11]["study"], "image": rows[12]["image"], "split": "test"}
    )
    write_rows(manifest, rows)
    said("data", "check", *root, "-o", tmp_path / "broken.csv", code=4)
    assert len((tmp_path / "broken.csv").read_text().splitlines()) > 9
    said("data", "card", *root, "-o", tmp_path / "card2")
    for words in (
        ("data", "split", "-o", tmp_path / "s2.csv"),
        ("data", "pack", "-o", tmp_path / "p2"),
    ):
        said(*words, *root, code=4)
    said(
        "pretrain",
        recipe,
        f"data.manifest={manifest}",
        "-o",
        tmp_path / "x",
        "--device",
        "cpu",
        code=4,
    )
    assert list(leaks(tmp_path, canaries)) == []
    said("cache", "purge")


@pytest.mark.fault("P1", "P2")
def test_no_crash_tells_who(
    place: Place, planted: tuple[Path, Canaries], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody foresaw, in the middle of a row: on the screen, in the crash log, and in
    what is left.
    """
    manifest, canaries = planted
    monkeypatch.setenv("PLACE_CACHE", str(tmp_path / "cache"))

    def crash(*_: object) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(check, "measure_file", crash)
    monkeypatch.setattr(cached, "is_constant_image", crash)
    small(manifest)
    for words in (
        ("data", "check", "--root", manifest, "-o", tmp_path / "faults.csv"),
        ("data", "card", "--root", manifest, "-o", tmp_path / "card"),
        ("data", "pack", "--root", manifest, "-o", tmp_path / "packed"),
        (
            "pretrain",
            manifest.parent / "small.yaml",
            f"data.manifest={manifest}",
            "-o",
            tmp_path / "run",
        ),
    ):
        code, _, err = place(*words)
        assert code == 1 and "unexpected ZeroDivisionError" in err, err
        assert canaries.found(err.encode()) == []
        with pytest.raises(ZeroDivisionError):
            place(*words, "--debug")
    assert len(list((tmp_path / "crashes").iterdir())) == 4
    assert list(leaks(tmp_path, canaries)) == []
