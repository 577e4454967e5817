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
from place_cxr.core.settings import load
from place_cxr.data.corpus import DataSettings, Progress
from place_cxr.tasks import TASKS
from place_cxr.tasks.data import read_source
from place_cxr.tasks.engine import Asked, make_task, run_task, seeds_of, title_of
from place_cxr.tasks.task import Mode, Profile
from place_cxr.training import checkpoint as checkpoints
from place_cxr.training.run_folder import environment

_ANY = ("split_seed",)  # of the run's own data settings, what holds for another source too
_SPLITS = ("split", "split_lists", "splits")  # three ways to name one; the last word decides
_SAME = (*_ANY, "columns", *_SPLITS, "options")
_TOLD = (*_SAME, "sites")  # `data.KEY=VALUE` can set these; the rest is the run's
_PREFIX = "data."
_log = logging.getLogger(__name__)


def ask(
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
    progress: Progress | None = None,
) -> tuple[Result, Path]:
    """The result of task ``name``, and the folder that holds it: ``<out>/<task>/<source>``, by default in the run.

    ``root`` is by default the data that the run learned from, ``seeds`` those of the profile. ``overrides`` are
    settings of the task, and of the source where they begin with ``data.``. With ``random_weights`` the run's network
    is asked before it learned anything; the result goes below ``baselines/random``. The mgca profile takes a named
    split with its faults. Raises PlaceError as `make_task`, `run_task`, `predict.load` and `read_source` do, PL-C005
    where no data are named, PL-C001 for a setting of the data that is the run's.
    """
    kind = pick(TASKS, name, "task")
    asked = Asked(tuple(dict.fromkeys(fractions)), tuple(dict.fromkeys(seeds)) or seeds_of(profile))
    saved = checkpoints.load(checkpoint)
    learned = saved.config.get("data", {})
    same = source == learned.get("source")
    root = root or (str(learned.get("manifest", "")) if same else "")
    if not root:
        raise PlaceError(f"no place named for source '{source}'", code="PL-C005", fix="add --root PATH")
    own = [word for word in overrides if not word.startswith(_PREFIX)]
    about = _told([word for word in overrides if word.startswith(_PREFIX)])
    known = {key: learned[key] for key in (_SAME if same else _ANY) if key in learned}
    if any(key in about for key in _SPLITS):
        known = {key: value for key, value in known.items() if key not in _SPLITS}
    about |= {key: known[key] | about[key] for key in ("columns", "options") if key in known and key in about}
    model, processor = (predict.load_untrained if random_weights else predict.load)(checkpoint, device=device)
    data = read_source(
        source,
        root,
        processor,
        reports="reports" in kind.needs,
        given=known | about,
        shared=profile == "mgca",
        progress=progress,
    )
    task = make_task(name, data.studies, own, profile=profile, mode=mode)
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
        asked,
        method=method or title,
        git=environment()["commit"] or "",
        config_hash=digest[:12],
        device=next(model.parameters()).device,
        say=_log.info,
    )
    return result, folder / title_of(task) / data.source


def _told(overrides: Sequence[str]) -> dict[str, Any]:
    """Values of `DataSettings` from ``data.KEY=VALUE``. Raises PlaceError PL-C001 to PL-C003 as `settings.load`."""
    given = load(DataSettings, "", [word.removeprefix(_PREFIX) for word in overrides])
    found = {key: getattr(given, key) for key in given.model_fields_set}
    fixed = [key for key in found if key not in _TOLD]
    if fixed:
        raise PlaceError(
            f"'data.{fixed[0]}' is not for a task to say",
            code="PL-C001",
            fix=f"set {', '.join(_PREFIX + key for key in _TOLD)}, or use --source and --root",
        )
    return found
