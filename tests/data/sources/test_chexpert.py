"""CheXpert: small and full layout, the four values of a label, MGCA's split with its overlap,
5x200, CheXpert Plus.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.data.sources.chexpert import (
    CHEXPERT_LABELS,
    COMPETITION_FINDINGS,
    mgca_positions,
    read,
    select_five_by_200,
)
from place_cxr.data.splits.by_patient import check_splits
from tests.data.sources.test_conventions import as_told
from tests.data.sources.trees import write

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(CHEXPERT_LABELS)


def tree(root: Path, name: str) -> Path:
    blank = "," * 12
    write(
        root,
        "train.csv",
        f"{HEADER}\n"
        f"{name}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0{blank},1.0\n"
        f"{name}/train/patient00002/study2/view1_frontal.jpg,"
        "Male,87,Frontal,PA,,-1.0,0.0,,,,,,,,,,,\n"
        f"{name}/train/patient00002/study2/view2_lateral.jpg,"
        "Unknown,87,Lateral,,,-1.0,0.0,,,,,,,,,,,\n",
    )
    zeros = ",0.0" * 14
    write(
        root,
        "valid.csv",
        f"{HEADER}\n{name}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP{zeros}\n",
    )
    return root


@pytest.mark.parametrize("name", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
def test_both_sizes_from_their_folder_or_the_one_above(tmp_path: Path, name: str) -> None:
    own = tree(tmp_path / name, name)
    studies = read(tmp_path)
    assert studies == read(own)
    assert [(study.id, study.split, study.view, study.sex, study.age) for study in studies] == [
        ("patient00001/study1", "train", "AP", "F", 68),
        ("patient00002/study2", "train", "PA", "M", 87),
        ("patient00002/study2", "train", "LATERAL", "", 87),
        ("patient64541/study1", "val", "AP", "M", 73),
    ]
    assert studies[0].image == own / "train/patient00001/study1/view1_frontal.jpg"
    assert [study.patient for study in studies[:2]] == ["patient00001", "patient00002"]
    labels = studies[1].labels
    assert (labels["Enlarged Cardiomediastinum"], labels["Cardiomegaly"]) == (-1, 0)
    assert math.isnan(labels["No Finding"]) and studies[0].labels["No Finding"] == 1
    assert set(studies[3].labels.values()) == {0.0}
    check_splits(studies)


def test_the_later_test_set_and_a_filter_of_views(tmp_path: Path) -> None:
    tree(tmp_path, "CheXpert-v1.0")
    write(
        tmp_path,
        "test.csv",
        f"Path,{','.join(CHEXPERT_LABELS)}\n"
        f"test/patient64741/study1/view1_frontal.jpg{',1.0' * 14}\n",
    )
    studies = read(tmp_path, views=["AP", "FRONTAL"])
    assert [(study.split, study.view) for study in studies] == [
        ("train", "AP"),
        ("val", "AP"),
        ("test", "FRONTAL"),
    ]
    assert studies[-1].image == tmp_path / "test/patient64741/study1/view1_frontal.jpg"


def made_up(rows: int) -> list[list[str]]:
    """The oracle's table: path, view and labels of row j by a rule."""
    columns = json_columns()
    found = []
    for row in range(rows):
        cells = dict.fromkeys(columns, "")
        kind = row % 12
        if kind < 5:
            cells[COMPETITION_FINDINGS[kind]] = "1.0"
        else:
            cells[columns[7 * row % 14]] = "1.0"
            cells[columns[(5 * row + 3) % 14]] = ("-1.0", "0.0", "1.0")[row % 3]
        view = "Lateral" if row % 9 == 4 else "Frontal"
        path = f"CheXpert-v1.0/train/p{row:06d}.jpg"
        found.append(
            [
                path,
                "Male",
                "50",
                view,
                "AP" if view == "Frontal" else "",
                *(cells[name] for name in CHEXPERT_LABELS),
            ]
        )
    return found


def json_columns() -> list[str]:
    return [
        "No Finding",
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Lesion",
        "Lung Opacity",
        "Edema",
        "Consolidation",
        "Pneumonia",
        "Atelectasis",
        "Pneumothorax",
        "Pleural Effusion",
        "Pleural Other",
        "Fracture",
        "Support Devices",
    ]


@pytest.fixture(scope="module")
def nine_thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chexpert")
    write(root, "train.csv", "\n".join([HEADER, *map(",".join, made_up(9_000))]) + "\n")
    valid = [["CheXpert-v1.0/valid/q.jpg", *cells[1:]] for cells in made_up(5)]
    write(root, "valid.csv", "\n".join([HEADER, *map(",".join, valid)]) + "\n")
    return root


@pytest.fixture(scope="module")
def table(nine_thousand: Path) -> list[Study]:
    return [study for study in read(nine_thousand) if study.split == "train"]


def names(studies: list[Study], split: str) -> list[str]:
    return [study.image.stem for study in studies if study.split == split]


def test_5x200_is_alone_and_frontal(nine_thousand: Path, table: list[Study]) -> None:
    studies = read(nine_thousand, "5x200")
    assert [study.image for study in studies] == [
        table[place].image for place in select_five_by_200(table)
    ]
    assert len(set(names(studies, "test"))) == len(studies) == 1_000
    assert "LATERAL" not in {study.view for study in studies}
    others = [name for name in CHEXPERT_LABELS if name != "No Finding"]
    stated = [tuple(name for name in others if study.labels[name] in (1, -1)) for study in studies]
    assert Counter(stated) == {(name,): 200 for name in COMPETITION_FINDINGS}


def test_draws_as_the_published_script(table: list[Study], test_data: Path) -> None:
    oracle = json.loads((test_data / "oracles" / "mgca_splits.json").read_text())["chexpert"]
    train, val = ([table[place].image.stem for place in places] for places in mgca_positions(table))
    assert as_told(
        oracle["five_by_200"], [table[place].image.stem for place in select_five_by_200(table)]
    )
    assert as_told(oracle["train"], train)
    assert as_told(oracle["valid"], val)
    assert len(set(train) & set(val)) == oracle["in_both_train_and_valid"]


def test_mgca_is_frontal_overlaps_and_is_refused_by_the_check(nine_thousand: Path) -> None:
    studies = read(nine_thousand, "mgca")
    assert {study.view for study in studies} == {"AP"}
    assert len(names(studies, "test")) == 4
    assert set(names(studies, "train")) & set(names(studies, "val"))
    with pytest.raises(PlaceError, match="in two splits"):
        check_splits(studies)


def test_uncertain_or_a_second_finding_is_not_alone_and_blank_or_absent_is() -> None:
    rows = [
        {"Edema": 1, "Fracture": 0},
        {"Edema": 1, "Fracture": -1},
        {"Edema": 1, "Fracture": 1},
        {"Edema": -1},
    ]
    rows += [{name: 1.0, "No Finding": 1.0} for name in COMPETITION_FINDINGS if name != "Edema"]
    made = [
        Study(str(row), Path(str(row)), "", view="PA", labels=labels)
        for row, labels in enumerate(rows)
    ]
    made.append(Study("l", Path("l"), "", view="LATERAL", labels={"Edema": 1}))
    assert sorted(select_five_by_200(made, per_class=1)) == [0, 4, 5, 6, 7]


def test_a_class_with_too_few(table: list[Study]) -> None:
    assert len(select_five_by_200(table[:600], per_class=10)) == 50
    with pytest.raises(PlaceError) as refused:
        select_five_by_200(table[:600])
    assert refused.value.code == "PL-D231"


PLUS_COLUMNS = (
    "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,"
    "patient_report_date_order,report,"
    "section_findings,section_impression,age,sex,split"
)
ONE, TWO = "patient00001/study1/view1_frontal", "patient64541/study1/view1_frontal"
PLUS = f"""{PLUS_COLUMNS}
train/{ONE}.jpg,train/x.dcm,Frontal,AP,patient00001,1,"NARRATIVE: all",Clear lungs.,"1. Normal,
no change.",68.0,Female,train
valid/{TWO}.jpg,valid/x.dcm,Frontal,AP,patient64541,1,"NARRATIVE:
only this",,,73.0,Male,valid
"""


def test_chexpert_plus_gives_the_reports(tmp_path: Path) -> None:
    tree(tmp_path, "CheXpert-v1.0-small")
    write(tmp_path, "df_chexpert_plus_240401.csv", PLUS)
    reports = [study.report for study in read(tmp_path)]
    assert reports == [
        "FINDINGS: Clear lungs.\nIMPRESSION: 1. Normal,\nno change.",
        "",
        "",
        "NARRATIVE:\nonly this",
    ]


def test_chexpert_plus_alone_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path, "df_chexpert_plus_240401.csv", PLUS)
    first, second = read(tmp_path)
    assert (first.id, first.patient, first.split, second.split) == (
        "patient00001/study1",
        "patient00001",
        "train",
        "val",
    )
    assert first.image == tmp_path / "train/patient00001/study1/view1_frontal.jpg"
    assert (first.labels, first.view, first.sex, first.age) == ({}, "AP", "F", 68)
    (tmp_path / "PNG").mkdir()
    assert read(tmp_path)[0].image == tmp_path / "PNG/train/patient00001/study1/view1_frontal.png"


@pytest.mark.parametrize(
    ("old", "new", "code"), [("-1.0", "-2.0", "PL-D210"), ("train/patient", "../x/p", "PL-D206")]
)
def test_a_changed_table_is_refused(tmp_path: Path, old: str, new: str, code: str) -> None:
    table = tree(tmp_path, "CheXpert-v1.0") / "train.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code == code
