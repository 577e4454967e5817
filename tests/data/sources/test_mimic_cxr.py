"""MIMIC-CXR-JPG: tables plain and gzipped, reports in a tree, a folder and a zip, text rules,
views, splits.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.data.sources import SOURCES
from place_cxr.data.sources.mimic_cxr import MIMIC_LABELS, read
from place_cxr.data.splits.by_patient import check_splits
from place_cxr.text.reports import read_report
from tests.data.sources.trees import write

SPLIT = """dicom_id,study_id,subject_id,split
aa-1,50000001,10000032,train
aa-2,50000001,10000032,train
bb-1,50000002,10000033,validate
cc-1,50000003,11000034,test
dd-1,50000004,11000034,test
"""
METADATA = """dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,\
Columns,StudyDate
aa-1,10000032,50000001,CHEST (PA AND LAT),PA,3056,2544,21800506
aa-2,10000032,50000001,CHEST (PA AND LAT),LATERAL,3056,2544,21800506
bb-1,10000033,50000002,"CHEST (PORTABLE AP), ""stat"" one",AP,3056,2544,21800626
cc-1,11000034,50000003,,PA,3056,2544,21800723
dd-1,11000034,50000004,,,3056,2544,21800723
"""
CHEXPERT = f"""subject_id,study_id,{",".join(MIMIC_LABELS)}
10000032,50000001,1.0,,-1.0,0.0,,,,,,,,,,1.0
10000033,50000002,,,,,,,,,1.0,,,,,
"""
REPORTS = {
    "p10/p10000032/s50000001": " FINAL REPORT\n INDICATION:  Cough.\n \n FINDINGS: \n \n The lungs "
    "are\n clear. Heart is 1.5 cm larger.\n \n IMPRESSION: \n \n No acute process.\n",
    "p10/p10000033/s50000002": " FINAL REPORT\n CHEST X-RAY\n \n INDICATION:  Fever.\n \n Small "
    "effusion is new.\n",
    "p11/p11000034/s50000003": " FINAL REPORT\n IMPRESSION:  Normal.\n",
}


def tree(root: Path, kind: str = "csv.gz", where: str = "files", reports: bool = True) -> Path:
    for name, text in (("split", SPLIT), ("metadata", METADATA), ("chexpert", CHEXPERT)):
        write(root, f"mimic-cxr-2.0.0-{name}.{kind}", text)
    for name, text in REPORTS.items() if reports else ():
        write(root, f"{where}/{name}.txt", text)
    return root


@pytest.mark.parametrize("kind", ["csv", "csv.gz"])
def test_images_share_the_study_and_keep_their_own_view(tmp_path: Path, kind: str) -> None:
    studies = read(tree(tmp_path, kind))
    assert [study.view for study in studies] == ["PA", "LATERAL", "AP", "PA", ""]
    assert [study.split for study in studies] == ["train", "train", "val", "test", "test"]
    first, second, third, fourth, last = studies
    assert first.id == second.id == "50000001" and first.patient == "10000032"
    assert first.image == tmp_path / "files/p10/p10000032/s50000001/aa-1.jpg"
    assert (
        first.report
        == second.report
        == (
            "FINDINGS: The lungs are\n clear. Heart is 1.5 cm larger.\nIMPRESSION: No acute "
            "process."
        )
    )
    assert third.report == "Small effusion is new."
    assert fourth.report == "IMPRESSION: Normal."
    assert last.report == ""
    check_splits(studies)


def test_labels_keep_present_absent_uncertain_blank_and_unlabelled_apart(tmp_path: Path) -> None:
    first, _, third, fourth, _ = read(tree(tmp_path))
    assert first.labels == first.said
    assert (first.labels["Atelectasis"], first.labels["Consolidation"], first.labels["Edema"]) == (
        1,
        -1,
        0,
    )
    assert math.isnan(first.labels["Cardiomegaly"])
    assert third.labels["No Finding"] == 1
    assert fourth.labels == {}


def test_the_papers_filter_and_text(tmp_path: Path) -> None:
    """MGCA: PA and AP alone; impression first, 1.5 loses its 1, short reports and those without
    sections go.
    """
    studies = read(tree(tmp_path), text="mgca", views=["PA", "AP"])
    assert [study.view for study in studies] == ["PA", "AP", "PA"]
    assert read_report(studies[0].report).sentences == (
        "no acute process",
        "the lungs are clear",
        "heart is",
        "5 cm larger",
    )
    assert [study.report for study in studies[1:]] == ["", ""]


def test_other_texts(tmp_path: Path) -> None:
    root = tree(tmp_path)
    assert read(root, text="full")[0].report == REPORTS["p10/p10000032/s50000001"]
    assert {study.report for study in read(root, text="none")} == {""}
    with pytest.raises(PlaceError, match="Did you mean 'sections'"):
        read(root, text="section")


def test_mgca_has_no_test_set(tmp_path: Path) -> None:
    assert [study.split for study in read(tree(tmp_path), "mgca")] == [
        "train",
        "train",
        "val",
        "val",
        "val",
    ]


def test_reports_in_a_zip_a_folder_or_elsewhere(tmp_path: Path) -> None:
    expected = read(tree(tmp_path / "a"))
    packed = tree(tmp_path / "b", reports=False)
    with zipfile.ZipFile(packed / "mimic-cxr-reports.zip", "w") as file:
        for name, text in REPORTS.items():
            file.writestr(f"files/{name}.txt", text)
    beside = tree(tmp_path / "c", where="mimic-cxr-reports/files")
    apart = tree(tmp_path / "d", reports=False)
    for root, place in (
        (packed, ""),
        (beside, ""),
        (apart, "../a"),
        (apart, "../b/mimic-cxr-reports.zip"),
    ):
        assert [study.report for study in read(root, reports=place)] == [
            study.report for study in expected
        ]
    with pytest.raises(PlaceError) as refused:
        read(apart, reports="nowhere")
    assert refused.value.code == "PL-D205"
    write(apart, "mimic-cxr-reports.zip", b"PK no zip")
    with pytest.raises(PlaceError) as refused:
        read(apart)
    assert refused.value.code == "PL-D202"


def test_a_tree_without_labels_and_reports_is_read_all_the_same(tmp_path: Path) -> None:
    root = tree(tmp_path, "csv", reports=False)
    (root / "mimic-cxr-2.0.0-chexpert.csv").unlink()
    assert {(study.report, len(study.labels)) for study in read(root)} == {("", 0)}
    assert SOURCES["mimic_cxr"].missing(root) == ()


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("split", SPLIT.replace("validate", "valid"), "PL-D210"),
        ("metadata", METADATA.replace("ViewPosition", "View"), "PL-D201"),
        ("metadata", METADATA.replace("aa-1", "../../aa-1"), "PL-D206"),
        ("chexpert", CHEXPERT.replace("-1.0", "2.0"), "PL-D210"),
        ("metadata", METADATA + "ee-1,1\n", "PL-D202"),
    ],
)
def test_a_changed_table_is_refused(tmp_path: Path, name: str, text: str, code: str) -> None:
    write(tree(tmp_path, "csv"), f"mimic-cxr-2.0.0-{name}.csv", text)
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code == code


def test_a_gzip_file_that_is_cut_off(tmp_path: Path) -> None:
    file = write(tree(tmp_path), "mimic-cxr-2.0.0-split.csv.gz", SPLIT)
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code == "PL-D202"
