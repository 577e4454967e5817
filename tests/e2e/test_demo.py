"""The demo in small: everything from nothing to the page, and on from where it was stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from place_cxr import demo
from place_cxr.errors import PlaceError
from place_cxr.tasks.result import Result

SMALL = (
    "train.steps=4",
    "train.batch_size=8",
    "train.log_every=2",
    "model.image.options={channels: [8, 16, 16, 32], stem_width: 8}",
    "model.text.width=32",
    "model.hidden=32",
    "model.observations.width=32",
    "model.correlation.width=32",
)


def test_a_wrong_folder_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PlaceError, match="PL-E006"):
        demo.run(tmp_path / "file")
    with pytest.raises(PlaceError, match="PL-R004"):
        demo.run(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_from_nothing_to_a_page_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "SIZE", 96)
    out = tmp_path / "runs" / "demo"
    page = demo.run(out, studies=80, overrides=SMALL, device="cpu")
    text = page.read_text(encoding="utf-8")
    assert page == out / "results.html" and "Not a medical device" in text and "random weights" in text
    tasks = {"zero-shot", "retrieval", "grounding", "linear-probe"}
    for folder in (out / "tasks", out / "baselines" / "random"):
        found = [Result.read(file) for file in folder.glob("*/phantom/result.json")]
        assert {result.task for result in found} == tasks
        assert all(result.seeds and result.split_digest for result in found)
    trained = (out / "metrics.jsonl").read_bytes()
    assert demo.run(out, studies=80, overrides=SMALL, device="cpu") == page  # finished: nothing is trained again
    assert (out / "metrics.jsonl").read_bytes() == trained
