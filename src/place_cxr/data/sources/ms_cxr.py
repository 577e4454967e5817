"""MS-CXR 0.1 and 1.1.0: phrases of MIMIC-CXR reports with the boxes of what they say, drawn by
radiologists.

Licence: PhysioNet Credentialed Health Data License 1.5.0. Boecking et al., ECCV 2022. How to get
it: physionet.org/content/ms-cxr (training and agreement); images are those of MIMIC-CXR-JPG.
Layout: ``MS_CXR_Local_Alignment_v1.1.0.csv`` (or v1.0.0): dicom_id, category_name, label_text,
path, x, y, w, h, image_width, image_height and, in 1.1.0, split; a row for each box. ``path`` is
MIMIC-CXR-JPG's; its folder is option ``mimic``, by default ``root``. The JSON form is not read.
Counts: 1,162 image-phrase pairs of 8 findings [from the paper; not verified against the files].
Labels: the phrase's finding is PRESENT; nothing else is stated. Boxes are in pixels of the full
image. Splits: ``test``: all of it, as papers evaluate. ``published``: the column of 1.1.0. Traps:
the published split does not follow MIMIC's own: parts of its train are in MIMIC's test and the
other way round; do not evaluate a model on phrases whose patients it was trained with.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import PRESENT, Box, Study
from place_cxr.data.sources.files import (
    check_relative_path,
    find_file,
    parse_number,
    read_columns,
    refuse_value,
)

_TABLE = "MS_CXR_Local_Alignment_v*.csv"
_SIDES = ("x", "y", "w", "h")
_SPLIT_NAMES = {"train": "train", "val": "val", "validate": "val", "test": "test"}


def read(root: Path, split: str = "test", *, mimic: str = "") -> list[Study]:
    """A study for each phrase of an image, with all its boxes, in the order of the table."""
    find_file(root, _TABLE)  # PL-D205 where there is none
    table = max(root.glob(_TABLE))  # the newest version

    image_folder = root / mimic
    # (image, finding, phrase) -> path, split and boxes. The table has a row for each box.
    phrases: dict[tuple[str, str, str], tuple[str, str, list[Box]]] = {}
    columns = ("dicom_id", "category_name", "label_text", "path", *_SIDES)
    for line, row in read_columns(table, *columns, optional=("split",)):
        x, y, width, height = (parse_number(table, line, row[side]) for side in _SIDES)
        key = (row["dicom_id"], row["category_name"], row["label_text"])
        part = _SPLIT_NAMES.get(row.get("split", ""), "")
        # Early versions of the table have no column of splits.
        if split == "published" and not part:
            refuse_value(table, line, "no split in this table: take split=test")

        path = check_relative_path(table, line, row["path"])
        phrases.setdefault(key, (path, part, []))[2].append(
            Box(row["category_name"], x, y, x + width, y + height)
        )

    if not image_folder.is_dir():
        raise PlaceError(
            "no such folder", code="PL-D205", file=image_folder, fix="check data.options.mimic"
        )

    studies = []
    for index, (key, (path, part, boxes)) in enumerate(phrases.items(), start=1):
        dicom, finding, phrase = key
        studies.append(
            Study(
                id=f"{dicom}#{index}",
                image=image_folder / path,
                report=phrase,
                patient=_patient(path),
                split="test" if split == "test" else part,
                labels={finding: PRESENT},
                boxes=tuple(boxes),
            )
        )

    return studies


def _patient(path: str) -> str:
    """10000032 of files/p10/p10000032/s50414267/x.jpg; empty where the path has no such folder."""
    for name in PurePosixPath(path).parts:
        if len(name) == 9 and name[0] == "p":
            return name[1:]

    return ""
