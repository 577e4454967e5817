"""A task asked of a run on a data set, from names alone: what ``place task`` does."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
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
from place_cxr.tasks.engine import FractionsAndSeeds, default_seeds, make_task, run_task, task_title
from place_cxr.tasks.task import Mode, Profile
from place_cxr.training import checkpoint as checkpoints
from place_cxr.training.run_folder import environment

_ANY_SOURCE_KEYS = (
    "split_seed",
)  # of the run's own data settings, what holds for another source too
_SPLIT_KEYS = ("split", "split_lists", "splits")  # three ways to name one; the last word decides
_SAME_SOURCE_KEYS = (*_ANY_SOURCE_KEYS, "columns", *_SPLIT_KEYS, "options")
_OVERRIDABLE_KEYS = (
    *_SAME_SOURCE_KEYS,
    "sites",
)  # `data.KEY=VALUE` can set these; the rest is the run's
_DATA_PREFIX = "data."
_log = logging.getLogger(__name__)


def run_named_task(
    name: str,
    checkpoint: Path,
    *,
    source: str = "manifest",
    root: str = "",
    overrides: Sequence[str] = (),
    fractions: Sequence[float] = (0.01, 0.1, 1.0),
    seeds: Sequence[int] = (),
    mode: Mode = "frozen",
    profile: Profile = "strict",
    out: Path | None = None,
    random_weights: bool = False,
    method: str = "",
    device: str = "auto",
    progress: StageProgress | None = None,
) -> tuple[Result, Path]:
    """The result of task ``name``, and the folder that holds it: ``<out>/<task>/<source>``, by
    default in the run.

    ``root`` is by default the data that the run learned from, ``seeds`` those of the profile.
    ``overrides`` are settings of the task, and of the source where they begin with ``data.``. With
    ``random_weights`` the run's network is asked before it learned anything; the result goes below
    ``baselines/random``. The mgca profile takes a named split with its faults. Raises PlaceError as
    `make_task`, `run_task`, `predict.load_settings` and `read_evaluation_dataset` do, PL-C005 where
    no data are named, PL-C001 for a setting of the data that is the run's.
    """
    task_class = pick(TASKS, name, "task")
    fractions_and_seeds = FractionsAndSeeds(
        tuple(dict.fromkeys(fractions)), tuple(dict.fromkeys(seeds)) or default_seeds(profile)
    )
    saved = checkpoints.load(checkpoint)
    run_data_settings = saved.config.get("data", {})
    is_same_source = source == run_data_settings.get("source")
    root = root or (str(run_data_settings.get("manifest", "")) if is_same_source else "")
    if not root:
        raise PlaceError(
            f"no place named for source '{source}'", code="PL-C005", fix="add --root PATH"
        )
    task_overrides = [word for word in overrides if not word.startswith(_DATA_PREFIX)]
    data_overrides = _parse_data_overrides(
        [word for word in overrides if word.startswith(_DATA_PREFIX)]
    )
    inherited = {
        key: run_data_settings[key]
        for key in (_SAME_SOURCE_KEYS if is_same_source else _ANY_SOURCE_KEYS)
        if key in run_data_settings
    }
    if any(key in data_overrides for key in _SPLIT_KEYS):
        inherited = {key: value for key, value in inherited.items() if key not in _SPLIT_KEYS}
    data_overrides |= {
        key: inherited[key] | data_overrides[key]
        for key in ("columns", "options")
        if key in inherited and key in data_overrides
    }
    model, processor = (predict.load_untrained if random_weights else predict.load)(
        checkpoint, device=device
    )
    data = read_evaluation_dataset(
        source,
        root,
        processor,
        reports="reports" in task_class.needs,
        data_settings=inherited | data_overrides,
        allow_split_overlap=profile == "mgca",
        progress=progress,
    )
    task = make_task(name, data.studies, task_overrides, profile=profile, mode=mode)
    digest = hashlib.sha256(json.dumps(saved.config, sort_keys=True).encode()).hexdigest()
    run = saved.path.parents[1]
    if random_weights:  # beside the run's own results, wherever these go
        folder, title = (out or run) / "baselines" / "random", "random weights"
    else:
        folder, title = out or run / "tasks", str(saved.config.get("name", "")) or run.name
    result = run_task(
        task,
        model,
        data,
        folder,
        fractions_and_seeds,
        method=method or title,
        git=environment()["commit"] or "",
        config_hash=digest[:12],
        device=next(model.parameters()).device,
        on_progress=_log.info,
    )
    return result, folder / task_title(task) / data.source


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
