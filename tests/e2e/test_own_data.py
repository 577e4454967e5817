"""The commands of docs/bring_your_own_data.md, run one after the other on a made-up hospital."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images.dicoms import dicom

PAGE = Path(__file__).parents[2] / "docs" / "bring_your_own_data.md"
NOT_RUN = (
    "#!/bin/bash",
    "job=",
    "hospital/",
    "image,report",
    "pip",
)  # batch systems that are not here; a tree; a table
SHORTER = {
    "-o runs/hospital": ["train.steps=3", "--device", "cpu"],
    "--dry-run": ["--device", "cpu"],
}
STUDIES = 24
Place = Callable[..., tuple[int, str, str]]


def commands() -> list[str]:
    """Lines of all plain blocks but those that show something else."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    shown = [block for language, block in blocks if not language and not block.startswith(NOT_RUN)]
    return [line for block in shown for line in block.splitlines()]


@pytest.fixture
def hospital(phantom: Path, tmp_path: Path) -> Path:
    """DICOM files named by number, as devices store them, a table, and two rows that are wrong."""
    (tmp_path / "hospital" / "pictures").mkdir(parents=True)
    with phantom.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:STUDIES]
    with (tmp_path / "hospital" / "studies.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "report", "patient", "study", "view", "ward"])
        for number, row in enumerate(rows, start=1):
            name = f"pictures/{number:04d}.dcm"
            grey = np.asarray(Image.open(phantom.parent / row["image"]))
            negative = (255 - grey.astype(np.uint16)) * 16
            made = (
                dicom(negative, PhotometricInterpretation="MONOCHROME1")
                if number % 2
                else dicom(grey)
            )
            (tmp_path / "hospital" / name).write_bytes(made)
            writer.writerow([name, row["report"], row["patient"], row["study"], row["view"], "4b"])
        writer.writerow(["pictures/9999.dcm", "Findings: Lost.", "P1", "E1", "PA", ""])
    (tmp_path / "hospital" / "pictures" / "0007.dcm").write_bytes(b"cut off")
    return tmp_path


@pytest.mark.slow
def test_the_page_is_run_as_it_stands(
    place: Place, hospital: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = commands()
    verbs = {" ".join(line.split()[:3]) for line in lines if line.startswith("place ")}
    wanted = {f"place data {verb}" for verb in ("ls", "check", "split", "pack", "card")} | {
        "place cache purge"
    }
    assert wanted <= verbs and len(lines) >= 12
    monkeypatch.chdir(hospital)
    monkeypatch.setenv("PLACE_CACHE", str(hospital / "cache"))
    said: list[str] = []
    for line in lines:
        if line.startswith("seq"):
            in_a_shell(line, hospital)
            continue
        words, _, anyway = line.partition(" || ")
        more = next((more for ending, more in SHORTER.items() if words.endswith(ending)), [])
        code, out, err = place(*shlex.split(words)[1:], *more)
        assert code == (4 if anyway or words.endswith("faults.csv") else 0), f"{line}\n{err}"
        said.append(out)
    assert "\nfolder  " in "\n" + said[0] and "there: all it needs" in said[0]
    assert (
        f"{STUDIES + 1} rows: 2 errors" in said[1]
        and f"hospital/clean.csv: {STUDIES - 1} rows" in said[2]
    )
    assert f"{STUDIES - 1} rows: 0 errors" in said[3]
    packs = [Path("packs") / name / "data" / "pixels" for name in ("hospital", "again")]
    assert (
        packs[0].read_bytes() == packs[1].read_bytes()
        and packs[0].stat().st_size == (STUDIES - 1) * 96 * 96
    )
    assert Path("runs/hospital/results.html").is_file() and Path("card/card.html").is_file()
    assert "pictures/0001.dcm" in said[-2] and said[-1].startswith("Removed ")


def in_a_shell(line: str, folder: Path) -> None:
    """A line with pipes, with the ``place`` of this checkout, whichever is installed."""
    (folder / "bin").mkdir()
    script = folder / "bin" / "place"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m place_cxr "$@"\n')
    script.chmod(0o755)
    more = {
        "PATH": f"{script.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PAGE.parents[1] / "src"),
    }
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=os.environ | more, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
