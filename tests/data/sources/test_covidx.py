"""COVIDx: three-class and binary lists, a patient id with a blank, several versions in a folder,
Kaggle's names.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.data.sources.covidx import read
from tests.data.sources.trees import write

TRAIN_A = """379 1e64990d1b40c1758a2aaa9c7f7a85_jumbo.jpeg COVID-19 cohen
COVID 00013 covid-19-pneumonia-8.jpg COVID-19 actmed
anon_2 00035b2c-8642.png normal rsna

1 00003b_000.png pneumonia rsna
"""
TEST_A = "41 41a.png normal rsna\n"


def tree(root: Path, version: str = "9A", folder: str = "labels/") -> Path:
    write(root, f"{folder}train_COVIDx{version}.txt", TRAIN_A)
    write(root, f"{folder}test_COVIDx{version}.txt", TEST_A)
    return root


@pytest.mark.parametrize(("version", "folder"), [("5", "labels/"), ("7A", ""), ("9A", "labels/")])
def test_three_classes(tmp_path: Path, version: str, folder: str) -> None:
    studies = read(tree(tmp_path, version, folder))
    assert [study.split for study in studies] == ["train"] * 4 + ["test"]
    assert studies[1].patient == "actmed:COVID 00013"
    assert studies[1].image == tmp_path / "train/covid-19-pneumonia-8.jpg"
    assert studies[4].image == tmp_path / "test/41a.png"
    assert studies[0].labels == {"normal": 0, "pneumonia": 0, "COVID-19": 1}
    assert [next(name for name in study.labels if study.labels[name]) for study in studies] == [
        "COVID-19", "COVID-19", "normal", "pneumonia", "normal",
    ]  # fmt: skip


def test_binary_lists_state_one_class(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "p1 a.png positive ricord\np2 b.png negative rsna\n")
    write(tmp_path, "test.txt", "p3 c.png negative rsna\n")
    assert [study.labels for study in read(tmp_path)] == [
        {"COVID-19": 1},
        {"COVID-19": 0},
        {"COVID-19": 0},
    ]


def test_several_versions_need_a_choice(tmp_path: Path) -> None:
    tree(tree(tmp_path), "8A")
    with pytest.raises(PlaceError, match="2 lists .*version=9A"):
        read(tmp_path)
    assert len(read(tmp_path, version="8A")) == 5
    with pytest.raises(PlaceError) as refused:
        read(tmp_path, version="7B")
    assert refused.value.code == "PL-D205"


@pytest.mark.parametrize(
    "line", ["a b.png covid src", "b.png normal rsna", "a ../b.png normal rsna"]
)
def test_other_lines_are_refused_by_number(tmp_path: Path, line: str) -> None:
    write(tree(tmp_path), "labels/test_COVIDx9A.txt", TEST_A + line + "\n")
    with pytest.raises(PlaceError, match="line 2") as refused:
        read(tmp_path)
    assert refused.value.code in ("PL-D202", "PL-D206")


def test_mgca_draws_as_the_published_script(tmp_path: Path, test_data: Path) -> None:
    oracle = json.loads((test_data / "oracles" / "mgca_splits.json").read_text())["covidx"]
    rows = [f"p {row['filename']} {row['class']} src" for row in oracle["rows_in_file_order"]]
    write(tree(tmp_path), "labels/train_COVIDx9A.txt", "\n".join(rows) + "\n")
    studies = read(tmp_path, "mgca")
    for part, told in (("train", "train"), ("val", "valid")):
        found = [study for study in studies if study.split == part]
        assert [study.id for study in found] == [row["filename"] for row in oracle[told]]
        assert [list(study.labels.values()).index(1) for study in found] == [
            row["label"] for row in oracle[told]
        ]
