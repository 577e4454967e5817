"""RSNA Pneumonia Detection Challenge 2018, stage 2: NIH radiographs with radiologists' boxes of
lung opacities.

Licence: RSNA terms: academic and other use with attribution; images NIH. Citation: Shih et al.,
Radiology: AI 1(1), 2019.
How to get it: kaggle.com/c/rsna-pneumonia-detection-challenge (competition rules to accept).
Layout: ``stage_2_train_labels.csv`` (patientId,x,y,width,height,Target: a row for each box, blank
where Target is 0), ``stage_2_detailed_class_info.csv`` (patientId,class: a row for each box, so
repeated), ``stage_2_train_images/<patientId>.dcm``.
Counts: 30,227 rows, 26,684 images, 6,012 positive, 9,555 boxes (1 to 4 an image); classes Normal,
Lung Opacity, No Lung Opacity / Not Normal. 1024 x 1024, 8 bit.
Labels: "Pneumonia" is Target, that is an opacity that may be pneumonia; "No Finding" is the class
Normal. A negative image may show any other disease. Boxes are in pixels.
Splits: the 3,000 test images have no public labels on Kaggle and are not read. ``patient`` (one
image is one patient as far as is known: ids of the NIH patients are not in the tables). ``mgca``
(70/15/15) and ``mgca_detection`` (5,337 each): images sorted by id, two draws with seed 0, whose
first half is called test. ``benchx``: 70/15/15 in proportion to Target, seed 42. The splits of LoVT
(same sizes as mgca_detection, other images) and MRM are lists.
Traps: several images can be of one NIH patient, so every split of this set may leak; the id is a
patientId in name only.
"""

from __future__ import annotations

from pathlib import Path

from place_cxr.core.records import ABSENT, PRESENT, Box, Study
from place_cxr.data.sources.conventions import assign_splits, stratified_parts, three_parts
from place_cxr.data.sources.files import (
    check_relative_path,
    find_file,
    find_optional_file,
    parse_number,
    read_columns,
    refuse_value,
)

_FINDING = "Pneumonia"
_SIDES = ("x", "y", "width", "height")
_DETECTION_EACH = 5_337  # images in val and in test [MGCA]
_HELD_OUT = 0.15 * 2  # fraction of images in val and test together [MGCA]


def read(root: Path, split: str = "patient") -> list[Study]:
    """A study for each image: sorted by id for the split ``patient``, else in the order of the
    draw.
    """
    table = find_file(root, "stage_2_train_labels.csv")

    # The table has a row for each box, and one row without a box for a negative image.
    boxes: dict[str, list[Box]] = {}
    targets: dict[str, str] = {}
    for line, row in read_columns(table, "patientId", *_SIDES, "Target"):
        name, target = check_relative_path(table, line, row["patientId"]), row["Target"]
        if target not in ("0", "1") or targets.setdefault(name, target) != target:
            refuse_value(table, line, "Target is not 0 or 1, or differs between rows of one image")

        boxes.setdefault(name, [])
        if target == "1":
            x, y, width, height = (parse_number(table, line, row[side]) for side in _SIDES)
            boxes[name].append(Box(_FINDING, x, y, x + width, y + height))

    normal = _read_normal(root)
    studies = [
        Study(
            id=name,
            image=Path(f"{root}/stage_2_train_images/{name}.dcm"),
            report="",
            labels=_labels(targets[name], normal.get(name)),
            boxes=tuple(boxes[name]),
        )
        for name in sorted(boxes)
    ]
    if split == "patient":
        return studies

    if split == "benchx":
        return assign_splits(
            studies, stratified_parts([int(targets[study.id]) for study in studies])
        )

    held_out = _HELD_OUT if split == "mgca" else _DETECTION_EACH * 2
    return assign_splits(studies, three_parts(len(studies), held_out))


def _labels(target: str, is_normal: bool | None) -> dict[str, float]:
    """``is_normal`` is None where the class table is missing."""
    labels = {_FINDING: PRESENT if target == "1" else ABSENT}
    if is_normal is not None:
        labels["No Finding"] = PRESENT if is_normal else ABSENT

    return labels


def _read_normal(root: Path) -> dict[str, bool]:
    """Image -> whether its class is Normal; empty without the class table."""
    table = find_optional_file(root, "stage_2_detailed_class_info.csv")
    rows = read_columns(table, "patientId", "class") if table else ()
    return {row["patientId"]: row["class"] == "Normal" for _, row in rows}
