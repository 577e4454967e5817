"""COVID-19 Image Data Collection: names of columns through time, CT left out, masks, boxes; rows of
the sample.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box
from place_cxr.data.sources.coco import read_coco_boxes
from place_cxr.data.sources.covid_collection import read
from place_cxr.images.masks import load_mask
from tests.data.sources.trees import picture, write

LATE = """patientid,offset,sex,age,finding,RT_PCR_positive,view,modality,date,location,folder,\
filename,doi,url,license,\
clinical_notes,other_notes,,
2,0,M,65,Pneumonia/Viral/COVID-19,Y,PA,X-ray,2020,"Hanoi, Vietnam",images,a.jpeg,10.1,https://x,\
CC BY,"Upper lobe,
left.",credit,,
2,1,M,65,Pneumonia/Viral/COVID-19,Y,Axial,CT,2020,,volumes,a.nii.gz,,,,,,,
5,,,,No Finding,,AP Supine,X-ray,,,images,b.png,,,,,,,
6,,F,70-80,todo,,L,X-ray,,,images,c.png,,,,,,,
"""
EARLY = """Patientid,offset,sex,age,finding,survival,view,date,location,filename,doi, url,license,\
notes
2,0,M,65,"COVID-19, ARDS",Y,PA,2020,,a.jpeg,10.1,https://x,,Opacities.
2,1,M,65,COVID-19,Y,CT,2020,,b.jpeg,10.1,https://x,,Opacities.
"""
COCO = {
    "categories": [{"id": 1, "name": "Right Lung"}],
    "images": [{"id": 7, "file_name": "a.jpeg"}, {"id": 8, "file_name": "b.png"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 40]},
        {"image_id": 7, "category_id": 1, "bbox": [1, 2, 0, 40]},
    ],
}


def test_the_late_table_with_its_annotations(tmp_path: Path) -> None:
    write(tmp_path, "metadata.csv", LATE)
    write(tmp_path, "annotations/imageannotation_ai_lung_bounding_boxes.json", json.dumps(COCO))
    mask = picture(tmp_path, "annotations/lungVAE-masks/a_mask.png")
    first, second, third = read(tmp_path)
    assert (first.id, first.patient, first.view, first.sex, first.age) == (
        "a.jpeg",
        "2",
        "PA",
        "M",
        65,
    )
    assert first.image == tmp_path / "images/a.jpeg"
    assert first.report == "Upper lobe,\nleft."
    assert first.labels == {"Pneumonia": 1, "Viral": 1, "COVID-19": 1}
    assert first.masks == {"Lungs": mask} and load_mask(first.masks["Lungs"]).any()
    assert first.boxes == (Box("Right Lung", 1, 2, 31, 42),)
    assert (second.labels, second.boxes, second.masks) == ({"No Finding": 1}, (), {})
    assert (third.labels, third.age) == ({}, None), "todo states nothing"


def test_the_early_table(tmp_path: Path) -> None:
    write(tmp_path, "metadata.csv", EARLY)
    (study,) = read(tmp_path)
    assert (study.patient, study.labels, study.report) == (
        "2",
        {"COVID-19": 1, "ARDS": 1},
        "Opacities.",
    )
    assert study.image == tmp_path / "images/a.jpeg"


@pytest.mark.parametrize(
    "old_new", [("filename", "name"), ("a.jpeg", "../../a.jpeg"), (',65,"', ',65,"x"')]
)
def test_a_changed_table_is_refused(tmp_path: Path, old_new: tuple[str, str]) -> None:
    write(tmp_path, "metadata.csv", EARLY.replace(*old_new))
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code in ("PL-D201", "PL-D202", "PL-D206")


@pytest.mark.parametrize(
    "change", [{"images": None}, {"annotations": [{"image_id": 9}]}, {"categories": [{"id": {}}]}]
)
def test_another_json_is_refused(tmp_path: Path, change: dict) -> None:
    file = write(tmp_path, "boxes.json", json.dumps(COCO | change))
    with pytest.raises(PlaceError) as refused:
        read_coco_boxes(file)
    assert refused.value.code == "PL-D202"


def test_real_pairs_with_masks_and_boxes(tmp_path: Path, test_data: Path) -> None:
    """The sample's pictures under the published names: table, masks and boxes in the published
    forms.
    """
    with (test_data / "pairs" / "manifest.csv").open(encoding="utf-8") as file:
        rows = [
            row for row in csv.DictReader(file) if row["source"] == "covid-image-data-collection"
        ]
    names = [
        "patientid",
        "offset",
        "sex",
        "age",
        "finding",
        "view",
        "modality",
        "folder",
        "filename",
        "clinical_notes",
    ]
    with write(tmp_path, "metadata.csv", b"").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        for row in rows:
            told = {name: row.get(name, "") for name in names} | {
                "patientid": row["patient_id"],
                "modality": "X-ray",
            }
            picture_name = Path(row["image"]).name
            table.writerow(
                told
                | {"finding": row["label"], "folder": "images", "filename": picture_name}
                | {"clinical_notes": row["report"]}
            )
    (tmp_path / "images").symlink_to(test_data / "pairs" / "images")
    boxes = json.loads((test_data / "boxes" / "lungs_coco.json").read_text())
    for one in boxes["images"]:
        one["file_name"] = Path(one["file_name"]).name
    write(tmp_path, "annotations/imageannotation_ai_lung_bounding_boxes.json", json.dumps(boxes))
    with (test_data / "masks" / "manifest.csv").open(encoding="utf-8") as file:
        lungs = [
            row
            for row in csv.DictReader(file)
            if row["mask"].startswith("lungs/") and "pairs/" in row["image"]
        ]
    for row in lungs[:5]:
        target = tmp_path / "annotations" / "lungVAE-masks" / f"{Path(row['image']).stem}_mask.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(test_data / "masks" / row["mask"], target)
    studies = read(tmp_path)
    assert len(studies) == len(rows) > 200
    assert {study.image.is_file() for study in studies} == {True}
    assert all(study.report for study in studies)
    boxed = [study for study in studies if study.boxes]
    assert len(boxed) > 100
    assert all(
        {box.finding for box in study.boxes} <= {"Right Lung", "Left Lung"} for study in boxed
    )
    sizes = {one["file_name"]: (one["width"], one["height"]) for one in boxes["images"]}
    for study in boxed:
        width, height = sizes[study.id]
        assert all(
            0 <= b.x0 < b.x1 <= width + 1 and 0 <= b.y0 < b.y1 <= height + 1 for b in study.boxes
        )
    assert (
        sum(bool(study.masks) for study in studies)
        == len({Path(row["image"]).stem for row in lungs[:5]})
        > 0
    )
