"""What a benchmark compares, and in which order."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from place_cxr.benchmark.plan import (
    WorkerJob,
    check_paths,
    load_benchmark,
    planned_cells,
    pretrain_config,
    worker_jobs,
)
from place_cxr.core.errors import PlaceError

SHIPPED = sorted(
    path.stem for path in Path(str(resources.files("place_cxr"))).glob("recipes/benchmarks/*.yaml")
)
PLAN = """
name: small
seeds: [0, 1]
methods:
  place: {title: PLACE, score: mix}
  late: {title: only some, trained: false, mode: finetune, fractions: [1.0]}
questions:
  - {task: classification, fractions: [0.1, 1.0], columns: [auroc/macro]}
  - {task: retrieval, columns: ["{score}/image to report/R@10"]}
"""


@pytest.fixture
def plan(tmp_path: Path) -> str:
    """The file of the plan above."""
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_benchmarks_can_be_read(name: str) -> None:
    config = load_benchmark(name)
    assert config.name == name
    assert all(list(planned_cells(config, slug)) for slug in config.methods)


def test_the_plan_in_the_docs_is_a_plan(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text("utf-8")
    (tmp_path / "mine.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    config = load_benchmark(str(tmp_path / "mine.yaml"))
    assert len(worker_jobs(config)) == 4 * 3
    assert [len(list(planned_cells(config, slug))) for slug in config.methods] == [5] * 4


def test_all_methods_have_the_first_seed_before_any_has_the_second(plan: str) -> None:
    config = load_benchmark(plan)
    assert [row.name for row in worker_jobs(config)] == [
        "place-s0",
        "late-s0",
        "place-s1",
        "late-s1",
    ]


def test_what_is_asked_of_a_method(plan: str) -> None:
    config = load_benchmark(plan)
    asked = [(one.question.task, one.fraction) for one in planned_cells(config, "place")]
    assert asked == [("classification", 0.1), ("classification", 1.0), ("retrieval", 0.0)]
    # Where the encoder trains along there is nothing to ask without a head, and its shares are its
    # own.
    assert [(one.question.task, one.fraction) for one in planned_cells(config, "late")] == [
        ("classification", 1.0)
    ]


def test_a_row_has_its_seed_and_the_values_of_benchmark_and_method(
    plan: str, tmp_path: Path
) -> None:
    config = load_benchmark(
        plan, ("values={train.steps: 5, optim.lr: 0.5}", "methods.place.values={optim.lr: 0.25}")
    )
    recipe = pretrain_config(config, WorkerJob("place", 1), tmp_path)
    assert (recipe.train.steps, recipe.train.seed, recipe.optim.lr) == (5, 1, 0.25)


def test_drawn_phantoms_are_the_pairs(plan: str, tmp_path: Path) -> None:
    config = load_benchmark(plan, ("phantom={studies: 20}",))
    assert pretrain_config(config, WorkerJob("place", 0), tmp_path).data.manifest == str(
        tmp_path / "phantom" / "manifest.csv"
    )


@pytest.mark.parametrize(
    ("override", "code", "says"),
    [
        ("reference=plaice", "PL-C002", "Did you mean 'place'"),
        (
            "questions=[{task: clasification, columns: [a]}]",
            "PL-C002",
            "Did you mean 'classification'",
        ),
        (
            "questions=[{task: classification, source: x, columns: [a]}]",
            "PL-C002",
            "unknown source 'x'",
        ),
        ("questions=[{task: classification, columns: []}]", "PL-C003", "questions.0.columns"),
        (
            "methods={place: {title: a, recipe: phantom-tinny}}",
            "PL-C002",
            "Did you mean 'phantom-tiny'",
        ),
        (
            "methods={place: {title: a, values: {optim.lrr: 1}}}",
            "PL-C001",
            "Did you mean 'optim.lr'",
        ),
        ("methods={place: {title: a}, 'a/b': {title: b}}", "PL-C002", "method name 'a/b'"),
        ("seeds=[0, 1, 0]", "PL-C002", "a seed stands twice"),
        ("sead=[0]", "PL-C001", "Did you mean 'seeds'"),
        (
            "questions=[{task: classification, fractions: [0], columns: [a]}]",
            "PL-C003",
            "greater than 0",
        ),
        (
            "questions=[{task: classification, fractions: [10], columns: [a]}]",
            "PL-C003",
            "less than or equal to 1",
        ),
        ("methods.late.fractions=[0]", "PL-C003", "methods.late.fractions.0"),
        (
            "questions=[{task: retrieval, columns: ['{scor}/R@1']}]",
            "PL-C002",
            "'{scor}/R@1' has other braces than",
        ),
        ("methods.late.run=runs/{sead}", "PL-C002", "'runs/{sead}' has other braces than {seed}"),
        ("methods.late.run='{seed:>99999999999}'", "PL-C002", "has other braces than {seed}"),
        ("methods.late.run='{seed.real}'", "PL-C002", "has other braces than {seed}"),
        ("methods.late.run='{seed!r}'", "PL-C002", "has other braces than {seed}"),
        ("methods.late.run='{seed'", "PL-C002", "has other braces than {seed}"),
        ("methods.late.settings={clasification: {}}", "PL-C002", "Did you mean 'classification'"),
        ("methods.late.settings={classification: {stepz: 2}}", "PL-C001", "Did you mean 'steps'"),
        (
            "questions=[{task: retrieval, settings: {per_class: 0}, columns: [a]}]",
            "PL-C003",
            "'per_class'",
        ),
    ],
)
def test_mistakes_are_named_before_any_work(plan: str, override: str, code: str, says: str) -> None:
    with pytest.raises(PlaceError) as caught:
        load_benchmark(plan, (override,))
    assert caught.value.code == code
    assert says in str(caught.value)


def test_lacking_files_are_named_before_any_work(plan: str, tmp_path: Path) -> None:
    there, lacking = tmp_path / "pairs.csv", tmp_path / "lacking.csv"
    there.touch()
    ready = (f"values.data.manifest={there}",)
    check_paths(load_benchmark(plan, ready))
    check_paths(load_benchmark(plan, ("phantom={studies: 10}",)))
    asked = "questions=[{task: classification, source: mine, columns: [a]}]"
    for overrides, code, says in (
        ((f"values.data.manifest={lacking}",), "PL-D205", "correct values.data.manifest"),
        (("values.data.manifest=''",), "PL-D205", "values.data.manifest is empty"),
        (
            (*ready, asked, f"sources={{mine: {{manifest: {lacking}}}}}"),
            "PL-D205",
            "correct sources.mine.manifest",
        ),
        ((*ready, f"methods.late.run={tmp_path}/{{seed}}"), "PL-R101", "correct methods.late.run"),
    ):
        with pytest.raises(PlaceError) as caught:
            check_paths(load_benchmark(plan, overrides))
        assert caught.value.code == code
        assert says in str(caught.value)
    # A source that no question asks need not be there.
    check_paths(load_benchmark(plan, (*ready, f"sources={{mine: {{manifest: {lacking}}}}}")))


def test_a_run_asked_of_pairs_needs_them_too(plan: str, tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    given = (f"methods={{place: {{title: a, run: '{tmp_path}/{{seed}}'}}}}", "seeds=[0]")
    with pytest.raises(
        PlaceError, match="correct values.data.manifest|values.data.manifest is empty"
    ):
        check_paths(load_benchmark(plan, (*given, f"values.data.manifest={tmp_path}/lacking.csv")))
    asked = "questions=[{task: classification, source: mine, columns: [a]}]"
    check_paths(
        load_benchmark(plan, (*given, asked, f"sources={{mine: {{manifest: {tmp_path}}}}}"))
    )
