"""The first-results table says what the result files say, and nothing where there is no file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from phantom_methods import MAIN, METHODS
from phantom_report import READING, comparison, number, render, verdict
from phantom_runs import Mean, mean, read_runs
from phantom_table import finished, overrides, wanted

from place_cxr.cli.demo import DEMO_RECIPE
from place_cxr.core.errors import PlaceError
from place_cxr.core.results import Metric, Provenance, Result
from place_cxr.pretrain import load_recipe

VALUES = {"place": (0.8, 0.9), "ita": (0.7, 0.6), "mystery": (0.5,)}


def write(folder: Path, task: str, metrics: dict[str, Metric], digest: str = "d") -> None:
    origin = Provenance("phantom", "test", digest, "x", git="0123456789abcdef")
    Result.of(task, origin, metrics, signature=f"how {task}", seeds=[0], seconds=1).write(
        folder / "tasks" / task / "phantom"
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for slug, values in VALUES.items():
        for seed, value in enumerate(values):
            run = tmp_path / "runs" / f"{slug}-s{seed}"
            metrics = {
                f"{variant}/auroc/macro": Metric(
                    value + shift, value + shift - 0.05, value + shift + 0.05, 9
                )
                for variant, shift in (("instance", 0.0), ("mix", 0.01), ("observation", -0.1))
            }
            write(run, "zero-shot", metrics)
            (run / "metrics.jsonl").write_text(
                json.dumps({"step": 50, "images_per_s": 2.0, "correlation": 0.25}) + "\n"
            )
            (run / "config.yaml").write_text("train: {batch_size: 12}\n")
    return tmp_path / "runs"


def rendered(runs: Path, results: str = "") -> str:
    folder = runs.parent
    (folder / "results.md").write_text(results)
    render(runs, folder / "results.md")
    return (folder / "results.md").read_text()


def row(page: str, heading: str, title: str) -> list[str]:
    lines = page.split(heading, 1)[1].splitlines()
    return [
        cell.strip()
        for cell in next(line for line in lines if line.startswith(f"| {title} |")).split("|")[2:-1]
    ]


def test_cells_are_mean_interval_and_spread(runs: Path) -> None:
    page = rendered(runs)
    assert row(page, "## Zero-shot", "PLACE") == [
        ".850 [.800, .900] ±.071",
        ".750 [.700, .800] ±.071",
        ".860 [.810, .910] ±.071",
    ]
    assert row(page, "## Zero-shot", "random weights") == ["", "", ""]
    assert row(page, "## Linear probe", "PLACE") == ["", "", ""]


def test_unknown_method_goes_by_its_slug_and_one_seed_has_no_spread(runs: Path) -> None:
    assert row(rendered(runs), "## Ablations", "mystery")[0] == ".510"


def test_methods_are_compared_by_the_score_they_train(runs: Path) -> None:
    page = rendered(runs)
    assert row(page, "**ITA alone**", "zero-shot AUROC") == [
        ".860",
        ".650",
        "+0.210",
        "+0.110, +0.310",
        "higher with all 2 seeds; intervals apart",
    ]


def test_provenance_comes_from_the_files(runs: Path) -> None:
    cells = row(rendered(runs), "## Where", "PLACE")
    assert cells == [
        "`place`",
        "0 1",
        "50",
        "5.0",
        "`012345678`",
        "",
    ]  # 50 steps of 12 pictures at 2 a second: 300 s


def test_reading_stays_and_the_rest_is_written_anew(runs: Path) -> None:
    page = rendered(runs, results=f"stale\n{READING[0]}\nIt is so.\n{READING[1]}\nstale")
    assert f"{READING[0]}\nIt is so.\n{READING[1]}" in page and "stale" not in page
    assert rendered(runs, results=page) == page


def test_results_on_other_studies_are_refused(runs: Path) -> None:
    write(
        runs / "random-s0",
        "zero-shot",
        {"mix/auroc/macro": Metric(0.5, 0.4, 0.6, 9)},
        digest="other",
    )
    with pytest.raises(PlaceError, match="test studies"):
        read_runs(runs)


def test_nothing_to_render_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="no results"):
        render(tmp_path, tmp_path / "results.md")


def test_undefined_numbers_are_not_averaged(runs: Path) -> None:
    write(
        runs / "place-s1",
        "zero-shot",
        {"mix/auroc/macro": Metric(None, None, None, 0, "no patients")},
    )
    assert mean(read_runs(runs), "place", "zero-shot", "mix/auroc/macro") == Mean(
        {0: 0.81}, pytest.approx(0.76), pytest.approx(0.86)
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (
            Mean({0: 0.7, 1: 0.8}, 0.7, 0.8),
            Mean({0: 0.6, 1: 0.9}, 0.7, 0.8),
            "higher with 1 of 2 seeds; intervals overlap",
        ),
        (
            Mean({0: 0.2}, 0.1, 0.3),
            Mean({0: 0.6, 1: 0.7}, 0.5, 0.8),
            "lower with 1 seed; intervals apart",
        ),
        (Mean({0: 0.2}), Mean({1: 0.6}), "no seed in common"),
        (Mean({0: 0.7}), Mean({0: 0.6}), "higher with 1 seed"),
        (Mean({0: 0.7}), Mean({0: 0.7}), "higher with 0 of 1 seed"),
    ],
)
def test_verdict(ours: Mean, theirs: Mean, said: str) -> None:
    assert verdict(ours, theirs) == said


def test_a_measure_without_a_partner_is_left_out(runs: Path) -> None:
    assert comparison(read_runs(runs), lambda task, name: None, "x").count("\n") == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, ".500"), (-0.25, "-.250"), (1.0, "1.000"), (None, "")]
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("slug", METHODS)
def test_every_method_is_a_valid_change_of_the_recipe(slug: str) -> None:
    config = load_recipe(DEMO_RECIPE, overrides(METHODS[slug], Path("m.csv"), 3))
    assert config.train.seed == 3
    trained = {name for name, term in config.losses.items() if term.weight}
    assert ("correlation" in trained) == (config.model.correlation is not None) or slug == "random"
    assert any(name.startswith("pathology") for name in trained) == (METHODS[slug].score == "mix")


def test_an_ablation_that_changes_nothing_is_left_out() -> None:
    target = load_recipe(DEMO_RECIPE).model.correlation
    slugs = wanted([], Path("m.csv"))
    assert target is not None and f"cce-{target.target}" not in slugs
    assert set(MAIN) <= set(slugs) and "select-max" in slugs


def test_finished_needs_every_task(runs: Path) -> None:
    run = runs / "place-s0"
    assert not finished(run)
    for task in ("classification", "retrieval", "grounding"):
        write(run, task, {})
    assert finished(run)


def test_ablations_made_apart_are_held_against_their_own_place(runs: Path) -> None:
    for slug, value in (("place", 0.3), ("select-max", 0.4), ("ita", 0.2)):
        run = runs.parent / "apart" / f"{slug}-s0"
        write(
            run,
            "zero-shot",
            {"mix/auroc/macro": Metric(value, 0.1, 0.5, 9)},
            digest="of other studies",
        )
        (run / "metrics.jsonl").write_text('{"step": 7}\n')
    render(runs, runs.parent / "r.md", ablations=runs.parent / "apart")
    page = (runs.parent / "r.md").read_text()
    assert (
        row(page, "## Ablations", "PLACE")[0] == ".300"
        and row(page, "## Ablations", METHODS["select-max"].title)[0] == ".400"
    )
    assert "a budget of their own**: 7 steps, seed 0" in page and row(
        page, "## Zero-shot", "PLACE"
    )[2].startswith(".860")
