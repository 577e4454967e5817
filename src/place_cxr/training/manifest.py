"""The manifest of a checkpoint: its files with sizes and hashes, who wrote it, and its own hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from place_cxr.core import distributed
from place_cxr.core.errors import PlaceError
from place_cxr.core.version import __version__

CHECKPOINT_SCHEMA = 1
WEIGHTS, CONFIG, OPTIMIZER, STATE, MANIFEST = (
    "model.safetensors",
    "config.json",
    "training_state/optimizer.safetensors",
    "training_state/state.json",
    "MANIFEST.json",
)
_JSON_LIMIT = 64 << 20  # bytes; a damaged file must not fill the memory


def json_bytes(value: Any) -> bytes:
    """JSON with indentation and sorted keys: equal values give equal bytes, hence equal hashes."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def manifest_bytes(step: int, files: Mapping[str, bytes]) -> bytes:
    """The content of ``MANIFEST.json`` for ``files``, a mapping of names to contents."""
    recorded = {}
    for name, content in files.items():
        recorded[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    entries = {
        "schema": CHECKPOINT_SCHEMA,
        "step": step,
        "code": __version__,
        "torch": torch.__version__,
        "world_size": distributed.world_size(),
        "threads": torch.get_num_threads(),
        "files": recorded,
    }
    # The hash is of the manifest without this last entry.
    return json_bytes(entries | {"sha256": hashlib.sha256(json_bytes(entries)).hexdigest()})


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """The manifest, after all files were compared with its sizes and hashes.

    Raises PlaceError PL-R103 to PL-R105 and PL-R107.
    """
    entries = read_manifest(path)

    for name, recorded in entries["files"].items():
        file = path / safe_name(name)
        # A file that is missing or truncated is left to `check_sizes`, which names its size.
        if file.is_file() and file.stat().st_size == recorded["size"]:
            with file.open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != recorded["sha256"]:
                    raise PlaceError(
                        "the content is not what was saved",
                        code="PL-R104",
                        file=f"{path.name}/{name}",
                    )

    check_sizes(path, entries)
    return entries


def check_sizes(path: Path, entries: Mapping[str, Any]) -> None:
    """PL-R103 for a file that is missing or of another size than the manifest says."""
    for name, recorded in entries["files"].items():
        file = path / safe_name(name)
        size = file.stat().st_size if file.is_file() else 0
        if size != recorded["size"]:
            raise PlaceError(
                f"the file is truncated ({size} of {recorded['size']} bytes)",
                code="PL-R103",
                file=f"{path.name}/{name}",
            )


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint folder, complete and undamaged.

    Raises PlaceError: PL-R103 missing, PL-R104 damaged, PL-R105 of newer code, PL-R107 incomplete.
    """
    entries = read_json(path / MANIFEST)
    claimed = entries.pop("sha256", None)
    if hashlib.sha256(json_bytes(entries)).hexdigest() != claimed:
        raise PlaceError("the manifest is damaged", code="PL-R104", file=f"{path.name}/{MANIFEST}")

    # Before the entries are checked: another schema may have others.
    if isinstance(schema := entries.get("schema"), int) and schema > CHECKPOINT_SCHEMA:
        readable = f"{__version__} reads formats up to {CHECKPOINT_SCHEMA}"
        raise PlaceError(
            f"written in format {schema} by place-cxr {entries.get('code')}, but {readable}",
            code="PL-R105",
            file=path.name,
            fix="update place-cxr",
        )

    if not _is_complete(entries):
        raise PlaceError(
            "the manifest lacks entries", code="PL-R107", file=f"{path.name}/{MANIFEST}"
        )
    return entries


def _is_complete(entries: Mapping[str, Any]) -> bool:
    """Whether all entries are there and have the right types. Raises PL-R107 for an unsafe name."""
    try:
        names = set()
        for name, recorded in entries["files"].items():
            int(recorded["size"]), str(recorded["sha256"])
            names.add(safe_name(name))
        # The optimizer's tensors and the JSON state belong together.
        has_files = {WEIGHTS, CONFIG} <= names and (OPTIMIZER in names) == (STATE in names)
        has_step = int(entries["step"]) >= 0
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return has_files and has_step and {"code", "torch", "world_size", "threads"} <= set(entries)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of bounded size. Raises PL-R103 if it is missing, PL-R107 for anything else."""
    name = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        raise PlaceError("the file is missing", code="PL-R103", file=name)
    if path.stat().st_size > _JSON_LIMIT:
        raise PlaceError("too large for what it should hold", code="PL-R107", file=name)

    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        size = path.stat().st_size
        raise PlaceError(
            f"the file is truncated or no JSON object ({size} bytes)", code="PL-R107", file=name
        )
    return value


def safe_name(name: str) -> str:
    """``name`` itself, if it stays inside the folder it is relative to; raises PL-R107 if not."""
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
        raise PlaceError("a file name leads outside the checkpoint", code="PL-R107")
    return name
