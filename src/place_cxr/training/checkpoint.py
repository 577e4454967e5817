"""Saves and loads checkpoints: plain files (safetensors and JSON), atomic, hashed, strict.

A checkpoint is a folder ``checkpoints/step_000500`` of a run. It is written in this order:

1. all files under a temporary name, each flushed to the disk;
2. the folder is renamed;
3. it is read back and compared with the hashes of its manifest;
4. the pointer file ``checkpoints/last`` names it;
5. older checkpoints are removed.

A process that dies at any moment leaves the newest committed step loadable.
"""

from __future__ import annotations

import errno
import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import (
    GONE_TAG,
    OLD_TAG,
    crashpoint,
    sync_path,
    temporary_path,
    write_atomic,
    write_synced,
)
from place_cxr.training.manifest import (
    CONFIG,
    MANIFEST,
    OPTIMIZER,
    STATE,
    WEIGHTS,
    check_sizes,
    json_bytes,
    manifest_bytes,
    read_json,
    read_manifest,
    safe_name,
    verify_checkpoint,
)
from place_cxr.training.tensor_files import read_tensors, refuse_foreign_format, tensor_bytes

POINTERS = ("last", "best", "pre-spike")
_STEP = re.compile(r"^step_(\d{6,})$")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved at one step, on the CPU.

    ``origin`` is from the manifest: schema, versions of the code and torch, world size, threads.
    """

    step: int
    weights: dict[str, Tensor]
    config: dict[str, Any]
    state_tensors: dict[str, Tensor]
    state: dict[str, Any]
    path: Path
    origin: dict[str, Any]


# ---- writing -------------------------------------------------------------------------------------


def save(
    folder: Path,
    step: int,
    weights: Mapping[str, Tensor],
    *,
    config: Mapping[str, Any],
    state_tensors: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
    keep: int = 2,
) -> Path:
    """Commit ``<folder>/checkpoints/step_<step>``, point ``last`` at it, and remove old steps.

    The newest ``keep`` steps stay, and every step that a pointer names. ``config`` and ``state``
    are plain JSON; ``extra_files`` maps relative names (``tokenizer/tokenizer.json``) to contents.

    Raises PlaceError: PL-E005 the disk is full or the file system refuses, PL-R104 what was read
    back differs; earlier checkpoints are untouched in both cases.
    """
    files = {safe_name(name): content for name, content in (extra_files or {}).items()}
    files |= {WEIGHTS: tensor_bytes(weights), CONFIG: json_bytes(config)}
    if state is not None or state_tensors:
        files |= {OPTIMIZER: tensor_bytes(state_tensors or {}), STATE: json_bytes(state or {})}
    files[MANIFEST] = manifest_bytes(step, files)

    home = folder / "checkpoints"
    target = home / f"step_{step:06d}"
    temp = temporary_path(target)
    try:
        _commit(temp, target, files)
    except OSError as error:
        raise _disk_error(error, home, sum(map(len, files.values())), folder) from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)

    # Only a step that was read back may be named by `last` and replace older ones.
    verify_checkpoint(target)
    crashpoint("verified")
    try:
        write_pointer(folder, "last", step)
        crashpoint("pointed")
        _prune(home, keep)
    except OSError as error:
        raise _disk_error(error, home, 0, folder) from error

    return target


def _commit(temp: Path, target: Path, files: Mapping[str, bytes]) -> None:
    home = target.parent
    home.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(temp, ignore_errors=True)
    for name, content in files.items():
        write_synced(temp / name, content)
    # A file's name is in its folder, so the folders must reach the disk too, inner ones first.
    for inner in sorted({(temp / name).parent for name in files}, reverse=True):
        sync_path(inner)
    crashpoint("synced")

    # The step exists if it was saved again after a resume from an earlier step, or is unreadable.
    old = temporary_path(target, OLD_TAG)
    if target.exists():
        target.rename(old)
        crashpoint("moved aside")
    try:
        temp.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise

    crashpoint("renamed")
    sync_path(home)
    shutil.rmtree(old, ignore_errors=True)


def _disk_error(error: OSError, home: Path, needed: int, run: Path) -> PlaceError:
    # `home` may not exist yet; its nearest existing parent is on the same disk.
    parent = next(p for p in [home, *home.parents] if p.exists())
    free = shutil.disk_usage(parent).free
    steps = _steps(home)
    reason = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = f"cannot save: need {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB free ({reason})"
    else:
        reason = f"cannot save: {reason}"

    state = f"training state kept at step {steps[-1][0]}" if steps else "no step was kept"
    fix = f"free space or write elsewhere, then --resume auto; {state}"
    return PlaceError(reason, code="PL-E005", file=run.name, fix=fix)


def write_pointer(folder: Path, name: str, step: int) -> None:
    """Write the pointer file ``checkpoints/<name>``; the step it names is kept. Raises OSError."""
    if name not in POINTERS:
        raise ValueError(f"pointer {name!r} is none of {POINTERS}")
    write_atomic(folder / "checkpoints" / name, f"step_{step:06d}\n".encode())


def _pointed_steps(home: Path) -> set[str]:
    return {(home / name).read_text().strip() for name in POINTERS if (home / name).is_file()}


def _prune(home: Path, keep: int) -> None:
    named = _pointed_steps(home)

    for _, path in _steps(home)[: -max(1, keep)]:
        if path.name not in named:
            # Renamed first: a half-removed folder must not look like a checkpoint.
            doomed = temporary_path(path, GONE_TAG)
            path.rename(doomed)
            crashpoint("pruning")
            shutil.rmtree(doomed, ignore_errors=True)


def _steps(home: Path) -> list[tuple[int, Path]]:
    """Committed steps, oldest first."""
    if not home.is_dir():
        return []

    steps = []
    for path in home.iterdir():
        match = _STEP.match(path.name)
        if match and path.is_dir():
            steps.append((int(match.group(1)), path))
    return sorted(steps)


def set_aside_later_steps(folder: Path, after: int) -> list[int]:
    """Rename the steps later than ``after`` to ``aside_*``; returns their numbers.

    A resume from ``after`` makes these steps anew, so they are neither loaded nor removed any more.
    Pointers to them are removed; ``last`` names ``after``.
    """
    home = folder / "checkpoints"
    later = [(step, path) for step, path in _steps(home) if step > after]
    later_names = {path.name for _, path in later}

    for name in POINTERS:
        pointer = home / name
        if pointer.is_file() and pointer.read_text().strip() in later_names:
            pointer.unlink()

    # Newest first: if the process dies, no gap is left between the steps.
    for _, path in reversed(later):
        aside, number = path.with_name(f"aside_{path.name}"), 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"aside_{path.name}.{number}")
        path.rename(aside)

    if any(step == after for step, _ in _steps(home)):
        write_pointer(folder, "last", after)
    return [step for step, _ in later]


# ---- reading -------------------------------------------------------------------------------------


def load(path: Path | str, *, verify: bool = True) -> Checkpoint:
    """A checkpoint from its folder, a pointer file, or a run folder.

    Of a run the newest intact step is loaded; a warning names the damaged ones.

    Raises PlaceError: PL-R101 none there, PL-R102 not a checkpoint, PL-R103 truncated, PL-R104
    content differs from the manifest, PL-R105 written by newer code, PL-R106 a format that is never
    read, PL-R107 unreadable, PL-R108 weights that are not finite. ``verify=False`` skips the hashes
    and warns.
    """
    path = Path(path)
    if not path.exists():
        raise PlaceError(
            "there is no such checkpoint or run",
            code="PL-R101",
            file=path,
            fix="give the folder of a run",
        )

    if path.is_file():
        if path.name not in POINTERS or path.parent.name != "checkpoints":
            refuse_foreign_format(path)
            raise PlaceError(
                "is a single file",
                code="PL-R102",
                file=path,
                fix="give the checkpoint's folder, or the run's",
            )
        path = path.with_name(path.read_text().strip())
        if not _STEP.match(path.name):
            raise PlaceError(
                "the pointer names no step", code="PL-R102", file=path, fix="give the run folder"
            )

    if (path / "checkpoints").is_dir():
        return _newest(path, verify)

    if not (path / MANIFEST).is_file():
        raise PlaceError(
            f"holds no {MANIFEST}, so it is no complete checkpoint",
            code="PL-R102",
            file=path,
            fix="give a run's folder",
        )

    try:
        return _load(path, verify)
    except PlaceError as error:
        good = _good_before(path) if error.code in ("PL-R103", "PL-R104", "PL-R107") else None
        if good is None:
            raise
        raise PlaceError(
            error.problem, code=error.code, file=error.file, fix=f"use {good.name}"
        ) from None


def _good_before(path: Path) -> Path | None:
    for _, other in reversed(_steps(path.parent)):
        if other != path and _find_damage(other) is None:
            return other
    return None


def _find_damage(path: Path) -> PlaceError | None:
    try:
        verify_checkpoint(path)
    except PlaceError as error:
        return error
    return None


def _newest(run: Path, verify: bool) -> Checkpoint:
    steps = _steps(run / "checkpoints")
    if not steps:
        raise PlaceError(
            "the run has no checkpoint yet", code="PL-R101", file=run.name, fix="train it again"
        )

    for _, path in reversed(steps):
        try:
            saved = _load(path, verify)
        except PlaceError as error:
            if error.code == "PL-R105":  # newer code wrote it: older steps are no remedy
                raise
            _log.warning("%s; falling back to the step before", error)
        else:
            return saved

    raise PlaceError(
        f"none of its {len(steps)} checkpoints is intact", code="PL-R101", file=run.name
    )


def has_checkpoint(run: Path) -> bool:
    """Whether the run has committed any step, intact or not."""
    return bool(_steps(run / "checkpoints"))


def latest_intact_step(run: Path) -> Path | None:
    """The folder of the newest committed step whose files are intact, or None."""
    good = (path for _, path in reversed(_steps(run / "checkpoints")) if _find_damage(path) is None)
    return next(good, None)


def _load(path: Path, check: bool) -> Checkpoint:
    if check:
        entries = verify_checkpoint(path)
    else:
        entries = read_manifest(path)
        check_sizes(path, entries)
        _log.warning(
            "%s: loaded without comparing hashes; damaged weights would go unseen", path.name
        )

    config = read_json(path / CONFIG)
    weights = read_tensors(path / WEIGHTS)
    for name, value in weights.items():
        if not _is_finite(value):
            raise PlaceError(
                f"weight '{name}' holds numbers that are not finite",
                code="PL-R108",
                file=f"{path.name}/{WEIGHTS}",
                fix="use an earlier step; training had diverged",
            )

    has_state = STATE in entries["files"]
    return Checkpoint(
        step=entries["step"],
        weights=weights,
        config=config,
        state_tensors=read_tensors(path / OPTIMIZER) if has_state else {},
        state=read_json(path / STATE) if has_state else {},
        path=path,
        origin={key: entries[key] for key in ("schema", "code", "torch", "world_size", "threads")},
    )


def _is_finite(value: Tensor) -> bool:
    """Whether a tensor holds no NaN and no infinity."""
    if not value.is_floating_point():
        return True

    # NaN and infinity survive in the sum, which takes a tenth of the time. A sum can also overflow.
    return bool(torch.isfinite(value.sum()) or torch.isfinite(value).all())


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Load ``weights`` into ``module``; every name and shape must agree.

    ``assign`` replaces the module's tensors by the given ones; the module may then be on the meta
    device. Raises PlaceError PL-R109 with the first five differences before anything is copied.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    actual = {name: tuple(value.shape) for name, value in weights.items()}
    names = [name for name in {**expected, **actual} if expected.get(name) != actual.get(name)]
    if names:
        shown = [
            f"{name}: expected {_shape(expected, name)}, found {_shape(actual, name)}"
            for name in names[:5]
        ]
        raise PlaceError(
            f"the weights are of another model; {len(names)} of {len(expected)} differ: "
            + "; ".join(shown),
            code="PL-R109",
            fix="use the config that the checkpoint was saved with",
        )

    module.load_state_dict(dict(weights), strict=True, assign=assign)


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return "x".join(map(str, shapes[name])) or "a number" if name in shapes else "none"
