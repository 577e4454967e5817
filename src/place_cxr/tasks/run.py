"""Evaluate a run on a task and a data set, all given by name: what ``place task`` does."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from place_cxr import predict
from place_cxr.core.errors import PlaceError
from place_cxr.core.registry import pick
from place_cxr.core.results import Result
from place_cxr.core.settings import load_settings
from place_cxr.data.corpus import DataSettings, StageProgress
from place_cxr.tasks import TASKS
from place_cxr.tasks.data import read_evaluation_dataset
from place_cxr.tasks.engine import (
    DEFAULT_FRACTIONS,
    FractionsAndSeeds,
    ModelOrigin,
    default_seeds,
    make_task,
    run_task,
    task_title,
)
from place_cxr.tasks.task import Mode, Profile
from place_cxr.training import checkpoint as checkpoints
from place_cxr.training.run_folder import environment

# Data settings of the run that hold for another source, too.
_ANY_SOURCE_KEYS = ("split_seed",)
# Three ways to name a split; whoever names one replaces all three.
_SPLIT_KEYS = ("split", "split_lists", "splits")
_SAME_SOURCE_KEYS = (*_ANY_SOURCE_KEYS, "columns", *_SPLIT_KEYS, "options")
# What `data.KEY=VALUE` can set; the other data settings are the run's.
_OVERRIDABLE_KEYS = (*_SAME_SOURCE_KEYS, "sites")
_DATA_PREFIX = "data."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task on a data set, for the run of ``checkpoint``; all by name.

    ``root`` is by default the data that the run learned from, ``seeds`` those of the profile, and
    ``out`` the run's folder of tasks. ``overrides`` are settings of the task, and of the source
    where they begin with ``data.``. ``random_weights`` asks for the control: the network of the run
    before training. ``method`` is the name in tables, by default the recipe's.
    """

    name: str
    checkpoint: Path
    source: str = "manifest"
    root: str = ""
    overrides: tuple[str, ...] = ()
    fractions: tuple[float, ...] = DEFAULT_FRACTIONS
    seeds: tuple[int, ...] = ()
    mode: Mode = "frozen"
    profile: Profile = "strict"
    out: Path | None = None
    random_weights: bool = False
    method: str = ""
    device: str = "auto"


def run_named_task(
    request: TaskRequest, progress: StageProgress | None = None
) -> tuple[Result, Path]:
    """The result of a task, and the folder that holds it: ``<out>/<task>/<source>``.

    With random weights, ``<out>`` is ``baselines/random``, below the run or below ``request.out``.
    The mgca profile takes a named split with its faults. Raises PlaceError as `make_task`,
    `run_task`, `predict.load` and `read_evaluation_dataset` do, PL-C005 where no data are named,
    PL-C001 for a setting of the data that is the run's.
    """
    task_class = pick(TASKS, request.name, "task")
    fractions_and_seeds = FractionsAndSeeds(
        tuple(dict.fromkeys(request.fractions)),
        tuple(dict.fromkeys(request.seeds)) or default_seeds(request.profile),
    )
    saved = checkpoints.load(request.checkpoint)
    root, data_settings = _data_of(request, saved.config.get("data", {}))

    load = predict.load_untrained if request.random_weights else predict.load
    model, processor = load(request.checkpoint, device=request.device)
    data = read_evaluation_dataset(
        request.source,
        root,
        processor,
        reports="reports" in task_class.needs,
        data_settings=data_settings,
        allow_split_overlap=request.profile == "mgca",
        progress=progress,
    )

    task_overrides = [item for item in request.overrides if not item.startswith(_DATA_PREFIX)]
    task = make_task(
        request.name, data.studies, task_overrides, profile=request.profile, mode=request.mode
    )

    run = saved.path.parents[1]
    if request.random_weights:
        # Beside the run's own results, wherever these go.
        folder, title = (request.out or run) / "baselines" / "random", "random weights"
    else:
        folder = request.out or run / "tasks"
        title = str(saved.config.get("name", "")) or run.name

    digest = hashlib.sha256(json.dumps(saved.config, sort_keys=True).encode()).hexdigest()
    origin = ModelOrigin(request.method or title, environment()["commit"] or "", digest[:12])
    result = run_task(
        task, model, data, folder, fractions_and_seeds, origin=origin, on_progress=_log.info
    )

    return result, folder / task_title(task) / data.source


def _data_of(request: TaskRequest, run_settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Root and data settings of a request: those of the run, and over them ``data.KEY=VALUE``.

    ``run_settings`` are the run's own data settings. Raises PlaceError PL-C005 where no root is
    named, and as `_parse_data_overrides`.
    """
    is_same_source = request.source == run_settings.get("source")
    root = request.root
    if not root and is_same_source:
        root = str(run_settings.get("manifest", ""))
    if not root:
        raise PlaceError(
            f"no place named for source '{request.source}'", code="PL-C005", fix="add --root PATH"
        )

    overrides = _parse_data_overrides(
        [item for item in request.overrides if item.startswith(_DATA_PREFIX)]
    )
    inherited_keys = _SAME_SOURCE_KEYS if is_same_source else _ANY_SOURCE_KEYS
    inherited = {key: run_settings[key] for key in inherited_keys if key in run_settings}
    if any(key in overrides for key in _SPLIT_KEYS):
        inherited = {key: value for key, value in inherited.items() if key not in _SPLIT_KEYS}

    # These two are tables: an override adds to the run's.
    for key in ("columns", "options"):
        if key in inherited and key in overrides:
            overrides[key] = inherited[key] | overrides[key]

    return root, inherited | overrides


def _parse_data_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Values of `DataSettings` from ``data.KEY=VALUE``. Raises PlaceError PL-C001 to PL-C003 as
    `settings.load_settings`.
    """
    settings = load_settings(
        DataSettings, "", [word.removeprefix(_DATA_PREFIX) for word in overrides]
    )
    values = {key: getattr(settings, key) for key in settings.model_fields_set}
    refused = [key for key in values if key not in _OVERRIDABLE_KEYS]
    if refused:
        raise PlaceError(
            f"'data.{refused[0]}' is not for a task to say",
            code="PL-C001",
            fix=f"set {', '.join(_DATA_PREFIX + key for key in _OVERRIDABLE_KEYS)}, or use "
            f"--source and --root",
        )

    return values
