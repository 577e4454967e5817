"""Run any task on any encoder: fractions of labelled patients x seeds, then one result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from place_cxr.core.errors import PlaceError
from place_cxr.core.registry import pick
from place_cxr.core.results import Metric, Provenance, Result, describe_hardware, split_digest
from place_cxr.core.settings import load_settings
from place_cxr.models.image import ImageEncoder
from place_cxr.models.report_features import ReportFeatureEncoder
from place_cxr.tasks import TASKS
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.feature_cache import FeatureCache
from place_cxr.tasks.features import FrozenFeatures, HeadModel, feature_reader, load_images
from place_cxr.tasks.fractions import FOLD_COUNT, fold_splits, nested_fraction_rows
from place_cxr.tasks.predictions import (
    Predictions,
    add_columns,
    common_columns,
    concat_tables,
    stack_cells,
)
from place_cxr.tasks.task import (
    FOLD_PROFILES,
    PROFILES,
    HasBaselines,
    HasClosedForm,
    HasFigures,
    HeadTask,
    Mode,
    Profile,
    RowIndices,
    TargetFunction,
    Task,
    TextTask,
)
from place_cxr.tasks.train_head import HeadDataset, InputFunction, predict_batches, train_head

DEFAULT_FRACTIONS = (0.01, 0.1, 1.0)
DEFAULT_SEEDS = (0, 1, 2)
# Training rows that are checked first: where these suffice for every name, which is usual, the
# masks of the other rows are not read.
_FIRST_ROWS = 256
_HAS_NEED: Mapping[str, Callable[[Any], object]] = {
    "labels": lambda study: not all(map(math.isnan, study.labels.values())),
    "masks": lambda study: study.masks,
    "boxes": lambda study: study.boxes,
    "reports": lambda study: study.report.strip(),
    "views": lambda study: study.view,
}


@dataclass(frozen=True, slots=True)
class FractionsAndSeeds:
    """What is run: fractions of the training patients (1: all, in every seed) and seeds."""

    fractions: tuple[float, ...] = DEFAULT_FRACTIONS
    seeds: tuple[int, ...] = DEFAULT_SEEDS

    def __post_init__(self) -> None:
        """Raises PlaceError PL-C040 for a fraction outside 0 to 1, and for no fraction or seed."""
        if not self.fractions or not all(0 < fraction <= 1 for fraction in self.fractions):
            raise PlaceError(
                "a fraction lies above 0 and at most at 1",
                code="PL-C040",
                fix="use --fraction .01,.1,1",
            )

        if not self.seeds or min(self.seeds) < 0:
            raise PlaceError("seeds are numbers from 0", code="PL-C040", fix="use --seeds 0,1,2")


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """Where an evaluated model comes from, as a result states it.

    ``method`` is its name in tables, ``git`` the commit of the code, ``config_hash`` that of the
    settings; the last two are empty where they are not known.
    """

    method: str
    git: str = ""
    config_hash: str = ""


def default_seeds(profile: Profile) -> tuple[int, ...]:
    """The seeds that are run where none is named; where the seed is the fold, all folds."""
    return repetition_seeds(profile, 0) if profile in FOLD_PROFILES else DEFAULT_SEEDS


def repetition_seeds(profile: Profile, seed: int) -> tuple[int, ...]:
    """The seeds of one repetition: ``seed``, or the five folds of the ``seed``-th division."""
    return (
        tuple(range(FOLD_COUNT * seed, FOLD_COUNT * (seed + 1)))
        if profile in FOLD_PROFILES
        else (seed,)
    )


def make_task(
    name: str,
    studies: Sequence[Any],
    overrides: Sequence[str] = (),
    *,
    profile: Profile = "strict",
    mode: Mode = "frozen",
) -> Task:
    """A task for these studies, checked before anything is computed.

    Raises PlaceError: PL-C001 to PL-C003 for an unknown task, profile, setting, value or finding,
    PL-D225 for studies without what the task needs.
    """
    task_class: type[Task] = pick(TASKS, name, "task")
    pick(PROFILES, profile, "profile")
    for need in sorted(task_class.needs):
        if not any(_HAS_NEED[need](study) for study in studies):
            raise PlaceError(
                f"{name} needs {need}, and no study has any",
                code="PL-D225",
                fix="name another source",
            )

    default_values = task_class.defaults(profile, mode)
    settings = load_settings(
        task_class.Settings,
        "",
        [*(f"{key}={_to_yaml(value)}" for key, value in default_values.items()), *overrides],
    )
    known_names = task_class.names_in(studies)
    choices = dict(zip(known_names, known_names, strict=True))
    names = [pick(choices, name, "finding") for name in settings.findings] or known_names

    return task_class(settings, tuple(names), profile, mode)


def run_task(
    task: Task,
    model: Any,
    data: EvaluationDataset,
    folder: Path,
    fractions_and_seeds: FractionsAndSeeds | None = None,
    *,
    origin: ModelOrigin,
    feature_cache: FeatureCache | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Result:
    """Run ``task`` and write ``folder/<task>/<source>/``: ``predictions.parquet``, and
    ``result.json`` scored from it.

    ``<task>`` is the registry's name, with ``-finetune`` and the profile where they are not the
    default. ``feature_cache`` as in `predict_task`. Raises PlaceError PL-D224 where a split is
    empty.
    """
    fractions_and_seeds, started = fractions_and_seeds or FractionsAndSeeds(), time.perf_counter()
    target = folder / task_title(task) / data.source
    predicted, test_rows = predict_task(
        task,
        model,
        data,
        target,
        fractions_and_seeds,
        feature_cache=feature_cache,
        on_progress=on_progress,
    )
    predicted.write(target)
    metrics = task.score(predicted)

    provenance = Provenance(
        source=data.source,
        split="test",
        split_digest=split_digest([data.studies[row] for row in test_rows]),
        method=origin.method,
        git=origin.git,
        config_hash=origin.config_hash,
        hardware=describe_hardware(),
    )
    seconds = time.perf_counter() - started
    result = make_result(task, fractions_and_seeds, provenance, metrics, seconds=seconds)
    result.write(target)

    return result


def predict_task(
    task: Task,
    model: Any,
    data: EvaluationDataset,
    folder: Path,
    fractions_and_seeds: FractionsAndSeeds,
    *,
    feature_cache: FeatureCache | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[Predictions, RowIndices]:
    """Predictions on test rows and, where the score needs them, validation rows; and the test rows.

    Heads are trained in a temporary folder in ``folder``. ``feature_cache`` keeps features from one
    call to the next: pass the same to every task of one model on one source. Raises PlaceError
    PL-D224 where a split is empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    feature_cache = feature_cache or FeatureCache()
    if isinstance(task, HeadTask):
        return _predict_with_heads(
            task,
            model,
            data,
            fractions_and_seeds,
            folder,
            feature_cache,
            on_progress,
        )

    assert isinstance(task, TextTask)

    return _predict_with_text(task, model, data, fractions_and_seeds, feature_cache, on_progress)


def make_result(
    task: Task,
    fractions_and_seeds: FractionsAndSeeds,
    provenance: Provenance,
    metrics: Mapping[str, Metric],
    *,
    seconds: float,
) -> Result:
    """The result of ``task``, whose signature names the profile."""
    words = "; ".join((PROFILES[task.profile], task.signature()))
    seeds = (
        fractions_and_seeds.seeds if isinstance(task, HeadTask) else fractions_and_seeds.seeds[:1]
    )

    return Result.of(
        task_title(task), provenance, metrics, signature=words, seeds=seeds, seconds=seconds
    )


def recompute_metrics(path: str | Path) -> dict[str, Metric]:
    """Compute every metric again from stored predictions alone.

    Raises PlaceError PL-R021 where there are no predictions.
    """
    stored = Predictions.read(path)
    task_record = stored.about
    task_class: type[Task] = pick(TASKS, task_record["task"], "task")
    settings = task_class.Settings.model_validate(task_record["settings"])

    return task_class(
        settings, tuple(task_record["names"]), task_record["profile"], task_record["mode"]
    ).score(stored)


def task_title(task: Task) -> str:
    """The name under which results are stored: each profile and mode has its own."""
    return format_task_title(
        next(name for name, kind in TASKS.items() if kind is type(task)), task.mode, task.profile
    )


def format_task_title(name: str, mode: Mode, profile: Profile) -> str:
    """As `task_title`, from names."""
    return "-".join((name, *(word for word in (mode, profile) if word not in ("frozen", "strict"))))


def _task_record(task: Task, left_out: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    table = asdict(task) | {
        "settings": task.settings.model_dump(mode="json"),
        "names": list(task.names),
    }
    name = next(name for name, kind in TASKS.items() if kind is type(task))
    return {"task": name} | table | {"left_out": left_out}


def _usable_splits(task: Task, data: EvaluationDataset, seed: int) -> dict[str, RowIndices]:
    """Usable rows by split. Raises PlaceError PL-D224 where one is empty."""
    rows = dict(data.rows)

    # Folds are drawn among the usable studies of all splits, so that each fold tests some.
    if task.profile in FOLD_PROFILES:
        usable_rows = [
            row
            for row in np.sort(np.concatenate(list(rows.values())))
            if task.usable(data.studies[row])
        ]
        parts = fold_splits([data.studies[row] for row in usable_rows], seed)
        rows = {
            name: np.array(usable_rows, dtype=np.int64)[positions]
            for name, positions in parts.items()
        }

    usable_by_split = {}
    for split in ("train", "val", "test"):
        usable_by_split[split] = np.array(
            [row for row in rows.get(split, []) if task.usable(data.studies[row])], dtype=np.int64
        )
        if not len(usable_by_split[split]):
            raise _empty_split_error(task, data, split)

    return usable_by_split


def _empty_split_error(task: Task, data: EvaluationDataset, split: str) -> PlaceError:
    problem = f"the {split} split has no study that {task_title(task)} can use"
    return PlaceError(
        problem, code="PL-D224", file=data.source, fix="split again, or name another source"
    )


def _predict_with_heads(
    task: HeadTask,
    model: Any,
    data: EvaluationDataset,
    fractions_and_seeds: FractionsAndSeeds,
    target: Path,
    feature_cache: FeatureCache,
    on_progress: Callable[[str], None],
) -> tuple[Predictions, RowIndices]:
    source = _HeadSource.of(task, model, data, feature_cache)
    # The head that is drawn: the largest fraction's first seed.
    shown = (max(fractions_and_seeds.fractions), fractions_and_seeds.seeds[0])
    tables = []
    left_out: dict[str, dict[str, str]] = {}
    test_rows: set[int] = set()

    for fraction, seed in product(sorted(fractions_and_seeds.fractions), fractions_and_seeds.seeds):
        splits = _usable_splits(task, data, seed)
        test_rows |= set(splits["test"].tolist())
        train_studies = [data.studies[row] for row in splits["train"]]
        train_rows = splits["train"][nested_fraction_rows(train_studies, fraction, seed)]
        on_progress(
            f"{task_title(task)}: {fraction:.0%} of the training patients ({len(train_rows)} "
            f"images), seed {seed}"
        )

        head_model, untrainable = _trained_head(
            task, source, train_rows, splits["val"], seed, target
        )
        left_out.setdefault(f"{fraction:g}", {}).update(untrainable)

        for split in task.predicted_splits:
            cell = {"fraction": fraction, "seed": seed, "split": split}
            table = _predict_split(task, source, head_model, splits[split], cell)
            if split == "test" and isinstance(task, HasBaselines):
                pooled = source.features.pooled
                table = add_columns(table, task.baseline_columns(table, data, train_rows, pooled))
            tables.append(table)

        if (fraction, seed) == shown and isinstance(task, HasFigures):
            task.save_figures(head_model, source.inputs, data, splits["test"], target)

    table = concat_tables(tables)
    if task.profile in FOLD_PROFILES:
        # In the order of the source, so that patients have the same numbers in every division.
        order = [(name, "ascending") for name in ("row", "fraction", "seed", "split")]
        table = table.sort_by(order)

    common = common_columns(data.studies, table["row"].to_numpy())
    table = add_columns(table, {name: column for name, column in common.items() if name != "row"})
    return Predictions(_task_record(task, left_out), table), np.array(sorted(test_rows), np.int64)


@dataclass(frozen=True, slots=True)
class _HeadSource:
    """What all heads of one task are trained on and asked about.

    ``encoder`` is None where its features can be computed once: then ``inputs`` gives these, else
    images, and each head gets a copy of the encoder.
    """

    data: EvaluationDataset
    device: torch.device
    spec: Any  # the sizes a head is built for
    features: FrozenFeatures
    inputs: InputFunction
    targets: TargetFunction
    encoder: ImageEncoder | ReportFeatureEncoder | None

    @classmethod
    def of(
        cls, task: HeadTask, model: Any, data: EvaluationDataset, feature_cache: FeatureCache
    ) -> _HeadSource:
        device = next(model.parameters()).device
        encoder = feature_reader(model, task.reads).to(device)
        features = feature_cache.features_for(task, encoder, data, device)
        targets = task.targets(data)

        # Nothing of the encoder changes in training.
        if task.mode == "frozen" and not task.updates_batchnorm:
            return cls(data, device, encoder.head_spec, features, features, targets, None)
        images = partial(load_images, data)
        return cls(data, device, encoder.head_spec, features, images, targets, encoder)


def _trained_head(
    task: HeadTask,
    source: _HeadSource,
    train_rows: RowIndices,
    val_rows: RowIndices,
    seed: int,
    folder: Path,
) -> tuple[HeadModel, dict[str, str]]:
    """A head, and the names that its training rows could not teach, with the reasons."""
    train = HeadDataset(train_rows, source.inputs, source.targets)
    val = HeadDataset(val_rows, source.inputs, source.targets)

    # The first rows teach all names in most data sets; then the rest need not be read for it.
    untrainable = task.untrainable(source.targets(train_rows[:_FIRST_ROWS]))
    if untrainable:
        untrainable = task.untrainable(source.targets(train_rows))

    # The head's initial weights depend on the seed alone.
    torch.manual_seed(seed)
    head = task.head(source.spec)
    head_model = HeadModel(head, task.reads, source.encoder, task.mode == "finetune")

    is_fitted = (
        source.encoder is None
        and isinstance(task, HasClosedForm)
        and task.fit_closed_form(head, train.whole, val.whole)
    )
    if not is_fitted and len(untrainable) < len(task.names):
        train_head(task, head_model, train, val, seed=seed, device=source.device, folder=folder)

    return head_model, untrainable


def _predict_split(
    task: HeadTask,
    source: _HeadSource,
    head_model: HeadModel,
    rows: RowIndices,
    cell: Mapping[str, Any],
) -> Any:
    """The table of ``rows``; ``cell`` holds the columns that are the same in all of them."""
    tables = []
    for batch, prediction in predict_batches(head_model, source.inputs, rows, source.device):
        columns = {"row": batch} | task.predict(prediction, source.data, batch)
        tables.append((cell, columns))

    return stack_cells(tables)


def _predict_with_text(
    task: TextTask,
    model: Any,
    data: EvaluationDataset,
    fractions_and_seeds: FractionsAndSeeds,
    feature_cache: FeatureCache,
    on_progress: Callable[[str], None],
) -> tuple[Predictions, RowIndices]:
    rows = data.rows.get("test", np.zeros(0, dtype=np.int64))
    rows = np.array([row for row in rows if task.usable(data.studies[row])], dtype=np.int64)
    if not len(rows):
        raise _empty_split_error(task, data, "test")
    on_progress(f"{task_title(task)}: {len(rows)} images")
    columns = common_columns(data.studies, rows) | task.describe(
        model, data, feature_cache.embed(model, data, rows)
    )
    constants = {"fraction": 0.0, "seed": fractions_and_seeds.seeds[0], "split": "test"}

    return Predictions(_task_record(task, {}), stack_cells([(constants, columns)])), rows


def _to_yaml(value: Any) -> str:
    import json

    return json.dumps(value)
