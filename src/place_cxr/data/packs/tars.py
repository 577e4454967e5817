"""A packed data set as WebDataset shards: plain tar files of ``000000000.png`` and
``000000000.json`` pairs.

Each split has its own files, ``train-000000.tar`` and so on (``all-`` where there are no splits).
The image is the 8-bit gray square of the pack. The JSON holds the report, ids, split, labels
(null: not mentioned), boxes in pixels of the original, and ``original_size`` [height, width], from
which ``Letterbox`` computes where the image lies in the square. Names, times and owners inside the
files are constant, so equal data give equal bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from PIL import Image

from place_cxr.core.files import PRIVATE_MODE, atomic_file, make_private_folder, remove_orphans
from place_cxr.core.records import Study
from place_cxr.data.packs.cached import PixelPack

ROWS_PER_TAR = 1000


def write_tars(
    studies: Sequence[Study],
    pack: PixelPack,
    target: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the usable rows of ``pack`` into the folder ``target``; returns the files.

    Each file is complete or absent.
    """
    remove_orphans(make_private_folder(target))

    by_split: dict[str, list[int]] = {}
    for row in pack.rows.tolist():
        by_split.setdefault(studies[row].split or "all", []).append(row)

    files, done = [], 0
    for split, rows in sorted(by_split.items()):
        for number, start in enumerate(range(0, len(rows), ROWS_PER_TAR)):
            file = target / f"{split}-{number:06d}.tar"
            file_rows = rows[start : start + ROWS_PER_TAR]
            _write_tar(file, studies, pack, file_rows)
            files.append(file)
            done += len(file_rows)
            if progress:
                progress(done, len(pack.rows))

    return files


def _write_tar(file: Path, studies: Sequence[Study], pack: PixelPack, rows: Sequence[int]) -> None:
    with (
        atomic_file(file, PRIVATE_MODE) as handle,
        tarfile.open(fileobj=handle, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for row in rows:
            buffer = io.BytesIO()
            Image.fromarray(pack.pixels[row]).save(buffer, "PNG")
            metadata = _study_metadata(studies[row], pack.letterboxes[row].tolist())
            members = {"png": buffer.getvalue(), "json": json.dumps(metadata).encode()}
            for suffix, data in members.items():
                # TarInfo has time 0 and owner 0 by default: equal data give equal bytes.
                member = tarfile.TarInfo(f"{row:09d}.{suffix}")
                member.size = len(data)
                member.mode = 0o600
                tar.addfile(member, io.BytesIO(data))


def _study_metadata(study: Study, size: list[int]) -> dict[str, Any]:
    def nan_to_none(values: Any) -> dict[str, float | None]:
        # NaN is the one value that differs from itself; JSON has none.
        return {name: None if value != value else value for name, value in values.items()}

    plain = {
        name: getattr(study, name)
        for name in ("report", "id", "patient", "split", "view", "sex", "age", "site")
    }
    label_values = {"labels": nan_to_none(study.labels), "said": nan_to_none(study.said)}

    return {
        **plain,
        **label_values,
        "boxes": [astuple(box) for box in study.boxes],
        "original_size": size,
    }
