"""Object-CXR: rectangle, ellipse, polygon, no annotation; official and MGCA's split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box
from place_cxr.data.sources.object_cxr import parse_objects, read
from place_cxr.data.splits.by_patient import check_splits
from tests.data.sources.trees import write

TRAIN = """image_name,annotation
00001.jpg,0 10 20 110 220;2 50 60 70 60 64 90
00002.jpg,
00003.jpg,1 560 700 500 600
"""
DEV = "image_name,annotation\n08001.jpg,\n"


def tree(root: Path) -> Path:
    write(root, "train.csv", TRAIN)
    write(root, "dev.csv", DEV)
    return root


def test_every_kind_of_object(tmp_path: Path) -> None:
    studies = read(tree(tmp_path))
    assert studies[0].boxes == (
        Box("Foreign Object", 10, 20, 110, 220),
        Box("Foreign Object", 50, 60, 70, 90),
    )
    assert studies[2].boxes == (Box("Foreign Object", 500, 600, 560, 700),)
    assert [study.labels["Foreign Object"] for study in studies] == [1, 0, 1, 0]
    assert [study.split for study in studies] == ["train", "train", "train", "test"]
    assert studies[0].image == tmp_path / "train/00001.jpg"
    assert studies[3].image == tmp_path / "dev/08001.jpg"
    check_splits(studies)


@pytest.mark.parametrize(
    "text", ["3 1 2 3 4", "0 1 2", "0 1 2 3", "2 1 2 3 4 5", "0 a b c d", "0 1 2 nan 4"]
)
def test_other_annotations_are_refused(text: str) -> None:
    with pytest.raises(PlaceError) as refused:
        parse_objects(Path("train.csv"), 7, text)
    assert refused.value.code == "PL-D210" and "line 7" in str(refused.value)


def test_boxes_hold_what_the_published_script_was_given(test_data: Path) -> None:
    """Rectangles and ellipses are equal; a polygon's box is its bounds, where MGCA's is larger."""
    oracle = json.loads((test_data / "oracles" / "object_cxr_boxes.json").read_text())
    for case in oracle["cases"]:
        kinds = [one.split()[0] for one in case["annotation"].split(";") if one]
        bounds = iter(polygon["bounds_xmin_ymin_xmax_ymax"] for polygon in case["polygons"])
        told = [
            next(bounds) if kind == "2" else [x, y, x + width, y + height]
            for kind, (x, y, width, height) in zip(
                kinds, case["boxes_xmin_ymin_width_height"], strict=True
            )
        ]
        told = [one for one in told if one[2] > one[0]]
        assert [
            [b.x0, b.y0, b.x1, b.y1] for b in parse_objects(Path("t"), 1, case["annotation"])
        ] == told


def test_mgca_draws_as_the_published_script(tmp_path: Path, test_data: Path) -> None:
    oracle = json.loads((test_data / "oracles" / "mgca_splits.json").read_text())["object_cxr"]
    write(
        tree(tmp_path),
        "train.csv",
        "\n".join(["image_name,annotation", *(f"{n}," for n in oracle["names_in_file_order"])]),
    )
    studies = read(tmp_path, "mgca")
    for part, told in (("train", "train"), ("val", "valid")):
        assert [study.id for study in studies if study.split == part] == oracle[told]
    assert [study.id for study in studies if study.split == "test"] == ["08001.jpg"]
