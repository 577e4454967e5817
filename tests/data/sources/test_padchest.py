"""PadChest: Python lists of labels with blanks in names, folders or one folder, ages from years,
nothing stated.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.data.sources import SOURCES
from place_cxr.data.sources.padchest import read
from tests.data.sources.trees import picture, write

HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,"
    "PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,ReportID,Report,MethodLabel,Labels,"
    "Localizations,LabelsLocalizationsBySentence"
)
ROWS = """0,1_a.png,0,20140915,S1,P1,1930.0,F,POSTEROANTERIOR,PA,x,No,R1,sin hallazg .,Physician,\
['normal'],[],[]
1,1_b.png,0,20140915,S1,P1,1930.0,F,LATERAL,L,x,No,R1,sin hallazg .,Physician,['normal'],[],[]
2,2.png,13,20100101,S2,P2,,M,,AP_horizontal,x,No,R2,derram .,RNN_model,"['pleural effusion', ' \
cardiomegaly ']",[],[]
3,3.png,13,20100101,S3,P3,1999,O,,PA,x,No,R3,,RNN_model,"['exclude', 'unchanged']",[],[]
4,4.png,13,20100101,S4,P4,2200,M,,PA,x,No,R4,"uno, dos",RNN_model,,,
"""
NAME = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"


@pytest.mark.parametrize("name", [NAME, NAME + ".gz"])
def test_rows(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, f"{HEADER}\n{ROWS}")
    there = picture(tmp_path, "0/1_a.png")
    first, second, third, fourth, fifth = read(tmp_path)
    assert (first.image, second.image) == (there, tmp_path / "0/1_b.png")
    assert third.image == tmp_path / "images/2.png", "no folder 13 here"
    assert first.id == second.id == "S1" and first.patient == "P1"
    assert (first.view, first.sex, first.age, first.report) == ("PA", "F", 84, "sin hallazg .")
    assert [study.labels for study in (first, third, fourth, fifth)] == [
        {"No Finding": 1},
        {"pleural effusion": 1, "cardiomegaly": 1},
        {},
        {},
    ]
    assert (third.age, fourth.age, fifth.age) == (None, 11, None)
    assert (third.sex, fourth.sex, fifth.report) == ("M", "", "uno, dos")
    assert [study.view for study in read(tmp_path, views=["PA", "AP_horizontal"])] == [
        "PA",
        "AP_horizontal",
        "PA",
        "PA",
    ]


def test_another_table(tmp_path: Path) -> None:
    write(tmp_path, NAME, f"{HEADER}\n{ROWS}".replace("1_a.png", "../1.png"))
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code == "PL-D206"
    with pytest.raises(PlaceError, match="unknown split of this source"):
        SOURCES["padchest"](tmp_path, split="mgca")
