"""The commands of docs/bring_your_own_data.md, run one after the other on a made-up hospital."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "bring_your_own_data.md"
NOT_RUN = ("#!/bin/bash", "job=", "hospital/", "file,text")  # batch systems that are not here; a tree; a table
SMALLER = {" -o runs/hospital": " -o runs/hospital train.steps=3 --device cpu", " --dry-run": " --dry-run --device cpu"}


def commands() -> list[str]:
    """Lines of all plain blocks but those that show something else."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    shown = [block for language, block in blocks if not language and not block.startswith(NOT_RUN)]
    return [line for block in shown for line in block.splitlines()]


@pytest.fixture
def hospital(phantom: Path, tmp_path: Path) -> Path:
    """Pictures named by number, a table with columns of other names, and some rows that are wrong."""
    (tmp_path / "hospital" / "pictures").mkdir(parents=True)
    with phantom.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "hospital" / "studies.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "text", "subject", "exam", "projection", "ward"])
        for number, row in enumerate(rows, start=1):
            name = f"pictures/{number:04d}.png"
            shutil.copy(phantom.parent / row["image"], tmp_path / "hospital" / name)
            writer.writerow([name, row["report"], row["patient"], row["study"], row["view"], "4b"])
        writer.writerow(["pictures/9999.png", "Findings: Lost.", "P1", "E1", "PA", ""])
    (tmp_path / "hospital" / "pictures" / "0007.png").write_bytes(b"cut off")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_is_run_as_it_stands(hospital: Path) -> None:
    lines = commands()
    verbs = {" ".join(line.split()[:3]) for line in lines if line.startswith("place ")}
    assert {"place data check", "place data split", "place data pack", "place data card"} <= verbs and len(lines) >= 12
    (hospital / "bin").mkdir()
    script = hospital / "bin" / "place"  # the place of this checkout, whichever is installed
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m place_cxr "$@"\n')
    script.chmod(0o755)
    source = str(PAGE.parents[1] / "src")
    environment = os.environ | {"PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": source}
    environment["PLACE_CACHE"] = str(hospital / "cache")
    said = {}
    for line in lines:
        shorter = line
        for ending, more in SMALLER.items():
            shorter = shorter + more.removeprefix(ending) if line.endswith(ending) else shorter
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {shorter}"], cwd=hospital, env=environment, capture_output=True, text=True
        )
        expected = 4 if line.startswith("place data check") and line.endswith("faults.csv") else 0
        assert done.returncode == expected, f"{shorter}\n{done.stderr}"
        said[line] = done.stdout
    answers = list(said.values())
    assert "41 rows: 2 errors" in answers[0] and "38 rows: 0 errors" not in answers[0]
    assert "39 rows: 0 errors" in answers[2]
    digests = {text.splitlines()[-1] for line, text in said.items() if "data pack" in line and "shard" not in line}
    assert len(digests) == 1 and next(iter(digests)).startswith("digest ")
    for name in ("packs/hospital/data", "packs/again/data"):
        assert (hospital / name / "pixels").is_file()
    pixels = [(hospital / f"packs/{name}/data/pixels").read_bytes() for name in ("hospital", "again")]
    assert pixels[0] == pixels[1]
    assert (hospital / "runs" / "hospital" / "results.html").is_file() and (hospital / "card" / "card.html").is_file()
    assert "pictures/0001.png" in answers[-1]
