"""Small real sets as manifests: NIH labels, masks of lungs and other structures, boxes of lungs and
opacities.

    python experiments/real_sets.py --data $PLACE_TEST_DATA --out data/real
    place benchmark benchmark-real

Needs the layout of the sample data (docs/data.md). Writes ``<out>/<set>/manifest.csv`` with paths
relative to ``--data``, and a link ``<out>/files`` to that folder: no image is copied.
``files/classes`` is read unchanged. To check one set:

    place data check --root data/real/rsna/manifest.csv --option folder=data/real/files

What is known in each set (unknown is not absent):

- nih-findings: names found by text mining are 1, the other names of the fourteen are 0, as in the
  source nih14.
- lungs: each image has a mask of the lungs, including the parts behind heart and diaphragm.
- structures: a structure without a mask may not have been looked for, so it is unknown.
- lung-boxes: both lungs of each image have a box.
- rsna: radiologists marked every opacity that may be pneumonia. An image without a box has none
  (0), also if its class is not Normal; it may show another disease. Names are those of the source
  rsna.

A patient is the ``group`` of ``pairs/`` if there is one: a group joins the ids of one person or of
one published case.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from place_cxr.cli.console import log_to_stderr
from place_cxr.data.sources.coco import read_coco_boxes
from place_cxr.data.sources.nih14 import NIH14_LABELS

Row = dict[str, str]
BoxTuple = tuple[str, float, float, float, float]  # finding, x0, y0, x1, y1
LUNGS = "Lungs"
OPACITY = "Pneumonia"
_PERSON_COLUMNS = ("view", "sex", "age")
_log = logging.getLogger("place_cxr.real_sets")


def read_table(file: Path) -> list[Row]:
    """Rows of a CSV."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        return list(csv.DictReader(opened))


def join_path(folder: str, path: str) -> str:
    """A path of a table in ``folder``, relative to the data."""
    return os.path.normpath(os.path.join(folder, path))


def nih_findings(data: Path) -> list[Row]:
    """NIH images with all labels that were mined from their reports."""
    rows = []

    for row in read_table(data / "classes" / "nih" / "manifest.csv"):
        # NIH joins several findings with "|".
        named = set(row["finding_labels"].split("|"))
        labels = {
            f"labels.{name}": str(int(name in named)) for name in (*NIH14_LABELS, "No Finding")
        }
        image = join_path("classes/nih", row["image"])
        rows.append(common_columns(image, row["patient_id"], row) | labels)

    return rows


def mask_rows(data: Path, *, lungs: bool) -> list[Row]:
    """One row per image with a mask of the lungs, or else of any other structure."""
    groups = patient_groups(data)
    rows: dict[str, Row] = {}

    for row in read_table(data / "masks" / "manifest.csv"):
        if (row["target"] == "lungs") != lungs:
            continue

        image = join_path("masks", row["image"])
        patient = groups.get(row["patient_id"], row["patient_id"])
        name = LUNGS if lungs else row["target"]

        # An image has one line per structure in the table, and one row here.
        manifest_row = rows.setdefault(image, common_columns(image, patient, row))
        manifest_row[f"mask.{name}"] = join_path("masks", row["mask"])

    return list(rows.values())


def lung_boxes(data: Path) -> list[Row]:
    """Images with a box for each lung."""
    groups = patient_groups(data)
    # The COCO file has boxes only; view, sex and age are in the tables of the image's own folder.
    known: dict[str, Row] = {}

    for folder in ("pairs", "masks"):
        for row in read_table(data / folder / "manifest.csv"):
            known[join_path(folder, row["image"])] = row

    rows = []
    for name, boxes in read_coco_boxes(data / "boxes" / "lungs_coco.json").items():
        image = join_path("boxes", name)
        row = known[image]
        patient = groups.get(row["patient_id"], row["patient_id"])
        corners = [(box.finding, box.x0, box.y0, box.x1, box.y1) for box in boxes]
        rows.append(common_columns(image, patient, row) | boxes_column(corners))

    return rows


def rsna(data: Path) -> list[Row]:
    """NIH images with radiologists' boxes of opacities, and images without any."""
    rows: dict[str, Row] = {}
    boxes: dict[str, list[BoxTuple]] = {}

    for row in read_table(data / "boxes" / "rsna.csv"):
        image = join_path("boxes", row["image"])
        labels = {
            f"labels.{OPACITY}": row["target"],
            "labels.No Finding": str(int(row["klass"] == "Normal")),
        }
        rows[image] = common_columns(image, row["patient_id"], row) | labels

        if row["target"] == "1":
            # RSNA gives the upper left corner and the size; a manifest has two corners.
            x, y, width, height = (float(row[side]) for side in ("x", "y", "width", "height"))
            boxes.setdefault(image, []).append((OPACITY, x, y, x + width, y + height))

    return [row | boxes_column(boxes.get(image, ())) for image, row in rows.items()]


def patient_groups(data: Path) -> Mapping[str, str]:
    """Patient id -> its group in ``pairs/``."""
    return {row["patient_id"]: row["group"] for row in read_table(data / "pairs" / "manifest.csv")}


def common_columns(image: str, patient: str, row: Mapping[str, str]) -> Row:
    """The columns that all sets have."""
    person = {name: row.get(name, "") for name in _PERSON_COLUMNS}
    return {"image": image, "patient": patient} | person


def boxes_column(boxes: Sequence[BoxTuple]) -> Row:
    """The column ``boxes`` of a manifest."""
    names = ("finding", "x0", "y0", "x1", "y1")
    return {"boxes": json.dumps([dict(zip(names, box, strict=True)) for box in boxes])}


def write_manifest(file: Path, rows: Sequence[Row]) -> None:
    """A manifest with every column that some row has, in order of first appearance."""
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_sets(data: Path, out: Path) -> dict[str, int]:
    """Write every manifest and the link ``files``; return the number of images of each set."""
    sets = {
        "nih-findings": nih_findings(data),
        "lungs": mask_rows(data, lungs=True),
        "structures": mask_rows(data, lungs=False),
        "lung-boxes": lung_boxes(data),
        "rsna": rsna(data),
    }

    for name, rows in sets.items():
        write_manifest(out / name / "manifest.csv", rows)

    # A link instead of copies: the images stay in one place.
    link = out / "files"
    link.unlink(missing_ok=True)
    link.symlink_to(data.resolve(), target_is_directory=True)
    return {name: len(rows) for name, rows in sets.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="the folder with pairs/, masks/, boxes/ and classes/",
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder that git ignores")
    arguments = parser.parse_args()
    log_to_stderr()
    for name, count in write_sets(arguments.data, arguments.out).items():
        _log.info("%s: %d images", name, count)
