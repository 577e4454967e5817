"""NIH ChestX-ray14: both releases of the table, the nine-field box header, folders, official lists,
real rows.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box
from place_cxr.data.sources.nih14 import NIH14_LABELS, read
from place_cxr.data.splits.by_patient import check_splits
from tests.data.sources.trees import picture, write

HEADER_2020 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    "00000001_000.png,Cardiomegaly|Emphysema,0,1,58,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,No Finding,1,1,58,M,PA,2682,2749,0.143,0.143",
    "00000002_000.png,Infiltration,0,2,414,F,AP,2500,2048,0.171,0.171",
]
BOXES = (
    "Image Index,Finding Label,Bbox "
    "[x,y,w,h],,,\n00000002_000.png,Infiltrate,225.5,547.0,86.5,79.25,,,\n"
)


def tree(root: Path, folder: str = "images") -> Path:
    write(root, "Data_Entry_2017_v2020.csv", "\n".join([HEADER_2020, *ROWS]) + "\n")
    write(root, "BBox_List_2017.csv", BOXES)
    write(root, "train_val_list.txt", "00000001_000.png\n00000001_001.png")
    write(root, "test_list.txt", "00000002_000.png\n")
    for row in ROWS:
        picture(root, f"{folder}/{row[:16]}")
    return root


def test_labels_boxes_and_what_is_known_of_the_patient(tmp_path: Path) -> None:
    first, second, third = read(tree(tmp_path))
    assert (first.id, first.patient, first.view, first.sex, first.age) == (
        "00000001_000",
        "1",
        "PA",
        "M",
        58,
    )
    assert [name for name, value in first.labels.items() if value] == ["Cardiomegaly", "Emphysema"]
    assert [name for name, value in second.labels.items() if value] == ["No Finding"]
    assert set(first.labels) == {*NIH14_LABELS, "No Finding"}
    assert third.boxes == (Box("Infiltration", 225.5, 547.0, 312.0, 626.25),)
    assert third.age is None, "an age of 414"
    assert first.boxes == ()


def test_official_lists_with_a_val_by_patient(tmp_path: Path) -> None:
    root = tree(tmp_path)
    rows = [
        f"{row:08d}_{image:03d}.png,Mass,0,{row},50,F,AP,1,1,1,1"
        for row in range(1, 200)
        for image in (0, 1)
    ]
    write(root, "Data_Entry_2017_v2020.csv", "\n".join([HEADER_2020, *rows]))
    write(root, "train_val_list.txt", "\n".join(row.split(",")[0] for row in rows[:300]))
    write(root, "test_list.txt", "\n".join(row.split(",")[0] for row in rows[300:]))
    studies = read(root)
    check_splits(studies)
    assert {study.split for study in studies[:300]} == {"train", "val"}
    assert {study.split for study in studies[300:]} == {"test"}
    assert 10 <= sum(study.split == "val" for study in studies) <= 60
    assert {study.split for study in read(root, "patient")} == {""}
    write(root, "test_list.txt", rows[301].split(",")[0])
    with pytest.raises(PlaceError, match="97 of 398 images of the table are in neither list"):
        read(root)


def test_pictures_in_numbered_folders_as_kaggle_has_them(tmp_path: Path) -> None:
    assert {study.image.is_file() for study in read(tree(tmp_path, "images_003/images"))} == {True}


def test_the_first_release_of_the_table(tmp_path: Path) -> None:
    """Ages with a Y, and a last column without a name."""
    root = tree(tmp_path)
    (root / "Data_Entry_2017_v2020.csv").unlink()
    rows = [row.replace(",58,", ",058Y,").replace(",414,", ",411Y,") + "," for row in ROWS]
    write(root, "Data_Entry_2017.csv", "\n".join([HEADER_2020 + ",", *rows]) + "\n")
    assert [study.age for study in read(root)] == [58, 58, None]


@pytest.mark.parametrize(
    "old_new", [("Infiltration", "Infiltrated"), ("00000001_000.png,C", "../x.png,C")]
)
def test_a_changed_table_is_refused(tmp_path: Path, old_new: tuple[str, str]) -> None:
    table = tree(tmp_path) / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace(*old_new))
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code in ("PL-D210", "PL-D206")


def test_real_boxes(tmp_path: Path, test_data: Path) -> None:
    """The published box table's rows, its table rebuilt from the sample's columns."""
    import csv

    with (test_data / "boxes" / "nih_bbox.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = {
        f"{row['orig_filename']},{row['finding_labels']},{row['follow_up']},"
        f"{row['patient_id'].removeprefix('nih-')},"
        f"{row['age']},{row['sex']},{row['view']},1,1,1,1"
        for row in rows
    }
    write(tmp_path, "Data_Entry_2017_v2020.csv", "\n".join([HEADER_2020, *sorted(lines)]) + "\n")
    published = (test_data / "boxes" / "nih_BBox_List_2017_subset.csv").read_bytes()
    write(tmp_path, "BBox_List_2017.csv", published)
    studies = read(tmp_path, "patient")
    assert len(studies) == len(lines) > 20
    told = {
        (row["orig_filename"].removesuffix(".png"), row["label"], float(row["orig_x"]))
        for row in rows
    }
    assert {(study.id, box.finding, box.x0) for study in studies for box in study.boxes} == {
        (name, finding.replace("Infiltrate", "Infiltration"), x) for name, finding, x in told
    }
    assert all(
        0 <= box.x0 < box.x1 <= 1024 and 0 <= box.y0 < box.y1 <= 1024
        for s in studies
        for box in s.boxes
    )
    named = {"Infiltrate": "Infiltration"}
    assert all(
        named.get(box.finding, box.finding) in study.labels
        for study in studies
        for box in study.boxes
    )
