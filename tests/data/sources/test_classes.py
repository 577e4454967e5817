"""A table that names one class of several: the own class is there, the others are not, an empty
cell says nothing.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.data.checks.check import check_dataset
from place_cxr.data.sources import folder, manifest
from place_cxr.data.sources.classes import MAX_CLASSES
from place_cxr.tasks.classification import Classification
from place_cxr.tasks.engine import make_task
from tests.data.sources.trees import picture, write

REAL = os.environ.get("PLACE_TEST_DATA", "")
CELLS = ("normal", "viral", "", " bacterial ", "viral")
EXPECTED = [(0, 1, 0), (0, 0, 1), None, (1, 0, 0), (0, 0, 1)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(len(CELLS)):
        picture(tmp_path, f"{number}.png")
    return tmp_path


def told(studies: list[Study]) -> list[tuple[float, ...] | None]:
    """Labels in alphabetical order; None where nothing is known."""
    found: list[tuple[float, ...] | None] = []
    for study in studies:
        assert list(study.labels) == ["bacterial", "normal", "viral"]
        values = tuple(study.labels.values())
        found.append(None if all(map(math.isnan, values)) else values)
    return found


def text(column: str = "class", cells: tuple[str, ...] = CELLS) -> str:
    return f"image,{column}\n" + "".join(
        f"{number}.png,{cell}\n" for number, cell in enumerate(cells)
    )


def test_an_image_and_a_class_are_enough(root: Path) -> None:
    assert told(manifest.read(write(root, "manifest.csv", text()))) == EXPECTED
    mapped = manifest.read(write(root, "manifest.csv", text("label")), columns={"class": "label"})
    assert told(mapped) == EXPECTED
    assert told(folder.read(root, columns={"class": "label"})) == EXPECTED
    assert (
        told(check_dataset("manifest", root, {"columns": {"class": "label"}}, workers=1).studies)
        == EXPECTED
    )


def test_a_task_of_one_class_of_several_leaves_the_unknown_out(root: Path) -> None:
    studies = manifest.read(write(root, "manifest.csv", text()))
    task = make_task("classification", studies, ["kind=multi-class"])
    assert isinstance(task, Classification) and task.names == ("bacterial", "normal", "viral")
    assert [task.usable(study) for study in studies] == [True, True, False, True, True]


def test_labels_stand_beside_classes(root: Path) -> None:
    rows = "image,labels.Mass,class\n0.png,1,a\n1.png,,b\n2.png,-1,\n"
    first, second, third = manifest.read(write(root, "manifest.csv", rows))
    assert first.labels == {"Mass": 1.0, "a": 1.0, "b": 0.0}
    assert math.isnan(second.labels["Mass"]) and second.labels["b"] == 1.0
    assert third.labels["Mass"] == -1.0 and math.isnan(third.labels["a"])


def test_a_class_of_1_and_0_is_mapped_to_its_finding(root: Path) -> None:
    write(root, "manifest.csv", "image,class\n0.png,1\n1.png,0\n")
    found = manifest.read(root, columns={"labels.Mass": "class"})
    assert [study.labels for study in found] == [{"Mass": 1.0}, {"Mass": 0.0}]


def test_a_column_label_is_read_only_when_it_is_named(root: Path) -> None:
    """It may hold lists ("COVID-19, ARDS"), of which nobody said that one rules out the other."""
    [study] = manifest.read(
        write(root, "manifest.csv", 'image,report,label\n0.png,x,"COVID-19, ARDS"\n')
    )
    assert study.labels == {}


@pytest.mark.fault("E1")
@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("1", "a class is a number"),
        ("0.0", "a class is a number"),
        ("Mass|Nodule", "a class is a list of names"),
        ("Mass;Nodule", "a class is a list of names"),
        ("Mass", "a class has a column of labels, too"),
    ],
)
def test_what_is_no_class(root: Path, cell: str, says: str) -> None:
    write(root, "manifest.csv", f"image,labels.Mass,class\n0.png,1,normal\n1.png,1,{cell}\n")
    with pytest.raises(PlaceError, match=f"PL-D210.*line 3: {says}") as error:
        manifest.read(root)
    assert "Mass|" not in str(error.value) and error.value.fix
    faults = check_dataset("manifest", root, {}, workers=1).faults
    assert [(fault.code, fault.row) for fault in faults if fault.code == "PL-D210"] == [
        ("PL-D210", 3)
    ]


@pytest.mark.fault("P3")
def test_a_column_of_patients_is_no_column_of_classes(root: Path) -> None:
    names = [f"JANE{number}" for number in range(MAX_CLASSES + 1)]
    for number in range(MAX_CLASSES + 1):
        (root / f"{number}.png").write_bytes(b"x")
    write(root, "manifest.csv", text(cells=tuple(names[:MAX_CLASSES])))
    assert len(manifest.read(root)[0].labels) == MAX_CLASSES
    write(root, "manifest.csv", text(cells=tuple(names)))
    with pytest.raises(PlaceError, match=f"more than {MAX_CLASSES} classes") as error:
        manifest.read(root)
    assert "JANE" not in str(error.value)


@pytest.mark.skipif(not REAL, reason="PLACE_TEST_DATA is unset: no sample data on this machine")
@pytest.mark.parametrize(("name", "classes"), [("kermany", 3), ("nih", 2)])
def test_published_classes_need_no_code(name: str, classes: int) -> None:
    found = manifest.read(
        Path(REAL) / "classes" / name, columns={"class": "label", "patient": "patient_id"}
    )
    assert all(study.patient and sum(study.labels.values()) == 1 for study in found)
    assert {len(study.labels) for study in found} == {classes}
