"""Canaries: words that only reports and ids hold, looked for in whatever training writes, also
where it fails.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.small import small
from tests.tables import read_rows, write_rows

Place = Callable[..., tuple[int, str, str]]
REPORT, PATIENT, STUDY, SITE = (
    "zqxkcanary7731",
    "wvyjcanary5512",
    "qjzwcanary9043",
    "xqvhcanary2268",
)


@pytest.fixture
def marked(phantom: Path, tmp_path: Path) -> tuple[Path, list[dict[str, str]]]:
    """A manifest whose every patient, study and site, and one training report, carry a canary; and
    its rows.
    """
    manifest = Path(shutil.copytree(phantom.parent, tmp_path / "data")) / phantom.name
    rows = read_rows(manifest)
    for number, row in enumerate(rows):
        row |= {
            "patient": f"{PATIENT}-{row['patient']}",
            "study": f"{STUDY}-{number}",
            "site": SITE,
        }
    train = next(row for row in rows if row["split"] == "train")
    train["report"] += (
        f" Discussed with {REPORT.upper()} at the workstation. Nodule {REPORT} in the left lung."
    )
    write_rows(manifest, rows)
    return manifest, rows


def found(text: bytes) -> list[str]:
    return [canary for canary in (REPORT, PATIENT, STUDY, SITE) if canary.encode() in text.lower()]


def leaks(folder: Path) -> dict[str, list[str]]:
    """Files under a folder, by name or content."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    held = {str(path): found(str(path).encode() + b"\n" + path.read_bytes()) for path in files}
    return {name: canaries for name, canaries in held.items() if canaries}


@pytest.mark.fault("P3")
def test_training_writes_no_report_and_no_id(
    place: Place,
    marked: tuple[Path, list[dict[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest, _ = marked
    assert found(manifest.read_bytes()) == [
        REPORT,
        PATIENT,
        STUDY,
        SITE,
    ]  # the search finds what is there
    monkeypatch.setenv("PLACE_CACHE", str(tmp_path / "cache"))
    small(manifest)
    words = [
        "pretrain",
        manifest.parent / "small.yaml",
        f"data.manifest={manifest}",
        "train.steps=2",
        "--device",
        "cpu",
    ]
    code, out, err = place(*words, "-o", tmp_path / "run", "--debug")
    assert code == 0, err
    assert not found((out + err).encode())
    # A step that goes wrong dumps what it can tell of it.
    code, out, err = place(
        *words, "optim.lr=1e30", "train.steps=9", "-o", tmp_path / "diverged", "--debug"
    )
    assert code == 6, err
    assert (tmp_path / "diverged" / "bad_steps.jsonl").exists()
    assert not found((out + err).encode())
    for folder in ("run", "diverged", "cache", "crashes"):
        assert leaks(tmp_path / folder) == {}
    assert len(list((tmp_path / "cache").rglob("*"))) > 5
    assert (tmp_path / "run" / "checkpoints").is_dir()


def _twice(rows: list[dict[str, str]], folder: Path) -> None:
    rows.append({**rows[0], "report": rows[1]["report"]})


def _two_splits(rows: list[dict[str, str]], folder: Path) -> None:
    first = next(row for row in rows if row["split"] == "train")
    rows.append({**first, "split": "test", "study": f"{STUDY}-x", "image": "images/extra.png"})
    shutil.copy(folder / first["image"], folder / "images" / "extra.png")


def _label(rows: list[dict[str, str]], folder: Path) -> None:
    rows[2]["labels.Nodule"] = REPORT


def _age(rows: list[dict[str, str]], folder: Path) -> None:
    rows[2]["age"] = REPORT


def _split(rows: list[dict[str, str]], folder: Path) -> None:
    rows[2]["split"] = PATIENT


def _boxes(rows: list[dict[str, str]], folder: Path) -> None:
    rows[2]["boxes"] = f'[{{"finding": "{REPORT}"}}]'


def _no_reports(rows: list[dict[str, str]], folder: Path) -> None:
    for row in rows:
        row["report"] = ""


def _pictures(rows: list[dict[str, str]], folder: Path) -> None:
    for row in rows:
        Image.new("L", (64, 64)).save(folder / row["image"])


@pytest.mark.fault("P2", "P3")
@pytest.mark.parametrize(
    "spoil",
    [_twice, _two_splits, _label, _age, _split, _boxes, _no_reports, _pictures],
    ids=lambda f: f.__name__,
)
def test_a_refusal_quotes_nobody(
    place: Place,
    marked: tuple[Path, list[dict[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[list[dict[str, str]], Path], None],
) -> None:
    manifest, rows = marked
    spoil(rows, manifest.parent)
    write_rows(manifest, rows)
    monkeypatch.setenv("PLACE_CACHE", str(tmp_path / "cache"))
    small(manifest)
    words = [
        "pretrain",
        manifest.parent / "small.yaml",
        f"data.manifest={manifest}",
        "-o",
        tmp_path / "run",
    ]
    for more in ([], ["--debug"]):
        code, out, err = place(*words, *more, "--device", "cpu")
        assert (code, out) == (4, ""), err
        assert ("Traceback" in err) == bool(more)
        assert not found(err.encode()), err
    for folder in ("run", "cache", "crashes"):
        assert leaks(tmp_path / folder) == {}
