"""From a plan to its cells: each once, on home and away, by workers that may be stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from place_cxr import pretrain
from place_cxr.benchmark import run as benchmark_run
from place_cxr.benchmark import worker as row_module
from place_cxr.benchmark.cell import PretrainingCost, read_cells
from place_cxr.benchmark.plan import BenchmarkConfig, WorkerJob, load_benchmark
from place_cxr.benchmark.worker import BUSY_EXIT_CODE, missing_sites, run_worker
from place_cxr.cli.benchmark import benchmark as command
from place_cxr.cli.worker import main
from place_cxr.core.errors import PlaceError
from place_cxr.core.results import RESULT_FILE
from place_cxr.tasks.engine import recompute_metrics
from place_cxr.tasks.predictions import Predictions
from place_cxr.training import checkpoint
from place_cxr.training.run_folder import RunFolder
from tests.small import RECIPE, digest

PLAN = """
name: small
phantom: {studies: 60, size: 64}
values: {data.sites: [A], train.steps: 2}
seeds: [0]
sites: [A, B]
methods:
  place: {title: PLACE, recipe: RECIPE, score: mix}
  random: {title: random weights, recipe: RECIPE, trained: false}
questions:
  - {task: classification, fractions: [0.5, 1.0], columns: [auroc/macro]}
  - {task: retrieval, columns: ["{score}/image to report/R@10"]}
"""
FOLDS = """
name: folds
phantom: {studies: 60, size: 64}
values: {train.steps: 2}
seeds: [0, 1]
methods:
  place: {title: PLACE, recipe: RECIPE, trained: false}
questions:
  - task: classification
    profile: folds
    settings: {findings: [Cardiomegaly]}
    columns: [brier/Cardiomegaly]
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of the plan above."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "small.yaml").write_text(RECIPE)
    (folder / "plan.yaml").write_text(PLAN.replace("RECIPE", str(folder / "small.yaml")))
    return str(folder / "plan.yaml")


def test_each_row_tests_every_patient_once_in_folds_of_its_own(plan: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        FOLDS.replace("RECIPE", str(Path(plan).parent / "small.yaml"))
    )
    config, out = load_benchmark(str(tmp_path / "plan.yaml")), tmp_path / "out"
    benchmark_run._claim_folder(config, out)
    benchmark_run._draw_phantoms(config, out)
    for seed in config.seeds:
        run_worker(config, out, WorkerJob("place", seed), "cpu")
    cells = list(read_cells(out))
    assert [cell.key.task for cell in cells] == ["classification-folds"] * 2
    assert [cell.result.seeds for cell in cells] == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)]
    assert (
        len({cell.result.split_digest for cell in cells}) == 1
    )  # the same patients, so draws are paired
    tested = [Predictions.read(cell.key.folder(out)).subset("test") for cell in cells]
    owners = [dict(zip(one.values("row"), one.patients, strict=True)) for one in tested]
    assert owners[0] == owners[1] and all(
        len(one.values("row")) == len(owners[0]) == 60 for one in tested
    )
    assert benchmark_run.count_cells(config, out) == (2, 2)


@pytest.fixture(scope="module")
def config(plan: str) -> BenchmarkConfig:
    return load_benchmark(plan)


@pytest.fixture(scope="module")
def out(config: BenchmarkConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both rows, filled in this process."""
    out = tmp_path_factory.mktemp("out") / "bench"
    benchmark_run._claim_folder(config, out)
    benchmark_run._draw_phantoms(config, out)
    for slug in config.methods:
        run_worker(config, out, WorkerJob(slug, 0), "cpu")
    return out


def test_every_cell_is_there_on_both_sites(config: BenchmarkConfig, out: Path) -> None:
    found = {(c.key.slug, c.key.task, c.key.fraction, c.key.site): c for c in read_cells(out)}
    asked = [("classification", 0.5), ("classification", 1.0), ("retrieval", 0.0)]
    assert set(found) == {(m, t, f, s) for m in config.methods for t, f in asked for s in "AB"}
    assert benchmark_run.count_cells(config, out) == (6, 6)
    assert benchmark_run.seconds_left(config, out, 1) == 0


def test_draws_are_paired_and_no_training_patient_is_of_the_other_site(
    config: BenchmarkConfig, out: Path
) -> None:
    cells = {
        (c.key.slug, c.key.task, c.key.site): c for c in read_cells(out) if c.key.fraction in (0, 1)
    }
    for task in ("classification", "retrieval"):
        for site in "AB":
            ours, theirs = cells["place", task, site], cells["random", task, site]
            assert ours.result.split_digest == theirs.result.split_digest
        assert (
            cells["place", task, "A"].result.split_digest
            != cells["place", task, "B"].result.split_digest
        )
    lock = json.loads((out / "place-s0" / "run" / "data.lock.json").read_text())
    both = sum(
        json.loads(line)["site"] == "B"
        for line in _rows(out)
        if json.loads(line)["split"] != "test"
    )
    assert both > 0  # there were such patients to leave out
    train = [json.loads(line) for line in _rows(out)]
    assert lock["images"]["train"] == sum(
        row["split"] == "train" and row["site"] == "A" for row in train
    )
    assert lock["images"]["test"] == sum(row["split"] == "test" for row in train)


def _rows(out: Path) -> list[str]:
    import csv

    with (out / "phantom" / "manifest.csv").open(newline="") as file:
        return [json.dumps(row) for row in csv.DictReader(file)]


def test_a_cell_is_a_result_that_can_be_computed_again(out: Path) -> None:
    for cell in read_cells(out):
        column = cell.result.metrics
        again = recompute_metrics(cell.key.folder(out))
        assert {name: metric.value for name, metric in again.items()} == {
            n: m.value for n, m in column.items()
        }
        for name, drawn in cell.draws.items():
            low, high = np.percentile(drawn[np.isfinite(drawn)], [2.5, 97.5])
            if column[name].low is not None:
                assert (low, high) == pytest.approx((column[name].low, column[name].high))


def test_costs_are_of_what_was_trained(out: Path) -> None:
    cost = PretrainingCost.read(out / "place-s0")
    assert cost is not None and cost.seconds and cost.memory_gb
    assert 0 < cost.encoder < cost.parameters
    assert PretrainingCost.read(out / "random-s0") is None


def test_what_is_done_stays_and_what_is_missing_is_filled(
    config: BenchmarkConfig, out: Path
) -> None:
    files = sorted(out.glob(f"place-s0/cells/*/*/*/*/{RESULT_FILE}"))
    gone = next(
        file for file in files if "classification" in str(file) and file.parts[-3:-1] == ("50", "B")
    )
    before = {file: file.stat().st_mtime_ns for file in files if file != gone}
    gone.unlink()
    assert benchmark_run.count_cells(config, out) == (5, 6)
    run_worker(config, out, WorkerJob("place", 0), "cpu")
    assert gone.is_file()
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_a_changed_question_is_asked_again_and_no_other(
    plan: str, config: BenchmarkConfig, out: Path
) -> None:
    other = load_benchmark(
        plan, ("questions=[{task: classification, columns: [auroc/macro], settings: {lr: 0.1}}]",)
    )
    (asked,) = benchmark_run.planned_cells(other, "place")
    assert missing_sites(other, out, WorkerJob("place", 0), asked) == ["A", "B"]
    assert benchmark_run.count_cells(config, out) == (6, 6)


def test_a_moved_benchmark_goes_on(config: BenchmarkConfig, out: Path, tmp_path: Path) -> None:
    place = shutil.copytree(out, tmp_path / "elsewhere")
    next(place.glob(f"place-s0/cells/classification/*/*/*/{RESULT_FILE}")).unlink()
    run_worker(config, place, WorkerJob("place", 0), "cpu")
    assert benchmark_run.count_cells(config, place) == (6, 6)


def test_a_stopped_pre_training_goes_on_to_the_same_weights(
    config: BenchmarkConfig, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "phantom").symlink_to(out / "phantom")
    whole_run = pretrain.run_pretraining

    def stopped(*args: Any, **options: Any) -> NoReturn:
        whole_run(*args, **options, stop_at=1)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretrain, "run_pretraining", stopped)
        run_worker(config, tmp_path, WorkerJob("place", 0), "cpu")
    begun = checkpoint.load(tmp_path / "place-s0" / "run")
    run_worker(config, tmp_path, WorkerJob("place", 0), "cpu")
    ended, whole = (checkpoint.load(place / "place-s0" / "run") for place in (tmp_path, out))
    assert (begun.step, ended.step) == (1, 2)
    assert digest(begun.weights) != digest(ended.weights) == digest(whole.weights)


def test_another_recipe_does_not_go_on_with_a_run(
    plan: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load_benchmark(plan, ("values={data.sites: [A], train.steps: 3}",))
    monkeypatch.setattr(
        row_module, "prepare_corpus", lambda *_, **__: pytest.fail("nothing is read before")
    )
    with pytest.raises(PlaceError) as caught:
        run_worker(other, out, WorkerJob("place", 0), "cpu")
    assert caught.value.code == "PL-R031"


def test_a_column_that_a_task_does_not_give(plan: str, out: Path) -> None:
    other = load_benchmark(plan, ("questions=[{task: classification, columns: [auroc/micro]}]",))
    with pytest.raises(PlaceError) as caught:
        run_worker(other, out, WorkerJob("random", 0), "cpu")
    assert "gives no 'auroc/micro'" in str(caught.value)


def test_folders_of_others_are_left_alone(
    config: BenchmarkConfig, plan: str, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(PlaceError) as caught:
        benchmark_run._claim_folder(config, tmp_path)
    assert caught.value.code == "PL-R004"
    with pytest.raises(PlaceError) as caught:
        benchmark_run._claim_folder(load_benchmark(plan, ("name=other",)), out)
    assert caught.value.code == "PL-R032"
    with pytest.raises(PlaceError) as caught:
        benchmark_run.rewrite_results(tmp_path)
    assert caught.value.code == "PL-R032"
    with pytest.raises(PlaceError) as caught:
        benchmark_run._draw_phantoms(
            load_benchmark(plan, ("phantom={studies: 61, size: 64}",)), out
        )
    assert caught.value.code == "PL-R032"


@pytest.mark.parametrize("dry", [False, True])
def test_nothing_begins_where_a_run_is_lacking(plan: str, tmp_path: Path, dry: bool) -> None:
    with pytest.raises(PlaceError, match="correct methods.random.run"):
        command(plan, [f"methods.random.run={tmp_path}/nowhere"], out=tmp_path / "b", dry_run=dry)
    assert not (tmp_path / "b").exists()


def test_a_row_that_is_held_elsewhere(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["row", str(out), "random", "0", "cpu"])
    with RunFolder.create(out / "random-s0", resume=True), pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == BUSY_EXIT_CODE


@pytest.mark.slow
def test_the_command_goes_on_and_names_what_failed(plan: str, tmp_path: Path) -> None:
    def place(*words: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "place_cxr",
            "benchmark",
            plan,
            "-o",
            str(tmp_path / "b"),
            *words,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    planned = place("--dry-run")
    assert planned.returncode == 0
    assert planned.stdout == "6 cells after 1 pre-training runs; 0 are there\n"
    assert not (tmp_path / "b").exists()
    (tmp_path / "nowhere").mkdir()  # there, but no run
    broken = f"methods.random.run={tmp_path / 'nowhere'}"
    first = place("--device", "cpu", "--workers", "2", broken)
    assert first.returncode == 6, first.stderr
    assert first.stdout.startswith("3 of 6 cells. Results: ")
    assert "random-s0 failed: error[PL-R" in first.stderr
    assert "PL-R" in (tmp_path / "b" / "logs" / "random-s0.log").read_text()
    second = place("--device", "cpu")
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith("6 of 6 cells. Results: ")
    assert "PLACE" in (tmp_path / "b" / "results.md").read_text()


def test_why_a_worker_failed_is_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    refusal = (
        "error[PL-C002] classification gives no 'aurok/macro'. Fix: correct columns: of the "
        "benchmark"
    )
    log.write_text(f"Traceback\nplace_cxr.core.errors.PlaceError: {refusal}\n")
    assert benchmark_run._failure_reason(log) == refusal
    log.write_text(f"{refusal}\nand another day:\nMemoryError\n")
    assert benchmark_run._failure_reason(log) == "a crash"
