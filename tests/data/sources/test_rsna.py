"""RSNA stage 2: a row for each box, blanks where there is none, repeated class rows, conventional
splits, real rows.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box
from place_cxr.data.sources import SOURCES
from place_cxr.data.sources.conventions import PUBLISHED_SIZES
from place_cxr.data.sources.rsna import read
from place_cxr.data.splits.by_patient import check_splits
from tests.data.sources.trees import write

LABELS = """patientId,x,y,width,height,Target
bbb,264.0,152.0,213.0,379.0,1
aaa,,,,,0
bbb,562.0,152.0,256.0,453.0,1
ccc,,,,,0
"""
CLASSES = """patientId,class
bbb,Lung Opacity
aaa,No Lung Opacity / Not Normal
bbb,Lung Opacity
ccc,Normal
"""


def test_rows_become_images(tmp_path: Path) -> None:
    write(tmp_path, "stage_2_train_labels.csv", LABELS)
    write(tmp_path, "stage_2_detailed_class_info.csv", CLASSES)
    first, second, third = read(tmp_path)
    assert [study.id for study in (first, second, third)] == ["aaa", "bbb", "ccc"]
    assert second.image == tmp_path / "stage_2_train_images/bbb.dcm"
    assert second.boxes == (
        Box("Pneumonia", 264, 152, 477, 531),
        Box("Pneumonia", 562, 152, 818, 605),
    )
    assert (first.labels, first.boxes) == ({"Pneumonia": 0, "No Finding": 0}, ())
    assert (second.labels, third.labels) == (
        {"Pneumonia": 1, "No Finding": 0},
        {"Pneumonia": 0, "No Finding": 1},
    )
    (tmp_path / "stage_2_detailed_class_info.csv").unlink()
    assert read(tmp_path)[2].labels == {"Pneumonia": 0}, "not known whether normal"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("aaa,,,,,0", "aaa,,,,,"),
        ("bbb,562.0", "bbb,?"),
        ("bbb,562.0,152.0,256.0,453.0,1", "bbb,,,,,0"),
    ],
)
def test_a_changed_table_is_refused(tmp_path: Path, old: str, new: str) -> None:
    write(tmp_path, "stage_2_train_labels.csv", LABELS.replace(old, new))
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code == "PL-D210"


def counted(root: Path, rows: int, split: str) -> tuple[int, ...]:
    lines = [
        f"p{row:05d},1,1,9,9,1" if row % 4 == 0 else f"p{row:05d},,,,,0"
        for row in reversed(range(rows))
    ]
    write(
        root,
        "stage_2_train_labels.csv",
        "\n".join(["patientId,x,y,width,height,Target", *lines]) + "\n",
    )
    studies = SOURCES["rsna"](root, split=split)
    check_splits(studies)
    counts = Counter(study.split for study in studies)
    return tuple(counts[name] for name in ("train", "val", "test"))


def test_conventional_splits(tmp_path: Path) -> None:
    """One table of the true length through the whole reader; the draws have their own tests."""
    assert counted(tmp_path, 26_684, "mgca") == PUBLISHED_SIZES["rsna", "mgca"]
    assert counted(tmp_path, 200, "benchx") == (140, 30, 30)
    assert counted(tmp_path, 10_680, "mgca_detection") == (6, 5_337, 5_337)


def test_a_table_too_short_for_the_convention(tmp_path: Path) -> None:
    write(tmp_path, "stage_2_train_labels.csv", LABELS)
    for split in ("mgca_detection", "benchx"):
        with pytest.raises(PlaceError) as refused:
            read(tmp_path, split)
        assert refused.value.code == "PL-D231"


def test_boxes_as_the_published_script(tmp_path: Path, test_data: Path) -> None:
    oracle = json.loads((test_data / "oracles" / "rsna_boxes.json").read_text())
    with write(tmp_path, "stage_2_train_labels.csv", b"").open(
        "w", encoding="utf-8", newline=""
    ) as file:
        table = csv.writer(file)
        table.writerow(["patientId", "x", "y", "width", "height", "Target"])
        for row in oracle["rows"]:
            table.writerow(
                [row[name] for name in ("patientId", "x", "y", "width", "height", "target")]
            )
    studies = read(tmp_path)
    assert [(study.id, study.labels["Pneumonia"]) for study in studies] == [
        (one["patientId"], one["target"]) for one in oracle["patients"]
    ]
    for study, stored in zip(studies, oracle["stored"], strict=True):
        told = [] if study.labels["Pneumonia"] == 0 else stored["boxes_x1_y1_x2_y2"]
        assert [[box.x0, box.y0, box.x1, box.y1] for box in study.boxes] == told


def test_real_rows(tmp_path: Path, test_data: Path) -> None:
    published = (test_data / "boxes" / "rsna_stage_2_train_labels_subset.csv").read_bytes()
    write(tmp_path, "stage_2_train_labels.csv", published)
    with (test_data / "boxes" / "rsna.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [f"{row['patientId']},{row['klass']}" for row in rows]
    write(
        tmp_path, "stage_2_detailed_class_info.csv", "\n".join(["patientId,class", *lines]) + "\n"
    )
    studies = {study.id: study for study in read(tmp_path)}
    assert len(studies) == 148 and sum(len(study.boxes) for study in studies.values()) == 123
    for row in rows:
        study = studies[row["patientId"]]
        assert study.labels == {
            "Pneumonia": float(row["target"]),
            "No Finding": float(row["klass"] == "Normal"),
        }
        if row["orig_x"]:
            assert float(row["orig_x"]) in [box.x0 for box in study.boxes]
