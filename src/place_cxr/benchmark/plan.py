"""What a benchmark compares: methods, each pre-trained with every seed, and the questions put to all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
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

PHANTOM = "phantom"  # folder of drawn studies, in the benchmark's own
Shares = tuple[Annotated[float, Field(gt=0, le=1)], ...]


class PhantomSettings(Settings):
    """Made-up studies that the benchmark draws for itself."""

    studies: int = Field(6000, ge=10)
    size: int = Field(128, ge=32, description="pixels")
    seed: int = Field(0, ge=0)


class Method(Settings):
    """A row of the tables: an encoder, and what of it is read."""

    title: str
    recipe: str = Field("phantom-tiny", description="name or file of a pre-training recipe")
    values: dict[str, Any] = Field({}, description="key -> value laid over the recipe")
    run: str = Field("", description="a finished run in place of training; {seed} stands for the seed")
    trained: bool = Field(True, description="false: random weights")
    mode: Mode = Field("frozen", description="finetune: heads train the encoder along")
    fractions: Shares = Field((), description="only these shares; empty: all that are asked")
    score: Literal["instance", "observation", "mix"] = Field("instance", description="what retrieval is read by")
    heat: Literal["instance", "observation"] = Field("instance", description="what maps are read by")
    settings: dict[str, dict[str, Any]] = Field({}, description="task -> key -> value, for what the method lacks")
    ranked: bool = Field(True, description="false: a bound that is shown and not ranked")


class Question(Settings):
    """A task on a data set."""

    task: str
    profile: Profile = Field("strict", description="folds: every patient of a small source is tested once")
    source: str = Field("", description="one of `sources`; empty: the pairs of pre-training")
    fractions: Shares = Field((1.0,), min_length=1, description="shares of the training patients")
    settings: dict[str, Any] = Field({}, description="key -> value of the task")
    finetune: dict[str, Any] = Field({}, description="key -> value of the task where the encoder trains along")
    columns: tuple[str, ...] = Field(
        min_length=1, description="metrics of the tables, higher is better; the first leads"
    )


class BenchmarkConfig(Settings):
    """A benchmark, whole."""

    name: str
    phantom: PhantomSettings | None = Field(None, description="studies to draw; the pairs of every method")
    values: dict[str, Any] = Field({}, description="key -> value laid over every method's recipe")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="of pre-training, shares and heads")
    reference: str = Field("place", description="the method that the others are held against")
    methods: dict[str, Method] = Field(min_length=1)
    sources: dict[str, DataSettings] = Field({}, description="labelled data beside the pairs of pre-training")
    questions: tuple[Question, ...] = Field(min_length=1)
    sites: tuple[str, ...] = Field((), description="test patients apart by site, the first is home; empty: together")


@dataclass(frozen=True, slots=True)
class Row:
    """One method with one seed: what one worker does at a time."""

    slug: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.slug}-s{self.seed}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a row with one share; 0 where nothing is learned."""

    question: Question
    fraction: float


def load_benchmark(recipe: str, overrides: tuple[str, ...] = ()) -> BenchmarkConfig:
    """A shipped benchmark by its name, or a YAML file, with ``key=value`` laid over.

    Raises PlaceError PL-C001 to PL-C003 for unknown keys and names, before anything is computed.
    """
    config = settings_file.load(BenchmarkConfig, benchmark_path(recipe), overrides)
    pick(config.methods, config.reference, "method")
    if len(set(config.seeds)) < len(config.seeds):
        raise PlaceError("a seed stands twice in seeds:", code="PL-C002", fix="name each seed once")
    for question in config.questions:
        pick(TASKS, question.task, "task")
        if question.source:
            pick(config.sources, question.source, "source")
        for column in question.columns:
            _filled(column, score="", heat="")
    for slug, method in config.methods.items():
        if not slug.replace("-", "").isalnum():
            raise PlaceError(f"method name '{slug}'", code="PL-C002", fix="use letters, digits and hyphens")
        pretraining(config, Row(slug, config.seeds[0]), Path())
        _filled(method.run, seed=0)
        for task in method.settings:
            pick(TASKS, task, "task")
        for asked in cells(config, slug):
            values = task_values(method, asked)
            settings_file.load(
                TASKS[asked.question.task].Settings, "", [f"{k}={as_yaml(v)}" for k, v in values.items()]
            )
    return config


def check_places(config: BenchmarkConfig) -> None:
    """Whether all files are there that the plan names, without a look into them: pre-training may take hours.

    Raises PlaceError PL-D205 for data, PL-R101 for a run.
    """
    asked = {question.source for question in config.questions if question.source}
    places = [(f"sources.{name}.manifest", config.sources[name].manifest, "PL-D205") for name in sorted(asked)]
    for slug, method in config.methods.items():
        if method.run:
            runs = dict.fromkeys(method.run.format(seed=seed) for seed in config.seeds)
            places += [(f"methods.{slug}.run", run, "PL-R101") for run in runs]
        if config.phantom is None and (not method.run or any(not one.question.source for one in cells(config, slug))):
            manifest = pretraining(config, Row(slug, config.seeds[0]), Path()).data.manifest
            places.append(("values.data.manifest", manifest, "PL-D205"))
    for key, place, code in places:
        if not place or not Path(place).exists():
            fix = f"correct {key}; a relative path begins where the command is given"
            raise PlaceError("no such file or folder" if place else f"{key} is empty", code=code, file=place, fix=fix)


def _filled(text: str, **known: Any) -> None:
    """Raises PlaceError PL-C002 where a name in braces is not ``known``."""
    try:
        text.format(**known)
    except (KeyError, IndexError, ValueError, AttributeError):
        said = " and ".join(f"{{{name}}}" for name in known)
        raise PlaceError(f"{text!r} has other braces than {said}", code="PL-C002", fix=f"write {said}") from None


def benchmark_path(name: str) -> Path:
    """The file of a benchmark."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folder = Path(str(resources.files("place_cxr") / "recipes" / "benchmarks"))
    return pick({path.stem: path for path in folder.glob("*.yaml")}, name, "benchmark")


def rows(config: BenchmarkConfig) -> list[Row]:
    """All rows; every method with the first seed comes before the second seed, so that early tables compare all."""
    return [Row(slug, seed) for seed in config.seeds for slug in config.methods]


def cells(config: BenchmarkConfig, slug: str) -> Iterator[Asked]:
    """What is asked of a method; where the encoder trains along, only what has a head."""
    method = config.methods[slug]
    for question in config.questions:
        headed = issubclass(TASKS[question.task], HeadTask)
        if not headed and method.mode == "frozen":
            yield Asked(question, 0.0)
        for fraction in question.fractions if headed else ():
            if not method.fractions or fraction in method.fractions:
                yield Asked(question, fraction)


def task_values(method: Method, asked: Asked) -> dict[str, Any]:
    """Settings of the task where it is asked of this method."""
    question = asked.question
    laid = question.finetune if method.mode == "finetune" else {}
    return {**question.settings, **laid, **method.settings.get(question.task, {})}


def pretraining(config: BenchmarkConfig, row: Row, out: Path) -> PretrainConfig:
    """The recipe of a row, with its seed and data."""
    method = config.methods[row.slug]
    laid = {**config.values, **method.values, "train.seed": row.seed}
    if config.phantom is not None:
        laid["data.manifest"] = str(out / PHANTOM / "manifest.csv")
    return _loaded(method.recipe, tuple(f"{key}={as_yaml(value)}" for key, value in laid.items()))


@cache
def _loaded(recipe: str, overrides: tuple[str, ...]) -> PretrainConfig:
    """Looking at all cells asks for each row's recipe many times."""
    return load_recipe(recipe, overrides)


def as_yaml(value: Any) -> str:
    """A value as ``key=value`` takes it."""
    import json

    return json.dumps(value)
