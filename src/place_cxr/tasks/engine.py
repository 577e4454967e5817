"""Any task, any encoder: shares of labelled patients x seeds, one loop, one table of predictions, one result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from place_cxr.core.errors import PlaceError
from place_cxr.core.registry import pick
from place_cxr.core.results import Metric, Origin, Result, hardware, split_digest
from place_cxr.core.settings import load
from place_cxr.tasks import TASKS
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.feature_cache import Known
from place_cxr.tasks.features import Learner, pictures
from place_cxr.tasks.fractions import FOLDS, folds, nested_rows
from place_cxr.tasks.predictions import Predictions, common_columns, extended, joined, stack
from place_cxr.tasks.task import FOLDED, PROFILES, HeadTask, Mode, Profile, Rows, Task, TextTask
from place_cxr.tasks.train_head import Material, predictions, teach

FRACTIONS = (0.01, 0.1, 1.0)
SEEDS = (0, 1, 2)
_FIRST = 256  # training rows; where they teach every name, the rest need not be read to know it
_HAS: Mapping[str, Callable[[Any], object]] = {
    "labels": lambda study: not all(map(math.isnan, study.labels.values())),
    "masks": lambda study: study.masks,
    "boxes": lambda study: study.boxes,
    "reports": lambda study: study.report.strip(),
    "views": lambda study: study.view,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is run: shares of the training patients (all of them in every seed at 1) and seeds."""

    fractions: tuple[float, ...] = FRACTIONS
    seeds: tuple[int, ...] = SEEDS

    def __post_init__(self) -> None:
        """Raises PlaceError PL-C040 for shares outside 0 to 1, and for none."""
        if not self.fractions or not all(0 < share <= 1 for share in self.fractions):
            raise PlaceError("a fraction lies above 0 and at most at 1", code="PL-C040", fix="use --fraction .01,.1,1")
        if not self.seeds or min(self.seeds) < 0:
            raise PlaceError("seeds are numbers from 0", code="PL-C040", fix="use --seeds 0,1,2")


def seeds_of(profile: Profile) -> tuple[int, ...]:
    """The seeds that are asked where none is named: where the seed is the fold, all of them."""
    return fold_seeds(profile, 0) if profile in FOLDED else SEEDS


def fold_seeds(profile: Profile, seed: int) -> tuple[int, ...]:
    """What one repetition asks: its seed, or the seeds of all folds of a division of its own."""
    return tuple(range(FOLDS * seed, FOLDS * (seed + 1))) if profile in FOLDED else (seed,)


def make_task(
    name: str,
    studies: Sequence[Any],
    overrides: Sequence[str] = (),
    *,
    profile: Profile = "strict",
    mode: Mode = "frozen",
) -> Task:
    """A task for these studies, checked before anything is computed.

    Raises PlaceError: PL-C001 to PL-C003 for an unknown task, profile, setting, value or finding, PL-D225 for studies
    without what the task needs.
    """
    kind: type[Task] = pick(TASKS, name, "task")
    pick(PROFILES, profile, "profile")
    for need in sorted(kind.needs):
        if not any(_HAS[need](study) for study in studies):
            raise PlaceError(f"{name} needs {need}, and no study has any", code="PL-D225", fix="name another source")
    given = kind.defaults(profile, mode)
    settings = load(kind.Settings, "", [*(f"{key}={_yaml(value)}" for key, value in given.items()), *overrides])
    known = kind.names_in(studies)
    names = [pick({one: one for one in known}, name, "finding") for name in settings.findings] or known
    return kind(settings, tuple(names), profile, mode)


def run_task(
    task: Task,
    model: Any,
    data: Evaluation,
    folder: Path,
    asked: Asked | None = None,
    *,
    method: str,
    git: str = "",
    config_hash: str = "",
    device: torch.device | str = "cpu",
    known: Known | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Result:
    """Run ``task`` and write ``folder/<task>/<source>/``: ``predictions.parquet``, and ``result.json`` scored from it.

    ``<task>`` is the registry's name, with ``-finetune`` and the profile where they are not the default. ``known`` as
    in `predict`. Raises PlaceError PL-D224 where a split is empty.
    """
    asked, began = asked or Asked(), time.perf_counter()
    target = folder / title_of(task) / data.source
    found, tested = predict(task, model, data, target, asked, device=device, known=known, say=say)
    found.write(target)
    metrics = task.score(found)
    origin = Origin(
        data.source,
        "test",
        split_digest([data.studies[row] for row in tested]),
        method,
        git,
        config_hash,
        hardware(),
    )
    result = result_of(task, asked, origin, metrics, seconds=time.perf_counter() - began)
    result.write(target)
    return result


def predict(
    task: Task,
    model: Any,
    data: Evaluation,
    folder: Path,
    asked: Asked,
    *,
    device: torch.device | str = "cpu",
    known: Known | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Predictions, Rows]:
    """What ``model`` says on test rows and, where the task needs them, validation rows; and the test rows.

    ``folder`` is where heads may work. ``known`` keeps what was seen from one call to the next: give every task of one
    model on one source the same. Raises PlaceError PL-D224 where a split is empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = known or Known()
    if isinstance(task, HeadTask):
        return _with_heads(task, model, data, asked, torch.device(device), folder, known, say)
    assert isinstance(task, TextTask)
    return _with_words(task, model, data, asked, known, say)


def result_of(task: Task, asked: Asked, origin: Origin, metrics: Mapping[str, Metric], *, seconds: float) -> Result:
    """The result of ``task``, whose signature names the profile."""
    words = "; ".join((PROFILES[task.profile], task.signature()))
    seeds = asked.seeds if isinstance(task, HeadTask) else asked.seeds[:1]
    return Result.of(title_of(task), origin, metrics, signature=words, seeds=seeds, seconds=seconds)


def recompute(path: str | Path) -> dict[str, Metric]:
    """Every metric again, from stored predictions alone. Raises PlaceError PL-R021 if there are none."""
    found = Predictions.read(path)
    about = found.about
    kind: type[Task] = pick(TASKS, about["task"], "task")
    settings = kind.Settings.model_validate(about["settings"])
    return kind(settings, tuple(about["names"]), about["profile"], about["mode"]).score(found)


def title_of(task: Task) -> str:
    """The name under which results are kept: profiles and modes never share a table."""
    return title(next(name for name, kind in TASKS.items() if kind is type(task)), task.mode, task.profile)


def title(name: str, mode: Mode, profile: Profile) -> str:
    """As `title_of`, from words alone."""
    return "-".join((name, *(word for word in (mode, profile) if word not in ("frozen", "strict"))))


def _about(task: Task, left_out: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    table = asdict(task) | {"settings": task.settings.model_dump(mode="json"), "names": list(task.names)}
    name = next(name for name, kind in TASKS.items() if kind is type(task))
    return {"task": name} | table | {"left_out": left_out}


def _splits(task: Task, data: Evaluation, seed: int) -> dict[str, Rows]:
    """Usable rows by split. Raises PlaceError PL-D224 where one is empty."""
    rows = dict(data.rows)
    if task.profile in FOLDED:
        every = [row for row in np.sort(np.concatenate(list(rows.values()))) if task.usable(data.studies[row])]
        parts = folds([data.studies[row] for row in every], seed)
        rows = {name: np.array(every, dtype=np.int64)[places] for name, places in parts.items()}
    found = {}
    for split in ("train", "val", "test"):
        found[split] = np.array([row for row in rows.get(split, []) if task.usable(data.studies[row])], dtype=np.int64)
        if not len(found[split]):
            raise _none(task, data, split)
    return found


def _none(task: Task, data: Evaluation, split: str) -> PlaceError:
    problem = f"the {split} split has no study that {title_of(task)} can use"
    return PlaceError(problem, code="PL-D224", file=data.source, fix="split again, or name another source")


def _with_heads(
    task: HeadTask,
    model: Any,
    data: Evaluation,
    asked: Asked,
    device: torch.device,
    target: Path,
    known: Known,
    say: Callable[[str], None],
) -> tuple[Predictions, Rows]:
    encoder = task.encoder(model).to(device)
    frozen = task.mode == "frozen" and not task.live_norm
    features = known.features_for(task, encoder, data, device)
    inputs = features if frozen else lambda rows: pictures(data, rows)
    truth = task.truth(data)
    tables = []
    left_out: dict[str, dict[str, str]] = {}
    tested: set[int] = set()
    for fraction in sorted(asked.fractions):
        for seed in asked.seeds:
            splits = _splits(task, data, seed)
            tested |= set(splits["test"].tolist())
            chosen = nested_rows([data.studies[row] for row in splits["train"]], fraction, seed)
            train, val = (Material(r, inputs, truth) for r in (splits["train"][chosen], splits["val"]))
            say(f"{title_of(task)}: {fraction:.0%} of the training patients ({len(train.rows)} images), seed {seed}")
            missing = task.missing(truth(train.rows[:_FIRST])) and task.missing(truth(train.rows))
            left_out.setdefault(f"{fraction:g}", {}).update(missing)
            torch.manual_seed(seed)
            head = task.head(encoder.pyramid_spec)
            learner = Learner(head, task.reads, None if frozen else encoder, task.mode == "finetune")
            solved = frozen and task.solve(head, train.whole, val.whole)
            if not solved and len(missing) < len(task.names):
                teach(task, learner, train, val, seed=seed, device=device, folder=target)
            for split in task.predicts:
                constants = {"fraction": fraction, "seed": seed, "split": split}
                answers = predictions(learner, inputs, splits[split], device)
                told = stack([(constants, {"row": rows} | task.answer(said, data, rows)) for rows, said in answers])
                more = task.judge(told, data, train.rows, features.pooled) if split == "test" else {}
                tables.append(extended(told, more))
            if (fraction, seed) == (max(asked.fractions), asked.seeds[0]):
                task.show(learner, inputs, data, splits["test"], target)
    table = joined(tables)
    if task.profile in FOLDED:  # in the source's order, so that patients have the same numbers in every division
        table = table.sort_by([(name, "ascending") for name in ("row", "fraction", "seed", "split")])
    common = common_columns(data.studies, table["row"].to_numpy())
    table = extended(table, {name: column for name, column in common.items() if name != "row"})
    return Predictions(_about(task, left_out), table), np.array(sorted(tested), dtype=np.int64)


def _with_words(
    task: TextTask, model: Any, data: Evaluation, asked: Asked, known: Known, say: Callable[[str], None]
) -> tuple[Predictions, Rows]:
    rows = data.rows.get("test", np.zeros(0, dtype=np.int64))
    rows = np.array([row for row in rows if task.usable(data.studies[row])], dtype=np.int64)
    if not len(rows):
        raise _none(task, data, "test")
    say(f"{title_of(task)}: {len(rows)} images")
    columns = common_columns(data.studies, rows) | task.describe(model, data, known.embed(model, data, rows))
    constants = {"fraction": 0.0, "seed": asked.seeds[0], "split": "test"}
    return Predictions(_about(task, {}), stack([(constants, columns)])), rows


def _yaml(value: Any) -> str:
    import json

    return json.dumps(value)
