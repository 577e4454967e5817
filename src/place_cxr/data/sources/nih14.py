"""NIH ChestX-ray14: frontal radiographs with 14 text-mined findings, 984 finding boxes by
radiologists.

Licence: no restriction on use; credit, link and citation asked for (NIH Clinical Center; Wang et
al., CVPR 2017). How to get it: nihcc.app.box.com/v/ChestXray-NIHCC, or the copy on Kaggle. Layout:
``Data_Entry_2017_v2020.csv`` (or the first ``Data_Entry_2017.csv``), ``BBox_List_2017.csv``,
``train_val_list.txt``, ``test_list.txt``; images 1024 x 1024 PNG in ``images/``, or in
``images_001/images/`` to ``images_012/images/`` (Kaggle). Counts: 112,120 images of 30,805
patients; 86,524 in train_val_list, 25,596 in test_list. Labels: ``Finding Labels`` joined by "|";
what is not listed was not found in the report by text mining and is ABSENT here, as everybody reads
it; about 90 % are right. "Infiltrate" of the box table is the label "Infiltration". Splits:
``official``: the test list is test; of the patients in train_val_list a tenth is val, by a hash of
the patient [ours]. ``patient``. KAD's 77,872/8,652 and the 78,468/11,219/22,433 of REFERS, MRM and
BenchX are lists. Traps: the first release writes ages as "058Y", has a column without a name, and
ages over 400 years; the header of the box table is "Bbox [x,y,w,h],,," (nine fields); the original
images were up to 3000 pixels and more than 8 bits; some are rotated, some have burnt-in marks;
lateral views do not exist.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, PRESENT, Box, Study
from place_cxr.data.sources.files import (
    check_relative_path,
    find_file,
    find_optional_file,
    index_files,
    parse_age,
    parse_number,
    parse_sex,
    read_columns,
)
from place_cxr.data.splits.by_patient import split_by_patient

NIH14_LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
    "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening",
    "Hernia",
)  # fmt: skip
_NORMAL = "No Finding"
_VAL_FRACTIONS = (0.9, 0.1, 0.0)  # of the official train list, by patient [ours]
_SPLIT_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}


def read(root: Path, split: str = "official") -> list[Study]:
    """A study for each image, in the order of the table. Without the two lists, ``official`` is
    PL-D205.
    """
    table = find_file(root, "Data_Entry_2017_v2020.csv", "Data_Entry_2017*.csv")
    paths_by_name = index_files(*sorted(path for path in root.glob("images*") if path.is_dir()))
    boxes = _boxes(root)
    labels_by_text: dict[str, dict[str, float]] = {}

    studies = []
    needed = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")
    for line, row in read_columns(table, *needed, optional=("Patient Gender", "Patient Sex")):
        name = check_relative_path(table, line, row["Image Index"])
        if row["Finding Labels"] not in labels_by_text:
            labels_by_text[row["Finding Labels"]] = _labels(table, line, row["Finding Labels"])

        studies.append(
            Study(
                id=name.removesuffix(".png"),
                image=Path(paths_by_name.get(name) or f"{root}/images/{name}"),
                report="",
                patient=row["Patient ID"],
                view=row["View Position"],
                sex=parse_sex(row.get("Patient Gender", row.get("Patient Sex", ""))),
                age=parse_age(row["Patient Age"]),
                labels=labels_by_text[row["Finding Labels"]],
                boxes=tuple(boxes.get(name, ())),
            )
        )

    return _official_split(root, studies) if split == "official" else studies


def _labels(table: Path, line: int, text: str) -> dict[str, float]:
    named = {name.strip() for name in text.split("|")}
    unknown = named - {*NIH14_LABELS, _NORMAL}
    if unknown:
        raise PlaceError(
            f"line {line}: an unknown finding",
            code="PL-D210",
            file=table,
            fix="copy the table again",
        )

    return {name: PRESENT if name in named else ABSENT for name in (*NIH14_LABELS, _NORMAL)}


def _boxes(root: Path) -> dict[str, list[Box]]:
    table = find_optional_file(root, "BBox_List_2017*.csv")
    boxes: dict[str, list[Box]] = {}
    if table is not None:
        for line, row in read_columns(
            table, "Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"
        ):
            x, y, width, height = (
                parse_number(table, line, row[name]) for name in ("Bbox [x", "y", "w", "h]")
            )
            # The table of boxes has another word for this finding than the table of labels.
            finding = row["Finding Label"].replace("Infiltrate", "Infiltration")
            boxes.setdefault(row["Image Index"], []).append(
                Box(finding, x, y, x + width, y + height)
            )

    return boxes


def _official_split(root: Path, studies: list[Study]) -> list[Study]:
    lists = {}
    for name, file in _SPLIT_LISTS.items():
        lists[name] = set(find_file(root, file).read_text("utf-8").split())

    assigned: dict[str, Study] = {}
    train = [study for study in studies if f"{study.id}.png" in lists["train"]]
    # The official lists have no val: it is drawn from the train list.
    if train:
        assigned = {study.id: study for study in _train_and_val(train)}

    test = {}
    for study in studies:
        if f"{study.id}.png" in lists["test"]:
            test[study.id] = replace(study, split="test")

    missing = len(studies) - len(assigned.keys() | test.keys())
    if missing:
        problem = f"{missing} of {len(studies)} images of the table are in neither list"
        raise PlaceError(
            problem, code="PL-D207", file=root, fix="copy the lists again, or use split=patient"
        )

    assigned |= test

    return [assigned[study.id] for study in studies]


def _train_and_val(studies: list[Study]) -> list[Study]:
    """Train and val by patient; all train where there are too few patients for both."""
    try:
        return split_by_patient(studies, 0, _VAL_FRACTIONS)
    except PlaceError:
        return [replace(study, split="train") for study in studies]
