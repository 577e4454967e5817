"""Data cards: the counts are right, and nobody is on them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from place_cxr.data.checks.card import build_data_card, sample_images
from place_cxr.data.checks.check import CheckedDataset, check_dataset
from place_cxr.page.card import write_card_page

SHARED, RARE = "The lungs are clear.", "Old fracture of Zebedee."
# image, split, patient, view, sex, age, label, report
ROWS = [
    ("0.png", "train", "p0", "PA", "F", "4", "1", f"Findings: {SHARED}"),
    ("1.png", "train", "p0", "ll", "F", "5", "0", f"Findings: {SHARED}"),
    ("2.png", "train", "p1", "AP", "male", "39", "-1", f"Findings: {SHARED}"),
    ("3.png", "train", "p2", "Zebedee", "Zebedee", "40", "", f"Findings: {SHARED} {RARE}"),
    ("4.png", "val", "p3", "", "", "", "1", f"Findings: {SHARED} Signed by Zebedee."),
    ("5.png", "test", "p4", "PA", "M", "97", "1", f"Findings: {SHARED} Signed by Zebedee."),
    ("6.png", "test", "p5", "PA", "M", "101", "", f"Findings: {SHARED} Signed by Zebedee."),
    ("7.png", "test", "p6", "PA", "M", "61", "", "Findings: Signed by Zebedee."),
    ("8.png", "test", "p7", "PA", "M", "61", "", "Findings: Signed by Zebedee."),
]


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    folder = tmp_path_factory.mktemp("data")
    for number in range(len(ROWS)):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        header = [
            "image",
            "split",
            "patient",
            "view",
            "sex",
            "age",
            "labels.Nodule",
            "report",
            "license",
            "site",
        ]
        writer.writerows([header, *((*row, "CC0", "Zebedee") for row in ROWS)])
    return check_dataset("manifest", folder, {})


def test_counts(examined: CheckedDataset) -> None:
    card = build_data_card(examined, "manifest", "A test.")
    assert card["totals"] == {"rows": 9, "images": 9, "studies": 9, "patients": 8, "sites": 1}
    assert card["splits"]["train"] == {"images": 4, "studies": 4, "patients": 3}
    assert card["view"] == {
        "AP": {"train": 1}, "LATERAL": {"train": 1}, "PA": {"train": 1, "test": 4},
        "not known": {"val": 1}, "other": {"train": 1},
    }  # fmt: skip
    assert card["sex"] == {
        "F": {"train": 2},
        "M": {"train": 1, "test": 4},
        "not known": {"val": 1},
        "other": {"train": 1},
    }
    assert card["age"] == {
        "00 to 09": {"train": 2},
        "30 to 39": {"train": 1},
        "40 to 49": {"train": 1},
        "60 to 69": {"test": 2},
        "90 and over": {"test": 2},
        "not known": {"val": 1},
    }
    nodule = card["findings"]["Nodule"]
    assert nodule["train"] == {"present": 1, "absent": 1, "uncertain": 1, "not mentioned": 1}
    assert nodule["test"] == {"present": 1, "absent": 0, "uncertain": 0, "not mentioned": 3}
    assert card["licences"] == {"CC0": 9}
    assert card["reports"]["with"] == 9 and card["reports"]["read_as"] == {"findings": 9}
    assert card["pictures"]["readable"] == 9 and card["pictures"]["width"]["median"] == 50
    assert {one["code"]: one["count"] for one in card["check"]} == {
        "PL-D151": 8
    }  # noise; one of them is a lateral


@pytest.mark.fault("P3")
def test_only_sentences_of_many_patients_and_about_the_picture(examined: CheckedDataset) -> None:
    """Five patients signed alike, and six share a finding: only the finding is told, and only
    once.
    """
    card = build_data_card(examined, "manifest", "A test.")
    assert card["sentences"] == [{"sentence": "the lungs are clear", "times": 7, "patients": 6}]
    assert "ebedee" not in json.dumps(card).lower()


def test_page_and_numbers(examined: CheckedDataset, tmp_path: Path) -> None:
    card = build_data_card(examined, "manifest", "<script>alert(1)</script>")
    page = write_card_page(card, tmp_path / "card")
    html = page.read_text()
    assert json.loads((tmp_path / "card" / "card.json").read_text()) == card
    assert (
        "<script>" not in html
        and "&lt;script&gt;" in html
        and "http" not in html.replace("http-equiv", "")
    )
    assert "the lungs are clear" in html and card["hashes"]["files"] in html and "PL-D151" in html
    assert "<img" not in html and html.count("Research use only") == 2
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in (tmp_path / "card").iterdir())


@pytest.mark.fault("P4")
def test_pictures_only_on_demand_and_never_with_text(
    examined: CheckedDataset, tmp_path: Path
) -> None:
    assert sample_images(examined, 0) == []
    some = sample_images(examined, 3)
    assert [one.shape for one in some] == [(128, 128)] * 3
    assert (
        write_card_page(build_data_card(examined, "m", ""), tmp_path, some)
        .read_text()
        .count("<img")
        == 3
    )
    assert len(sample_images(examined, 50)) == 9
    from dataclasses import replace

    texted = [
        replace(one, stats=replace(one.stats, letters=9)) for one in examined.images if one.stats
    ]
    assert sample_images(replace(examined, images=texted), 3) == []


def test_an_empty_set_has_a_card(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("image,report\n")
    card = build_data_card(check_dataset("manifest", tmp_path, {}), "manifest", "")
    assert card["totals"]["images"] == 0 and card["check"][0]["code"] == "PL-D201"
    assert write_card_page(card, tmp_path / "card").is_file()
