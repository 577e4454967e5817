"""SIIM-ACR: spaced and plain headers, "-1" and " -1", several masks of an image, both stages,
MGCA's split of rows.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.data.sources.conventions import PUBLISHED_SIZES
from place_cxr.data.sources.siim import read
from place_cxr.data.splits.by_patient import check_splits
from place_cxr.images.masks import load_mask
from tests.data.sources.trees import write

STAGE_1 = """ImageId, EncodedPixels
1.2.276.0.7230010.3.1.4.8323329.5597, 100 3 1021 3
1.2.276.0.7230010.3.1.4.8323329.12515, -1
1.2.276.0.7230010.3.1.4.8323329.5597, 1048570 6
"""


@pytest.mark.parametrize("text", [STAGE_1, STAGE_1.replace(", ", ",")])
def test_rows_of_one_image_are_united_whatever_the_blanks(tmp_path: Path, text: str) -> None:
    write(tmp_path, "train-rle.csv", text)
    picture = write(
        tmp_path, "dicom-images-train/1.2.1/1.2.2/1.2.276.0.7230010.3.1.4.8323329.5597.dcm", b"DICM"
    )
    positive, negative = read(tmp_path)
    assert positive.id == "1.2.276.0.7230010.3.1.4.8323329.5597"
    assert positive.image == picture
    assert (positive.labels, negative.labels) == ({"Pneumothorax": 1}, {"Pneumothorax": 0})
    mask = load_mask(positive.masks["Pneumothorax"])
    assert mask.shape == (1024, 1024) and mask.sum() == 12
    assert mask[100:103, 0].all() and mask[1018:, 1023].all()
    assert not load_mask(negative.masks["Pneumothorax"]).any()
    assert not negative.image.exists(), "missing pictures are found later"


def test_stage_2(tmp_path: Path) -> None:
    write(tmp_path, "stage_2_train.csv", "ImageId,EncodedPixels\nID_0a0adf93f,-1\nID_1b,5 2\n")
    picture = write(tmp_path, "stage_2_images/ID_1b.dcm", b"DICM")
    negative, positive = read(tmp_path)
    assert (negative.labels["Pneumothorax"], positive.labels["Pneumothorax"], positive.image) == (
        0,
        1,
        picture,
    )


@pytest.mark.parametrize(
    "text", [STAGE_1.replace(" -1", " "), STAGE_1 + "1.2.276.0.7230010.3.1.4.8323329.5597, -1\n"]
)
def test_a_row_without_a_mask_and_a_contradiction_are_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, "train-rle.csv", text)
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code == "PL-D210"


def test_mgca_divides_rows_as_the_published_script(tmp_path: Path, test_data: Path) -> None:
    oracle = json.loads((test_data / "oracles" / "mgca_splits.json").read_text())["siim"]
    rows = [f"{row['ImageId']},{row['EncodedPixels']}" for row in oracle["rows_in_file_order"]]
    write(tmp_path, "train-rle.csv", "\n".join(["ImageId, EncodedPixels", *rows]) + "\n")
    studies = read(tmp_path, "mgca")
    for part, told in (("train", "train"), ("val", "valid"), ("test", "test")):
        found = [study for study in studies if study.split == part]
        assert [study.id for study in found] == list(
            dict.fromkeys(row["ImageId"] for row in oracle[told])
        )
        masks = Counter(row["ImageId"] for row in oracle[told] if row["label"])
        assert {
            study.id: len(study.masks["Pneumothorax"].texts)
            for study in found
            if study.labels["Pneumothorax"]
        } == masks
    shared = [name for name, parts in Counter(study.id for study in studies).items() if parts > 1]
    assert sorted(shared) == sorted(oracle["images_in_more_than_one_part"])
    with pytest.raises(PlaceError, match="in two splits"):
        check_splits(studies)


def test_mgca_on_a_table_of_the_true_length(tmp_path: Path) -> None:
    """12,954 rows of one image each give the quoted numbers of rows; the real ones have fewer
    images.
    """
    lines = "\n".join(f"i{row}, -1" for row in range(12_954))
    write(tmp_path, "train-rle.csv", f"ImageId, EncodedPixels\n{lines}\n")
    counts = Counter(study.split for study in read(tmp_path, "mgca"))
    assert (counts["train"], counts["val"], counts["test"]) == (9_067, 1_944, 1_943)
    published = zip(("train", "val", "test"), PUBLISHED_SIZES["siim", "mgca"], strict=True)
    assert all(size and size < counts[name] for name, size in published)
