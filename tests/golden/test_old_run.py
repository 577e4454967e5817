"""A run of version 0.1.0, before the tree and the names changed: it loads, goes on, answers and is
paged.

``run_0.1.0.tar.xz`` holds 40 synthetic studies, a run that was stopped after four of seven steps,
three results, and the losses of the steps that were still to come (``expected.json``).
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.record import FOLDER, run

CLOCK = ("images_per_s", "data_wait")
SETTINGS = ("data.manifest=studies/manifest.csv", "train.save_every=100", "train.log_every=1")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The unpacked folder, which is also where the commands run; a cache of its own."""
    with tarfile.open(FOLDER / "run_0.1.0.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "run"


def test_loads_and_answers(old: Path, tmp_path: Path) -> None:
    image = next((tmp_path / "studies" / "images").iterdir())
    answer = json.loads(
        run("zeroshot", old, image, "--finding", "nodule", "--device", "cpu", "--json")
    )
    assert 0 < answer["probabilities"]["nodule"][0] < 1
    before = json.loads(
        (old / "tasks" / "zero-shot" / "studies" / "result.json").read_text("utf-8")
    )
    now = json.loads(
        run(
            "task",
            "zero-shot",
            "--checkpoint",
            old,
            "-o",
            tmp_path / "new",
            "--device",
            "cpu",
            "--json",
        )
    )
    assert (
        now["split_digest"] == before["split_digest"]
        and now["metrics"].keys() == before["metrics"].keys()
    )
    values = [
        [table[name]["value"] for name in before["metrics"]]
        for table in (now["metrics"], before["metrics"])
    ]
    assert values[0] == pytest.approx(values[1], abs=0.05)


def test_goes_on(old: Path) -> None:
    words = ["pretrain", "small.yaml", *SETTINGS, "-o", old, "--resume", "auto", "--device", "cpu"]
    run(*words)
    assert (old / "STATUS").read_text("utf-8") == "finished step 7\n"
    lines = [json.loads(line) for line in (old / "metrics.jsonl").read_text("utf-8").splitlines()][
        4:
    ]
    expected = json.loads(Path("expected.json").read_text("utf-8"))
    assert len(lines) == len(expected) == 3
    for now, then in zip(lines, expected, strict=True):
        now = {key: value for key, value in now.items() if key not in CLOCK}
        assert now == pytest.approx(then, rel=1e-3, abs=1e-4)


def test_is_paged(old: Path) -> None:
    run("page", old)
    page = (old / "results.html").read_text("utf-8")
    results = sorted(path.parents[1].name for path in old.glob("tasks/*/*/result.json"))
    assert results == ["classification", "retrieval", "zero-shot"]
    score = json.loads((old / "tasks/classification/studies/result.json").read_text("utf-8"))[
        "metrics"
    ]
    shown = score["100%/auroc/macro"]["value"]
    assert f"{shown:.3f}".lstrip("0") in page and "zero-shot" in page.lower()
