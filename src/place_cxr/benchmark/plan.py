"""The plan of a benchmark: methods, each pre-trained with every seed, and tasks for all of them."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from place_cxr.core import settings as settings_file
from place_cxr.core.errors import PlaceError
from place_cxr.core.registry import pick
from place_cxr.core.settings import Settings
from place_cxr.data.corpus import DataSettings
from place_cxr.pretrain import PretrainConfig, load_recipe
from place_cxr.tasks import TASKS
from place_cxr.tasks.task import HeadTask, Mode, Profile

PHANTOM_FOLDER = "phantom"  # folder of drawn studies, in the benchmark's own
_Fractions = tuple[Annotated[float, Field(gt=0, le=1)], ...]


class PhantomSettings(Settings):
    """Made-up studies that the benchmark draws for itself."""

    studies: int = Field(6000, ge=10)
    size: int = Field(128, ge=32, description="pixels")
    seed: int = Field(0, ge=0)


class MethodSettings(Settings):
    """A row of the tables: an encoder, and which of its scores and maps are evaluated."""

    title: str
    recipe: str = Field("phantom-tiny", description="name or file of a pre-training recipe")
    values: dict[str, Any] = Field({}, description="key -> value laid over the recipe")
    run: str = Field(
        "", description="a finished run in place of training; {seed} stands for the seed"
    )
    trained: bool = Field(True, description="false: random weights")
    mode: Mode = Field("frozen", description="finetune: heads train the encoder along")
    fractions: _Fractions = Field((), description="only these shares; empty: all that are asked")
    score: Literal["instance", "observation", "mix"] = Field(
        "instance", description="what retrieval is read by"
    )
    heat: Literal["instance", "observation"] = Field(
        "instance", description="what maps are read by"
    )
    settings: dict[str, dict[str, Any]] = Field(
        {}, description="task -> key -> value, for what the method lacks"
    )
    ranked: bool = Field(True, description="false: a bound that is shown and not ranked")


class QuestionSettings(Settings):
    """A task on a data set."""

    task: str
    profile: Profile = Field(
        "strict", description="folds: every patient of a small source is tested once"
    )
    source: str = Field("", description="one of `sources`; empty: the pairs of pre-training")
    fractions: _Fractions = Field(
        (1.0,), min_length=1, description="shares of the training patients"
    )
    settings: dict[str, Any] = Field({}, description="key -> value of the task")
    finetune: dict[str, Any] = Field(
        {}, description="key -> value of the task where the encoder trains along"
    )
    columns: tuple[str, ...] = Field(
        min_length=1, description="metrics of the tables, higher is better; the first leads"
    )


class BenchmarkConfig(Settings):
    """All settings of a benchmark."""

    name: str
    phantom: PhantomSettings | None = Field(
        None, description="studies to draw; the pairs of every method"
    )
    values: dict[str, Any] = Field({}, description="key -> value laid over every method's recipe")
    seeds: tuple[int, ...] = Field(
        (0, 1, 2), min_length=1, description="of pre-training, shares and heads"
    )
    reference: str = Field("place", description="the method that the others are held against")
    methods: dict[str, MethodSettings] = Field(min_length=1)
    sources: dict[str, DataSettings] = Field(
        {}, description="labelled data beside the pairs of pre-training"
    )
    questions: tuple[QuestionSettings, ...] = Field(min_length=1)
    sites: tuple[str, ...] = Field(
        (), description="test patients apart by site, the first is home; empty: together"
    )


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """One method with one seed: the work of one process."""

    slug: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.slug}-s{self.seed}"


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A question for a method with one fraction; 0 where the task has no head."""

    question: QuestionSettings
    fraction: float


def load_benchmark(recipe: str, overrides: tuple[str, ...] = ()) -> BenchmarkConfig:
    """Load a shipped benchmark by name, or a YAML file, and apply ``key=value`` overrides.

    Raises PlaceError PL-C001 to PL-C003 for unknown keys and names, before anything is computed.
    """
    config = settings_file.load_settings(BenchmarkConfig, benchmark_path(recipe), overrides)
    pick(config.methods, config.reference, "method")
    if len(set(config.seeds)) < len(config.seeds):
        raise PlaceError("a seed stands twice in seeds:", code="PL-C002", fix="name each seed once")

    for question in config.questions:
        pick(TASKS, question.task, "task")
        if question.source:
            pick(config.sources, question.source, "source")

        for column in question.columns:
            _check_braces(column, score="", heat="")

    # All that a worker loads later is loaded once here, so that a wrong name costs a second.
    for slug, method in config.methods.items():
        if not slug.replace("-", "").isalnum():
            raise PlaceError(
                f"method name '{slug}'", code="PL-C002", fix="use letters, digits and hyphens"
            )

        pretrain_config(config, WorkerJob(slug, config.seeds[0]), Path())
        _check_braces(method.run, seed=0)
        for task in method.settings:
            pick(TASKS, task, "task")

        for planned_cell in planned_cells(config, slug):
            values = task_settings(method, planned_cell)
            settings_file.load_settings(
                TASKS[planned_cell.question.task].Settings,
                "",
                [f"{k}={as_yaml(v)}" for k, v in values.items()],
            )

    return config


def check_paths(config: BenchmarkConfig) -> None:
    """Check that all files of the plan exist, before hours of pre-training. They are not read.

    Raises PlaceError PL-D205 for missing data, PL-R101 for a missing run.
    """
    sources = {question.source for question in config.questions if question.source}
    paths = [
        (f"sources.{name}.manifest", config.sources[name].manifest, "PL-D205")
        for name in sorted(sources)
    ]

    for slug, method in config.methods.items():
        if method.run:
            runs = dict.fromkeys(method.run.format(seed=seed) for seed in config.seeds)
            paths += [(f"methods.{slug}.run", run, "PL-R101") for run in runs]

        # The pairs are needed to pre-train, and by questions without a source of their own.
        needs_pairs = not method.run or any(
            not planned_cell.question.source for planned_cell in planned_cells(config, slug)
        )
        if config.phantom is None and needs_pairs:
            recipe = pretrain_config(config, WorkerJob(slug, config.seeds[0]), Path())
            paths.append(("values.data.manifest", recipe.data.manifest, "PL-D205"))

    for key, path, code in paths:
        if not path or not Path(path).exists():
            fix = f"correct {key}; a relative path begins where the command is given"
            raise PlaceError(
                "no such file or folder" if path else f"{key} is empty",
                code=code,
                file=path,
                fix=fix,
            )


def _check_braces(text: str, **names: Any) -> None:
    """Raises PlaceError PL-C002 where a name in braces is not one of ``names``."""
    # Names alone: a width such as {seed:>999999999} would fill the memory.
    allowed = {*((name, "", None) for name in names), (None, None, None)}
    try:
        is_plain = all(part[1:] in allowed for part in string.Formatter().parse(text))
    except ValueError:
        is_plain = False

    if not is_plain:
        expected = " and ".join(f"{{{name}}}" for name in names)
        raise PlaceError(
            f"{text[:60]!r} has other braces than {expected}",
            code="PL-C002",
            fix=f"write {expected}",
        )


def benchmark_path(name: str) -> Path:
    """The file of a benchmark: a shipped one by name, or the path of a YAML file."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folder = Path(str(resources.files("place_cxr") / "recipes" / "benchmarks"))
    return pick({path.stem: path for path in folder.glob("*.yaml")}, name, "benchmark")


def worker_jobs(config: BenchmarkConfig) -> list[WorkerJob]:
    """All jobs. Every method with the first seed comes first, so that early tables compare all."""
    return [WorkerJob(slug, seed) for seed, slug in product(config.seeds, config.methods)]


def planned_cells(config: BenchmarkConfig, slug: str) -> Iterator[PlannedCell]:
    """The cells of a method. Where the encoder is fine-tuned, only tasks with a head."""
    method = config.methods[slug]
    for question in config.questions:
        has_head = issubclass(TASKS[question.task], HeadTask)
        if not has_head and method.mode == "frozen":
            yield PlannedCell(question, 0.0)

        for fraction in question.fractions if has_head else ():
            if not method.fractions or fraction in method.fractions:
                yield PlannedCell(question, fraction)


def task_settings(method: MethodSettings, planned_cell: PlannedCell) -> dict[str, Any]:
    """Settings of the task for this method; the later of these three win."""
    question = planned_cell.question
    finetune_values = question.finetune if method.mode == "finetune" else {}
    return {**question.settings, **finetune_values, **method.settings.get(question.task, {})}


def pretrain_config(config: BenchmarkConfig, job: WorkerJob, out: Path) -> PretrainConfig:
    """The pre-training recipe of a job, with its seed and data."""
    method = config.methods[job.slug]
    overrides = {**config.values, **method.values, "train.seed": job.seed}
    if config.phantom is not None:
        overrides["data.manifest"] = str(out / PHANTOM_FOLDER / "manifest.csv")

    return _load_cached(
        method.recipe, tuple(f"{key}={as_yaml(value)}" for key, value in overrides.items())
    )


@cache
def _load_cached(recipe: str, overrides: tuple[str, ...]) -> PretrainConfig:
    """Cached, because each cell of a job needs its recipe."""
    return load_recipe(recipe, overrides)


def as_yaml(value: Any) -> str:
    """A value in the form of a ``key=value`` override: JSON is YAML."""
    return json.dumps(value)
