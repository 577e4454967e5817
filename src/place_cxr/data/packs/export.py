"""A data set packed into a folder that can be moved: it does not need the original files.

The rows are decoded in parts of ROWS_PER_PART rows, each complete or absent. A killed run continues
where it was; several machines may each decode some of the parts (``shard``), and a call without
``shard`` joins them. The bytes are the same however they were made. The folder also holds the
studies: reports, splits, labels and boxes, but no masks. Everything is private to the user (0700,
0600); ``studies.jsonl`` is as sensitive as the manifest.
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
from place_cxr.core.files import create_private_file, make_private_folder
from place_cxr.core.records import Box, Study
from place_cxr.core.store import (
    NamedArrays,
    build_once,
    is_folder_complete,
    open_arrays,
    write_arrays,
)
from place_cxr.data.packs.cached import (
    DecodeOutcome,
    PixelPack,
    check_rejected,
    decode_images,
    finish_pack,
    open_pack,
    pixel_rule_bytes,
    select_refused,
)

_log = logging.getLogger(__name__)
_Progress = Callable[[int, int], None]
ROWS_PER_PART = 512
DATA_FOLDER, STUDIES_FILE, PARTS_FOLDER = "data", "studies.jsonl", "parts"
_HASHED = 16  # hex digits of a part's name


def pack_dataset(
    studies: Sequence[Study],
    root: Path,
    size: int,
    out: Path,
    *,
    shard: tuple[int, int] | None = None,
    workers: int = 0,
    progress: _Progress | None = None,
) -> PixelPack | None:
    """Pack the studies of the data set at ``root`` into squares of ``size`` pixels under the folder
    ``out``.

    ``shard`` (i, n), i from 1: decode only every n-th part, and return None. Without it, decode the
    parts that are still missing and join all. ``progress(done, total)`` counts the rows of the
    parts of this call.

    Raises PL-D400 to PL-D402 as ``pack_pixels``, PL-C009 for a shard that is none, PL-D411 where
    ``out`` holds the pack of other files, rules or studies, PL-E002 for a full disk, PL-E010,
    PL-E011 for a folder that cannot be used.
    """
    if not studies:
        raise PlaceError(
            "no studies to pack", code="PL-D401", fix="check the source and its filters"
        )

    if shard and not 1 <= shard[0] <= shard[1]:
        raise PlaceError(
            f"there is no shard {shard[0]} of {shard[1]}",
            code="PL-C009",
            fix="count from 1, as 1/4",
        )

    # Paths relative to the data set: keys are equal on machines with other mount points.
    make_private_folder(out)
    names = [_relative(study.image, root) for study in studies]
    study_lines = list(map(_study_line, studies, names))

    keys = []
    for start in range(0, len(studies), ROWS_PER_PART):
        part = slice(start, start + ROWS_PER_PART)
        keys.append(_part_key(studies[part], names[part], size))

    # The key of the whole: image files and rules by the keys of the parts, and the studies.
    key = hashlib.sha256("".join([*keys, *study_lines]).encode()).hexdigest()

    if is_folder_complete(out / DATA_FOLDER):
        opened, metadata = open_pack(out / DATA_FOLDER)
        if metadata.get("key") != key:
            fix = "take another --out, or add --overwrite"
            raise PlaceError(
                "holds a pack of other files, rules or studies", code="PL-D411", file=out, fix=fix
            )

        return None if shard else opened

    parts = _PartBuilder(studies, keys, size, out, progress)
    # Parts are dealt round robin, so that shards finish at about the same time.
    part_numbers = [k for k in range(len(keys)) if not shard or k % shard[1] == shard[0] - 1]
    folders = parts.make(part_numbers, workers)
    if shard:
        return None

    outcomes: list[DecodeOutcome] = []
    for part_folder in folders:
        outcomes += _read_outcomes(part_folder)

    def join(folder: Path) -> None:
        with create_private_file(folder / "pixels") as target:
            for part_folder in folders:
                with open(part_folder / "pixels", "rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)

        with create_private_file(folder / STUDIES_FILE) as file:
            for line in study_lines:
                file.write(line.encode())

        finish_pack(folder, outcomes, size, {"key": key})

    joined, _ = open_pack(build_once(out, DATA_FOLDER, join))
    shutil.rmtree(out / PARTS_FOLDER, ignore_errors=True)
    if joined.rejected:
        _log.warning(
            "%d of %d images are left out, see %s/%s",
            joined.rejected,
            len(studies),
            DATA_FOLDER,
            "quarantine.jsonl",
        )

    return joined


class _PartBuilder:
    """Decodes the parts of one pack that are missing, and counts the refused rows of its parts."""

    def __init__(
        self,
        studies: Sequence[Study],
        keys: Sequence[str],
        size: int,
        out: Path,
        progress: _Progress | None,
    ) -> None:
        self.studies, self.keys, self.size = studies, keys, size
        self.out, self.progress = out, progress
        self.folder = make_private_folder(out / PARTS_FOLDER)
        self.refused: dict[int, DecodeOutcome] = {}

    def make(self, part_numbers: Sequence[int], workers: int) -> list[Path]:
        """The folders of the parts ``part_numbers``, decoded where they are missing."""
        total = sum(len(_part_studies(self.studies, k)) for k in part_numbers)
        folders, done = [], 0
        for k in part_numbers:
            build = partial(self._decode, k=k, done=done, total=total, workers=workers)
            folder = self.folder / f"part-{k:05d}-{self.keys[k][:_HASHED]}"
            existed = is_folder_complete(folder)
            build_once(self.folder, folder.name, build)
            done += len(_part_studies(self.studies, k))
            # Refused rows of a part that existed count for the limit as well.
            if existed:
                self._report_progress(
                    select_refused(_read_outcomes(folder), k * ROWS_PER_PART), done, total
                )

            folders.append(folder)

        return folders

    def _decode(self, folder: Path, *, k: int, done: int, total: int, workers: int) -> None:
        def on_chunk(fresh: int, refused: Mapping[int, DecodeOutcome]) -> None:
            # Rows of a part count from its start; refused rows are those of the whole.
            first = k * ROWS_PER_PART
            refused_rows = {first + row: outcome for row, outcome in refused.items()}
            self._report_progress(refused_rows, done + fresh, total)

        paths = [os.path.abspath(study.image) for study in _part_studies(self.studies, k)]
        _write_part(
            folder, decode_images(folder / "pixels", paths, self.size, workers, on_chunk), self.size
        )

    def _report_progress(self, refused: Mapping[int, DecodeOutcome], done: int, total: int) -> None:
        self.refused.update(refused)
        check_rejected(self.refused, done, len(self.studies), self.out / "quarantine.jsonl")
        if self.progress:
            self.progress(done, total)


def open_packed_pixels(out: Path, size: int) -> PixelPack:
    """The pixels of a packed data set. Raises PL-D412 where they are squares of another size."""
    opened, _ = open_pack(_require_whole(out))
    if opened.pixels.shape[1] != size:
        problem = f"packed as squares of {opened.pixels.shape[1]} pixels, {size} are wanted"
        fix = f"set data.pack_size={opened.pixels.shape[1]}, or pack again"
        raise PlaceError(problem, code="PL-D412", file=out, fix=fix)

    return opened


def read_packed_studies(out: Path) -> list[Study]:
    """The studies of a packed data set, in the order of its rows; their image files need not
    exist.
    """
    folder = _require_whole(out)
    return [
        _parse_study(json.loads(line), out)
        for line in (folder / STUDIES_FILE).read_text("utf-8").splitlines()
    ]


def _require_whole(out: Path) -> Path:
    if (
        not is_folder_complete(out / DATA_FOLDER)
        or not (out / DATA_FOLDER / STUDIES_FILE).is_file()
    ):
        fix = "finish it: place data pack with the same --out and no --shard"
        raise PlaceError("no whole pack", code="PL-D410", file=out, fix=fix)

    return out / DATA_FOLDER


def _part_studies(studies: Sequence[Study], k: int) -> Sequence[Study]:
    return studies[k * ROWS_PER_PART : (k + 1) * ROWS_PER_PART]


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(os.path.abspath(path), os.path.realpath(root))).as_posix()


def _part_key(studies: Sequence[Study], names: Sequence[str], size: int) -> str:
    """SHA-256 of everything that the bytes of a part depend on: rule, names, sizes, times.

    It is equal on every machine that sees the same files.
    """
    hasher = hashlib.sha256(pixel_rule_bytes(size))
    for study, name in zip(studies, names, strict=True):
        try:
            status = os.stat(study.image)
            hasher.update(json.dumps([name, status.st_size, status.st_mtime_ns]).encode())
        except (OSError, ValueError):
            hasher.update(json.dumps([name]).encode())

    return hasher.hexdigest()


def _study_line(study: Study, name: str) -> str:
    """One study as a line of JSON; NaN is a finding that is not mentioned."""
    plain = {field.name: getattr(study, field.name) for field in dataclasses.fields(Study)}
    plain |= {"image": name, "labels": dict(study.labels), "said": dict(study.said)}
    plain["boxes"] = [dataclasses.astuple(box) for box in study.boxes]
    del plain["masks"]
    return json.dumps(plain) + "\n"


def _parse_study(plain: dict[str, Any], out: Path) -> Study:
    boxes = tuple(Box(*box) for box in plain.pop("boxes"))
    return Study(**{**plain, "image": out / plain["image"]}, boxes=boxes)


def _write_part(folder: Path, outcomes: Sequence[DecodeOutcome], size: int) -> None:
    arrays: NamedArrays = {
        "pixels": np.memmap(
            folder / "pixels", dtype=np.uint8, mode="r", shape=(len(outcomes), size, size)
        ),
        "sizes": np.array([outcome[:2] for outcome in outcomes], dtype=np.int32),
        # As bytes of fixed length: raw arrays hold no Python strings.
        "codes": np.array([outcome[2] for outcome in outcomes], dtype="S8"),
        "sha256": np.array([outcome[3] for outcome in outcomes], dtype="S12"),
    }
    write_arrays(folder, arrays, {})


def _read_outcomes(part: Path) -> list[DecodeOutcome]:
    arrays, _ = open_arrays(part)
    return [
        (int(height), int(width), code.decode(), sha256.decode())
        for (height, width), code, sha256 in zip(
            arrays["sizes"], arrays["codes"], arrays["sha256"], strict=True
        )
    ]
