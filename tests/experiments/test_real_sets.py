"""The small real sets as manifests: what is known stays known, and what is not stays unknown."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from real_sets import write_sets

from place_cxr.core.records import Box, Study
from place_cxr.data.sources.manifest import read
from place_cxr.tasks.detection import Detection
from place_cxr.tasks.engine import make_task
from tests.data.sources.trees import picture, write

PAIRS = "image,patient_id,group,view,sex,age\nimages/a.jpg,c1,g1,PA,F,40\nimages/b.jpg,c2,g1,AP,,\n"
MASKS = """image,mask,target,patient_id,view
../pairs/images/a.jpg,lungs/a.png,lungs,c1,PA
../pairs/images/a.jpg,multiclass/a__airways.png,airways,c1,PA
../pairs/images/a.jpg,multiclass/a__tubings.png,tubings,c1,PA
images/c.jpg,multiclass/c__airways.png,airways,c9,AP
"""
COCO = {
    "images": [
        {"id": 1, "file_name": "../pairs/images/b.jpg"},
        {"id": 2, "file_name": "../masks/images/c.jpg"},
    ],
    "categories": [{"id": 1, "name": "Left Lung"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20]}],
}
RSNA = """image,target,klass,x,y,width,height,patient_id,view,sex,age
rsna/n.jpg,0,Normal,,,,,n1,PA,M,50
rsna/o.jpg,1,Lung Opacity,1.0,2.0,10.0,20.0,n2,AP,F,60
rsna/o.jpg,1,Lung Opacity,30.0,2.0,10.0,20.0,n2,AP,F,60
rsna/x.jpg,0,No Lung Opacity / Not Normal,,,,,n3,PA,F,70
"""
NIH = """image,finding_labels,patient_id,age,sex,view
i/k.jpg,Edema|Pneumonia,n4,61,F,PA
i/l.jpg,No Finding,n5,1,M,AP
"""


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, list[Study]]:
    """Every set of a small tree, read from manifests that lie elsewhere."""
    data = tmp_path / "data"
    for name in (
        "pairs/images/a.jpg",
        "pairs/images/b.jpg",
        "masks/images/c.jpg",
        "classes/nih/i/k.jpg",
    ):
        picture(data, name)
    for name in (
        "classes/nih/i/l.jpg",
        *(f"boxes/rsna/{one}.jpg" for one in "nox"),
        "masks/lungs/a.png",
    ):
        picture(data, name)
    for name in ("a__airways", "a__tubings", "c__airways"):
        picture(data, f"masks/multiclass/{name}.png")
    write(data, "pairs/manifest.csv", PAIRS)
    write(data, "masks/manifest.csv", MASKS)
    write(data, "boxes/lungs_coco.json", json.dumps(COCO))
    write(data, "boxes/rsna.csv", RSNA)
    write(data, "classes/nih/manifest.csv", NIH)
    counts = write_sets(data, tmp_path / "out")
    found = {
        name: read(tmp_path / "out" / name, folder=str(tmp_path / "out" / "files"))
        for name in counts
    }
    assert {name: len(studies) for name, studies in found.items()} == counts
    return found


def test_masks_by_name_and_nothing_said_of_the_others(sets: dict[str, list[Study]]) -> None:
    [lungs] = sets["lungs"]
    assert (lungs.patient, lungs.sex, list(lungs.masks)) == ("g1", "", ["Lungs"])
    first, second = sets["structures"]
    assert (list(first.masks), list(second.masks)) == (["airways", "tubings"], ["airways"])
    assert second.patient == "c9" and not second.labels
    task = make_task("segmentation", sets["structures"], ["findings=[tubings]"])
    assert [task.usable(study) for study in (first, second)] == [True, False]


def test_pictures_of_one_person_have_one_patient(sets: dict[str, list[Study]]) -> None:
    first, second = sets["lung-boxes"]
    assert first.patient == sets["lungs"][0].patient == "g1" and second.patient == "c9"
    assert first.boxes == (Box("Left Lung", 1, 2, 11, 22),) and (first.view, second.view) == (
        "AP",
        "AP",
    )


def test_a_picture_without_a_box_is_a_negative(sets: dict[str, list[Study]]) -> None:
    normal, opacity, other = sets["rsna"]
    assert [len(study.boxes) for study in sets["rsna"]] == [0, 2, 0]
    assert opacity.boxes[1] == Box("Pneumonia", 30, 2, 40, 22)
    assert [study.labels["Pneumonia"] for study in sets["rsna"]] == [0, 1, 0]
    assert (normal.labels["No Finding"], other.labels["No Finding"]) == (1, 0)
    task = make_task("detection", sets["rsna"])
    assert isinstance(task, Detection) and all(task.usable(study) for study in sets["rsna"])
    assert (opacity.patient, opacity.sex, opacity.age, opacity.view) == ("n2", "F", 60, "AP")


def test_all_mined_labels(sets: dict[str, list[Study]]) -> None:
    ill, well = sets["nih-findings"]
    assert {name for name, value in ill.labels.items() if value} == {"Edema", "Pneumonia"}
    assert {name for name, value in well.labels.items() if value} == {"No Finding"}
    assert not any(math.isnan(value) for value in (*ill.labels.values(), *well.labels.values()))


def test_the_sample_data(test_data: Path, tmp_path: Path) -> None:
    counts = write_sets(test_data, tmp_path)
    assert counts == {
        "nih-findings": 200,
        "lungs": 133,
        "structures": 26,
        "lung-boxes": 223,
        "rsna": 148,
    }
    found = {name: read(tmp_path / name, folder=str(tmp_path / "files")) for name in counts}
    assert all(study.patient for studies in found.values() for study in studies)
    assert sum(len(study.boxes) for study in found["rsna"]) == 123
    assert all(len(study.boxes) == 2 for study in found["lung-boxes"])
    assert all(study.masks for name in ("lungs", "structures") for study in found[name])
