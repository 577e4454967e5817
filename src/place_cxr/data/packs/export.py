"""A data set packed into a folder of its own, which needs neither the original files nor this machine.

The rows are decoded in parts of PART, each whole or absent: a killed run goes on where it was, several machines may
each take some of the parts (``shard``), and whoever finds all parts puts them together. The result is the same bytes
however it was made. Beside the pixels lie the studies: reports, splits, labels and boxes, but no masks. All is private
to the user (0700, 0600); ``studies.jsonl`` holds what the manifest held, and deserves the same care.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box, Study
from place_cxr.core.store import Arrays, build_once, create, is_whole, open_arrays, private_folder, write_arrays
from place_cxr.data.packs.cached import (
    Outcome,
    PixelPack,
    check_rejected,
    decode_all,
    finish,
    open_pack,
    pixel_rule,
    refused_of,
)

log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
PART = 512
DATA, STUDIES, PARTS = "data", "studies.jsonl", "parts"
_HASHED = 16  # hex digits of a part's name


def pack(
    studies: Sequence[Study],
    root: Path,
    size: int,
    out: Path,
    *,
    shard: tuple[int, int] | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> PixelPack | None:
    """Pack the studies of the data set at ``root`` into squares of ``size`` pixels under the folder ``out``.

    ``shard`` (i, n), i from 1: decode each n-th part only, and return None; without it, decode the parts that are still
    missing and put all together. ``progress(done, total)`` counts rows of this call's parts, found or decoded.

    Raises PL-D400 to PL-D402 as ``pack_pixels``, PL-C009 for a shard that is none, PL-D411 where ``out`` holds the pack
    of other files, rules or studies, PL-E002 for a full disk, PL-E010, PL-E011 for a folder that cannot be used.
    """
    if not studies:
        raise PlaceError("no studies to pack", code="PL-D401", fix="check the source and its filters")
    if shard and not 1 <= shard[0] <= shard[1]:
        raise PlaceError(f"there is no shard {shard[0]} of {shard[1]}", code="PL-C009", fix="count from 1, as 1/4")
    private_folder(out)
    names = [_relative(study.image, root) for study in studies]
    keys = [_key(studies[start : start + PART], names[start : start + PART], size) for start in _starts(studies)]
    whole = hashlib.sha256("".join([*keys, *(_line(s, n) for s, n in zip(studies, names, strict=True))]).encode())
    if is_whole(out / DATA):
        found, about = open_pack(out / DATA)
        if about.get("key") != whole.hexdigest():
            fix = "take another --out, or add --overwrite"
            raise PlaceError("holds a pack of other files, rules or studies", code="PL-D411", file=out, fix=fix)
        return None if shard else found
    parts = _Parts(studies, keys, size, out, progress)
    mine = [k for k in range(len(keys)) if not shard or k % shard[1] == shard[0] - 1]
    folders = parts.make(mine, workers)
    if shard:
        return None
    outcomes = [outcome for folder in folders for outcome in _outcomes(folder)]

    def join(folder: Path) -> None:
        with create(folder / "pixels") as target:
            for part in folders:
                with open(part / "pixels", "rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
        with create(folder / STUDIES) as file:
            for study, name in zip(studies, names, strict=True):
                file.write(_line(study, name).encode())
        finish(folder, outcomes, size, {"key": whole.hexdigest()})

    joined, _ = open_pack(build_once(out, DATA, join))
    shutil.rmtree(out / PARTS, ignore_errors=True)
    if joined.rejected:
        log.warning("%d of %d images are left out, see %s/%s", joined.rejected, len(studies), DATA, "quarantine.jsonl")
    return joined


class _Parts:
    """The parts of one pack: found or made, with the refused rows of those that this process has seen."""

    def __init__(
        self, studies: Sequence[Study], keys: Sequence[str], size: int, out: Path, progress: Progress | None
    ) -> None:
        self.studies, self.keys, self.size, self.out, self.progress = studies, keys, size, out, progress
        self.folder = private_folder(out / PARTS)
        self.refused: dict[int, Outcome] = {}

    def make(self, mine: Sequence[int], workers: int) -> list[Path]:
        """The folders of the parts ``mine``, decoded where they are not there."""
        total = sum(len(_part(self.studies, k)) for k in mine)
        folders, done = [], 0
        for k in mine:
            build = partial(self._decode, k=k, done=done, total=total, workers=workers)
            folder = self.folder / f"part-{k:05d}-{self.keys[k][:_HASHED]}"
            found = is_whole(folder)
            build_once(self.folder, folder.name, build)
            done += len(_part(self.studies, k))
            if found:
                self._tell(refused_of(_outcomes(folder), k * PART), done, total)
            folders.append(folder)
        return folders

    def _decode(self, folder: Path, *, k: int, done: int, total: int, workers: int) -> None:
        def told(fresh: int, refused: Mapping[int, Outcome]) -> None:
            self._tell({k * PART + row: outcome for row, outcome in refused.items()}, done + fresh, total)

        paths = [os.path.abspath(study.image) for study in _part(self.studies, k)]
        _write_part(folder, decode_all(folder / "pixels", paths, self.size, workers, told), self.size)

    def _tell(self, refused: Mapping[int, Outcome], done: int, total: int) -> None:
        self.refused.update(refused)
        check_rejected(self.refused, done, len(self.studies), self.out / "quarantine.jsonl")
        if self.progress:
            self.progress(done, total)


def open_packed(out: Path, size: int) -> PixelPack:
    """The pixels of a packed data set. Raises PL-D412 where they are squares of another size."""
    found, _ = open_pack(_whole(out))
    if found.pixels.shape[1] != size:
        problem = f"packed as squares of {found.pixels.shape[1]} pixels, {size} are wanted"
        fix = f"set data.pack_size={found.pixels.shape[1]}, or pack again"
        raise PlaceError(problem, code="PL-D412", file=out, fix=fix)
    return found


def read_packed(out: Path) -> list[Study]:
    """The studies of a packed data set, in the order of its rows; their image files need not be there."""
    folder = _whole(out)
    return [_study(json.loads(line), out) for line in (folder / STUDIES).read_text("utf-8").splitlines()]


def _whole(out: Path) -> Path:
    if not is_whole(out / DATA) or not (out / DATA / STUDIES).is_file():
        fix = "finish it: place data pack with the same --out and no --shard"
        raise PlaceError("no whole pack", code="PL-D410", file=out, fix=fix)
    return out / DATA


def _starts(studies: Sequence[Study]) -> range:
    return range(0, len(studies), PART)


def _part(studies: Sequence[Study], k: int) -> Sequence[Study]:
    return studies[k * PART : (k + 1) * PART]


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(os.path.abspath(path), os.path.realpath(root))).as_posix()


def _key(studies: Sequence[Study], names: Sequence[str], size: int) -> str:
    """All that decides a part's bytes, equal on every machine that sees the same files: rule, names, sizes, times."""
    found = hashlib.sha256(pixel_rule(size))
    for study, name in zip(studies, names, strict=True):
        try:
            about = os.stat(study.image)
            found.update(json.dumps([name, about.st_size, about.st_mtime_ns]).encode())
        except (OSError, ValueError):
            found.update(json.dumps([name]).encode())
    return found.hexdigest()


def _line(study: Study, name: str) -> str:
    """One study as a line of JSON; NaN stands for what is not mentioned."""
    plain = {field.name: getattr(study, field.name) for field in dataclasses.fields(Study)}
    plain |= {"image": name, "labels": dict(study.labels), "said": dict(study.said)}
    plain["boxes"] = [dataclasses.astuple(box) for box in study.boxes]
    del plain["masks"]
    return json.dumps(plain) + "\n"


def _study(plain: dict[str, Any], out: Path) -> Study:
    boxes = tuple(Box(*box) for box in plain.pop("boxes"))
    return Study(**{**plain, "image": out / plain["image"]}, boxes=boxes)


def _write_part(folder: Path, outcomes: Sequence[Outcome], size: int) -> None:
    arrays: Arrays = {
        "pixels": np.memmap(folder / "pixels", dtype=np.uint8, mode="r", shape=(len(outcomes), size, size)),
        "sizes": np.array([outcome[:2] for outcome in outcomes], dtype=np.int32),
        "codes": np.array([outcome[2] for outcome in outcomes], dtype="S8"),
        "sha256": np.array([outcome[3] for outcome in outcomes], dtype="S12"),
    }
    write_arrays(folder, arrays, {})


def _outcomes(part: Path) -> list[Outcome]:
    arrays, _ = open_arrays(part)
    return [
        (int(height), int(width), code.decode(), sha256.decode())
        for (height, width), code, sha256 in zip(arrays["sizes"], arrays["codes"], arrays["sha256"], strict=True)
    ]
