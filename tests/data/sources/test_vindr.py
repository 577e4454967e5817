"""VinDr-CXR: votes of three radiologists, a column named differently in test, boxes, CXR-CLIP's
split.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box
from place_cxr.data.sources.vindr import read
from place_cxr.data.splits.by_patient import check_splits
from tests.data.sources.trees import write

TRAIN = """image_id,rad_id,Aortic enlargement,Atelectasis,Pneumonia,Other diseases,No finding
bb,R1,1,0,0,0,0
bb,R2,1,0,1,0,0
bb,R3,0,0,0,0,0
aa,R1,0,0,0,0,1
aa,R4,0,0,0,0,1
aa,R5,0,0,0,0,1
"""
TEST = (
    "image_id,Aortic enlargement,Atelectasis,Pneumonia,Other disease,No "
    "finding\ncc,0.0,1.0,0.0,1.0,0.0\n"
)
TRAIN_BOXES = """image_id,rad_id,class_name,x_min,y_min,x_max,y_max
bb,R1,Aortic enlargement,1187.5,755.0,1516.0,1053.25
bb,R2,Aortic enlargement,1190,760,1500,1050
aa,R1,No finding,,,,
"""
TEST_BOXES = "image_id,class_name,x_min,y_min,x_max,y_max\ncc,Atelectasis,1,2,3,4\n"


def tree(root: Path, folder: str = "annotations/") -> Path:
    for name, text in (
        ("image_labels_train", TRAIN),
        ("image_labels_test", TEST),
        ("annotations_train", TRAIN_BOXES),
        ("annotations_test", TEST_BOXES),
    ):
        write(root, f"{folder}{name}.csv", text)
    return root


@pytest.mark.parametrize("folder", ["annotations/", ""])
def test_votes_and_boxes(tmp_path: Path, folder: str) -> None:
    healthy, ill, tested = read(tree(tmp_path, folder))
    assert [study.id for study in (healthy, ill, tested)] == ["aa", "bb", "cc"]
    assert ill.image == tmp_path / "train/bb.dicom" and tested.image == tmp_path / "test/cc.dicom"
    assert (
        ill.labels["Aortic enlargement"],
        ill.labels["Pneumonia"],
        ill.labels["No Finding"],
    ) == (1, 0, 0)
    assert healthy.labels["No Finding"] == 1
    assert tested.labels["Other diseases"] == 1 and set(tested.labels) == set(ill.labels)
    assert ill.boxes[0] == Box("Aortic enlargement", 1187.5, 755.0, 1516.0, 1053.25)
    assert (len(ill.boxes), healthy.boxes, len(tested.boxes)) == (2, (), 1)
    assert read(tmp_path, agree=1)[1].labels["Pneumonia"] == 1
    assert read(tmp_path, agree=3)[1].labels["Aortic enlargement"] == 0
    check_splits([healthy, ill, tested])


def test_cxr_clips_split(tmp_path: Path) -> None:
    header, rows = TRAIN.split("\n")[0], (f"i{row},R1,0,0,0,0,1" for row in range(150))
    write(tree(tmp_path), "annotations/image_labels_train.csv", "\n".join([header, *rows]) + "\n")
    studies = read(tmp_path, "cxr_clip")
    assert Counter(study.split for study in studies) == {"train": 120, "val": 30, "test": 1}
    check_splits(studies)


def test_a_changed_table_is_refused(tmp_path: Path) -> None:
    write(
        tree(tmp_path), "annotations/image_labels_train.csv", TRAIN.replace("R1,1,0,0", "R1,2,0,0")
    )
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code == "PL-D210"
