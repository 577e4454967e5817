"""MS-CXR: a phrase with its boxes is a study; both versions of the table; pictures in MIMIC's
tree.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box
from place_cxr.data.sources.ms_cxr import read
from place_cxr.data.splits.by_patient import check_splits
from tests.data.sources.trees import picture, write

PATH = "files/p10/p10000032/s50000001/aa-1.jpg"
V110 = f"""dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height,split
aa-1,Pneumonia,"Patchy, right lower lobe",{PATH},100,200,50,60,2544,3056,train
aa-1,Pneumonia,"Patchy, right lower lobe",{PATH},300,400,10,10,2544,3056,train
aa-1,Edema,Mild edema,{PATH},1,2,3,4,2544,3056,train
bb-1,Edema,Mild edema,files/p11/p11000034/s50000002/bb-1.jpg,1,2,3,4,2544,3056,test
"""
V100 = "\n".join(line.rpartition(",")[0] for line in V110.splitlines()) + "\n"


@pytest.mark.parametrize(("name", "text"), [("1.1.0", V110), ("1.0.0", V100)])
def test_phrases(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, f"ms/MS_CXR_Local_Alignment_v{name}.csv", text)
    there = picture(tmp_path, f"mimic/{PATH}")
    studies = read(tmp_path / "ms", mimic="../mimic")
    assert [study.report for study in studies] == [
        "Patchy, right lower lobe",
        "Mild edema",
        "Mild edema",
    ]
    assert studies[0].image.resolve() == there
    assert studies[0].boxes == (
        Box("Pneumonia", 100, 200, 150, 260),
        Box("Pneumonia", 300, 400, 310, 410),
    )
    assert [study.patient for study in studies] == ["10000032", "10000032", "11000034"]
    assert [study.labels for study in studies] == [{"Pneumonia": 1}, {"Edema": 1}, {"Edema": 1}]
    assert {study.split for study in studies} == {"test"} and len(
        {study.id for study in studies}
    ) == 3
    check_splits(studies)


def test_the_published_split_is_only_in_the_later_table(tmp_path: Path) -> None:
    write(tmp_path, "MS_CXR_Local_Alignment_v1.0.0.csv", V100)
    with pytest.raises(PlaceError) as refused:
        read(tmp_path, "published")
    assert refused.value.code == "PL-D210"
    write(tmp_path, "MS_CXR_Local_Alignment_v1.1.0.csv", V110)
    assert [study.split for study in read(tmp_path, "published")] == ["train", "train", "test"]
    with pytest.raises(PlaceError) as refused:
        read(tmp_path, mimic="nowhere")
    assert refused.value.code == "PL-D205"
