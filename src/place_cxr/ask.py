"""A task asked of a run on a data set, from names alone: what ``place task`` does."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from place_cxr import predict
from place_cxr.corpus import Progress
from place_cxr.errors import PlaceError
from place_cxr.registry import pick
from place_cxr.tasks import TASKS
from place_cxr.tasks.data import read_source
from place_cxr.tasks.engine import Asked, make_task, run_task, seeds_of, title_of
from place_cxr.tasks.result import Result
from place_cxr.tasks.task import Mode, Profile
from place_cxr.training import checkpoint as checkpoints
from place_cxr.training.run_folder import environment

_ANY = ("split_seed",)  # of the run's own data settings, what holds for another source too
_SAME = (*_ANY, "columns", "split", "split_lists", "options")
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
    method: str = "",
    device: str = "auto",
    progress: Progress | None = None,
) -> tuple[Result, Path]:
    """The result of task ``name``, and the folder that holds it: ``<out>/<task>/<source>``, ``out`` in the run.

    ``root`` is by default the data that the run learned from; ``seeds`` are by default those of the profile. Raises
    PlaceError as `make_task`, `run_task`, `predict.load` and `read_source` do, PL-C005 where no data are named.
    """
    kind = pick(TASKS, name, "task")
    asked = Asked(tuple(dict.fromkeys(fractions)), tuple(dict.fromkeys(seeds)) or seeds_of(profile))
    saved = checkpoints.load(checkpoint)
    learned = saved.config.get("data", {})
    same = source == learned.get("source")
    root = root or (str(learned.get("manifest", "")) if same else "")
    if not root:
        raise PlaceError(f"no place named for source '{source}'", code="PL-C005", fix="add --root PATH")
    model, processor = predict.load(checkpoint, device=device)
    data = read_source(
        source,
        root,
        processor,
        reports="reports" in kind.needs,
        given={key: learned[key] for key in (_SAME if same else _ANY) if key in learned},
        progress=progress,
    )
    task = make_task(name, data.studies, overrides, profile=profile, mode=mode)
    digest = hashlib.sha256(json.dumps(saved.config, sort_keys=True).encode()).hexdigest()
    folder = out if out is not None else saved.path.parents[1] / "tasks"
    result = run_task(
        task,
        model,
        data,
        folder,
        asked,
        method=method or str(saved.config.get("name", "")) or saved.path.parents[1].name,
        git=environment()["commit"] or "",
        config_hash=digest[:12],
        device=next(model.parameters()).device,
        say=_log.info,
    )
    return result, folder / title_of(task) / data.source
