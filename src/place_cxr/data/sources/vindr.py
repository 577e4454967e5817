"""VinDr-CXR 1.0.0: PA radiographs of two hospitals in Hanoi with radiologists' boxes and diagnoses.

Licence: PhysioNet Credentialed Health Data License 1.5.0; no passing on, no identification. How to
get it: physionet.org/content/vindr-cxr (training and agreement). Kaggle's VinBigData set has other
files: not read. Layout: ``train/<image_id>.dicom``, ``test/<image_id>.dicom``,
``annotations/image_labels_{train,test}.csv`` (image_id, rad_id in train alone, then a column of 0
and 1 for each finding and diagnosis), ``annotations/annotations_{train,test}.csv`` (image_id,
rad_id, class_name, x_min, y_min, x_max, y_max; no box where class_name is "No finding"). Counts:
15,000 train images, each read by 3 of 17 radiologists (45,000 rows), 3,000 test images by consensus
of 5. Labels: in train a finding is PRESENT where at least ``agree`` of the three say so (2 [ours];
CXR-CLIP takes 1), else ABSENT. Boxes: all that any radiologist drew, so in train one lesion can
have three; pixels of the DICOM image. Splits: ``official`` (no val). ``cxr_clip``: 20 % of train
as val, images sorted by id, seed 0. Traps: the column "Other diseases" of train is "Other disease"
in test; here both are "Other diseases". Patients are not known.
"""

from __future__ import annotations

from pathlib import Path

from place_cxr.core.records import ABSENT, PRESENT, Box, Study
from place_cxr.data.sources.conventions import assign_splits, shuffle_split
from place_cxr.data.sources.files import (
    check_relative_path,
    find_file,
    find_optional_file,
    parse_number,
    read_columns,
    refuse_value,
)
from place_cxr.data.sources.tables import read_header

_SIDES = ("x_min", "y_min", "x_max", "y_max")
_VAL_FRACTION = 0.2  # of train [CXR-CLIP]
_FINDING_ALIASES = {"Other disease": "Other diseases", "No finding": "No Finding"}


def read(root: Path, split: str = "official", *, agree: int = 2) -> list[Study]:
    """A study for each image, train before test, sorted by id; train and val of ``cxr_clip`` in the
    order of the draw.
    """
    train = _read_part(root, "train", agree)
    if split == "cxr_clip":
        kept, held_out = shuffle_split(len(train), _VAL_FRACTION, 0)
        train = assign_splits(train, {"train": kept, "val": held_out})

    return train + _read_part(root, "test", 1)


def _read_part(root: Path, part: str, agree: int) -> list[Study]:
    table = find_file(root, f"annotations/image_labels_{part}.csv", f"image_labels_{part}.csv")

    names = [name for name in read_header(table) if name not in ("image_id", "rad_id")]
    votes: dict[str, list[int]] = {}  # image -> readers who said yes, for each finding
    for line, row in read_columns(table, "image_id", *names):
        image_id = check_relative_path(table, line, row["image_id"])
        counts = votes.setdefault(image_id, [0] * len(names))
        for column, name in enumerate(names):
            value = parse_number(table, line, row[name])
            if value not in (ABSENT, PRESENT):
                refuse_value(table, line, "a label is not 0 or 1")
            counts[column] += int(value)

    boxes = _boxes(root, part)
    findings = [_FINDING_ALIASES.get(name, name) for name in names]

    studies = []
    for image_id in sorted(votes):
        labels = {}
        for finding, count in zip(findings, votes[image_id], strict=True):
            labels[finding] = PRESENT if count >= agree else ABSENT

        studies.append(
            Study(
                id=image_id,
                image=root / part / f"{image_id}.dicom",
                report="",
                split=part,
                view="PA",
                labels=labels,
                boxes=tuple(boxes.get(image_id, ())),
            )
        )

    return studies


def _boxes(root: Path, part: str) -> dict[str, list[Box]]:
    table = find_optional_file(
        root, f"annotations/annotations_{part}.csv", f"annotations_{part}.csv"
    )
    boxes: dict[str, list[Box]] = {}
    if table is not None:
        for line, row in read_columns(table, "image_id", "class_name", *_SIDES):
            if row["x_min"]:  # blank where a radiologist found nothing
                sides = [parse_number(table, line, row[side]) for side in _SIDES]
                boxes.setdefault(row["image_id"], []).append(Box(row["class_name"], *sides))

    return boxes
