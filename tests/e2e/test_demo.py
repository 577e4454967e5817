"""The demo in small: everything from nothing to the page, and on from where it was stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from place_cxr.cli import demo
from place_cxr.core.errors import PlaceError
from place_cxr.core.results import Result
from place_cxr.core.settings import load_settings
from place_cxr.page.read import read_run
from place_cxr.pretrain import load_recipe
from place_cxr.tasks import TASKS
from place_cxr.tasks.engine import recompute_metrics
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.task import HeadTask

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
BRIEF = {
    name: demo.DemoTask(("steps=2", "checks=1") if issubclass(kind, HeadTask) else ())
    for name, kind in TASKS.items()
}
BRIEF["report-generation"] = demo.DemoTask(
    (
        "steps=2",
        "checks=1",
        "beams=1",
        "decoder.max_tokens=12",
        "decoder.layers=1",
        "decoder.width=32",
    )
)


def test_a_wrong_folder_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PlaceError, match="PL-E006"):
        demo.run_demo(tmp_path / "file")
    with pytest.raises(PlaceError, match="PL-R004"):
        demo.run_demo(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_from_nothing_to_a_page_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "DEMO_SIZE", 96)
    monkeypatch.setattr(demo, "DEMO_TASKS", BRIEF)
    out = tmp_path / "runs" / "demo"
    page = demo.run_demo(out, studies=80, overrides=SMALL, device="cpu")
    text = page.read_text(encoding="utf-8")
    assert page == out / "results.html" and "Not a medical device" in text
    assert "Random weights" in text and "ITA alone" in text
    answers = {}
    for folder in (out, out / "baselines" / "ita", out / "baselines" / "random"):
        found = {file: Result.read(file) for file in folder.glob("tasks/*/phantom/result.json")}
        assert {result.task for result in found.values()} == set(TASKS)
        assert all(result.seeds == (0,) and result.split_digest for result in found.values())
        assert len({result.method for result in found.values()}) == 1
        assert (
            recompute_metrics(folder / "tasks" / "grounding" / "phantom")
            == Result.read(folder / "tasks" / "grounding" / "phantom").metrics
        )
        answers |= {file: file.stat().st_mtime_ns for file in found}
    for task in TASKS:
        [first, *others] = [file for file in answers if file.parents[1].name == task]
        digests = {Result.read(file).split_digest for file in (first, *others)}
        assert len(digests) == 1, task  # the same studies for all methods
    written = [
        Predictions.read(file.parent).about
        for file in answers
        if file.parents[1].name == "report-generation"
    ]
    assert [about["settings"]["vpors"] for about in written] == [True, False, False]
    for run in (out, out / "baselines" / "ita"):
        assert read_run(run).results and (run / "STATUS").read_text().startswith("finished")
    losses = yaml.safe_load((out / "baselines" / "ita" / "config.yaml").read_text())["losses"]
    assert {name for name, term in losses.items() if term["weight"]} == {"instance"}

    trained = (out / "metrics.jsonl").read_bytes()
    [again] = [
        file
        for file in answers
        if file.parent == out / "baselines" / "ita" / "tasks" / "grounding" / "phantom"
    ]
    again.unlink()
    assert (
        demo.run_demo(out, studies=80, overrides=SMALL, device="cpu") == page
    )  # nothing that is there is done again
    assert (out / "metrics.jsonl").read_bytes() == trained
    assert [file for file, when in answers.items() if file.stat().st_mtime_ns != when] == [again]
    with pytest.raises(PlaceError, match="PL-R003"):
        demo.run_demo(out, studies=80, overrides=(*SMALL, "optim.lr=1e-4"), device="cpu")


def test_another_question_is_another_answer() -> None:
    config, other = load_recipe(demo.DEMO_RECIPE), load_recipe(demo.DEMO_RECIPE, demo.ITA_ALONE)
    asked = demo.DemoTask(("steps=1",))
    digests = {
        demo.demo_task_hash(config, asked, (0,)),
        demo.demo_task_hash(other, asked, (0,)),
        demo.demo_task_hash(config, asked, (1,)),
        demo.demo_task_hash(config, demo.DemoTask(("steps=2",)), (0,)),
        demo.demo_task_hash(config, demo.DemoTask(("steps=1",), (0.1,)), (0,)),
    }
    assert len(digests) == 5 and demo.demo_task_hash(config, asked, (0,)) in digests


def test_the_demo_asks_every_task() -> None:
    assert set(demo.DEMO_TASKS) == set(TASKS)
    for name, question in demo.DEMO_TASKS.items():
        load_settings(TASKS[name].Settings, "", question.settings)
