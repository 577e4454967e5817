"""The general folder: a table joined by path, name or stem; text files beside, alone or named as
the folder; DICOM.
"""

from __future__ import annotations

import csv
import logging
import os
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.data.corpus import DataSettings
from place_cxr.data.sources.folder import read
from tests.data.sources.trees import picture, write

DICOM = b"\0" * 128 + b"DICM" + b"\0" * 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two patients with two studies, a DICOM file without an ending, and what is no picture."""
    for name in ("p1/s1/a.png", "p1/s1/b.png", "p2/s2/c.jpg"):
        picture(tmp_path, name)
    write(tmp_path, "p2/s3/1.2.840.113619.2", DICOM)
    write(tmp_path, "p2/s3/notes", b"no picture")
    write(tmp_path, "p2/s3/README.md", "text")
    return tmp_path


def test_a_table_joined_by_path_name_or_stem(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(
        root,
        "reports.csv",
        "file,report,patient,labels.Edema\n"
        "p1/s1/a.png,Clear.,x,0\nc.jpg,Wet.,y,1\n1.2.840.113619.2,Dry.,z,\nlost.png,-,w,\n",
    )
    with caplog.at_level(logging.WARNING):
        studies = read(root)
    assert [(study.id, study.report, study.patient) for study in studies] == [
        ("p1/s1/a", "Clear.", "x"),
        ("p2/s2/c", "Wet.", "y"),
        ("p2/s3/1.2.840.113619", "Dry.", "z"),
    ]
    assert studies[1].labels == {"Edema": 1}
    assert "1 rows have no image, 1 of 4 images no row" in caplog.text
    assert "lost" not in caplog.text and "p1" not in caplog.text.replace(str(root), "")
    assert [study.patient for study in read(root, patient_folder=1)] == ["p1", "p2", "p2"]


def test_columns_are_mapped_and_a_study_column_counts(root: Path) -> None:
    write(root, "t.csv", "x,y,study\na,Clear.,S1\nb,Clear.,S1\n")
    assert [study.id for study in read(root, columns={"image": "x", "report": "y"})] == ["S1", "S1"]
    with pytest.raises(PlaceError, match="no column 'report'"):
        read(root, columns={"image": "x"})
    write(root, "u.csv", "x\n")
    with pytest.raises(PlaceError, match="2 tables"):
        read(root)
    assert len(read(root, table="t.csv", columns={"image": "x", "report": "y"})) == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("file,report\nnowhere.png,x\n", "PL-D205"),
        ("file,report\na.png,x\na.png,y\n", "PL-D204"),
        ("file,report\nsame.png,x\n", "PL-D204"),
        ("file,report\na.png,x,y\n", "PL-D202"),
        ("file\na.png\n", "PL-D201"),
        ("file,report,labels.Edema\na.png,x,7\n", "PL-D210"),
    ],
)
def test_tables_that_cannot_be_joined(root: Path, text: str, code: str) -> None:
    picture(root, "p1/same.png")
    picture(root, "p2/same.png")
    write(root, "reports.csv", text)
    with pytest.raises(PlaceError) as refused:
        read(root)
    assert refused.value.code == code


def test_text_files(root: Path) -> None:
    """Beside the picture, alone in its folder, or named as the folder; shared text makes one
    study.
    """
    write(root, "p1/s1/a.txt", "Of a.")
    write(root, "p1/s1.txt", "Of the rest.")
    write(root, "p2/s2/report.txt", "Alone.")
    studies = read(root)
    # a.txt is also the only text of its folder, so b has it too.
    assert [(study.id, study.report) for study in studies] == [
        ("p1/s1/a", "Of a."),
        ("p1/s1/a", "Of a."),
        ("p2/s2/report", "Alone."),
        ("p2/s3/1.2.840.113619", ""),
    ]
    write(root, "p1/s1/other.txt", "Two texts now.")
    assert [study.report for study in read(root)][:2] == ["Of a.", "Of the rest."]
    write(root, "p2/s3/r.txt", "caf\u00e9".encode("latin-1"))
    with pytest.raises(PlaceError) as refused:
        read(root)
    assert refused.value.code == "PL-D209"
    assert read(root, encoding="latin-1")[-1].report == "caf\u00e9"


@pytest.mark.fault("S6")
@pytest.mark.fault("S5")
def test_links_pipes_and_paths_out_of_the_folder(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = picture(tmp_path_factory.mktemp("outside"), "z.png")
    (root / "link.png").symlink_to(outside)
    (root / "linked").symlink_to(outside.parent)
    os.mkfifo(root / "pipe.png")
    assert [study.image.name for study in read(root)] == [
        "a.png",
        "b.png",
        "c.jpg",
        "1.2.840.113619.2",
    ]
    with pytest.raises(PlaceError) as refused:
        read(root, table="../t.csv")
    assert refused.value.code == "PL-C001"


def test_folders_of_patients_that_are_not_there(root: Path) -> None:
    with pytest.raises(PlaceError) as refused:
        read(root, patient_folder=3)
    assert refused.value.code == "PL-C001"


def test_real_pairs_in_a_folder(tmp_path: Path, test_data: Path) -> None:
    """Two hundred radiographs and a table of names, as a hospital would hand them over."""
    os.symlink(test_data / "pairs" / "images", tmp_path / "not followed")
    with pytest.raises(PlaceError, match="no images"):
        read(tmp_path)
    with (test_data / "pairs" / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:20]
    for row in rows:
        write(
            tmp_path,
            f"images/{Path(row['image']).name}",
            (test_data / "pairs" / row["image"]).read_bytes(),
        )
    with write(tmp_path, "table.csv", b"").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filename", "report", "patient"])
        table.writerows([Path(row["image"]).name, row["report"], row["patient_id"]] for row in rows)
    studies = read(tmp_path)
    assert {(study.image.name, study.report) for study in studies} == {
        (Path(row["image"]).name, row["report"]) for row in rows
    }


def test_settings_name_a_folder() -> None:
    settings = DataSettings(source="folder", manifest="x", options={"patient_folder": 1})
    assert settings.options == {"patient_folder": 1}
