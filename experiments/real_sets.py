"""Small real sets as manifests: NIH labels, masks of lungs and of twelve structures, boxes of lungs
and of opacities.

    python experiments/real_sets.py --data $PLACE_TEST_DATA --out data/real
    place benchmark benchmark-real

Needs the layout of the sample data (docs/data.md). Writes ``<out>/<set>/manifest.csv`` with paths
relative to ``--data``, and a link ``<out>/files`` to that folder: no picture is copied.
``files/classes`` is read as it stands. To look at one:

    place data check --root data/real/rsna/manifest.csv --option folder=data/real/files

What is known in each set, where not known is not absent:
- nih-findings: names that text mining found are 1, the others of its fourteen 0, as the source nih14 reads them.
- lungs: every picture has a mask of the lungs, the parts behind the heart and the diaphragm included.
- structures: a structure without a mask was perhaps not looked for: nothing is said of it.
- lung-boxes: both lungs of every picture have a box.
- rsna: radiologists boxed every opacity that may be pneumonia, so a picture without a box has none (0), whether its
  class is Normal or not; another disease it may have. Names are those of the source rsna.

A patient is the ``group`` of ``pairs/``, which joins ids of one person or one published case, where
there is one.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from place_cxr.cli.console import log_to_stderr
from place_cxr.data.sources.coco import read_coco_boxes
from place_cxr.data.sources.nih14 import LABELS

Row = dict[str, str]
LUNGS = "Lungs"
OPACITY = "Pneumonia"
_ABOUT = ("view", "sex", "age")
_log = logging.getLogger("place_cxr.real_sets")


def table(file: Path) -> list[Row]:
    """Rows of a CSV."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        return list(csv.DictReader(opened))


def below(folder: str, path: str) -> str:
    """A path of a table in ``folder``, relative to the data."""
    return os.path.normpath(os.path.join(folder, path))


def nih_findings(data: Path) -> list[Row]:
    """NIH pictures with all labels that were mined from their reports."""
    rows = []
    for row in table(data / "classes" / "nih" / "manifest.csv"):
        named = set(row["finding_labels"].split("|"))
        labels = {f"labels.{name}": str(int(name in named)) for name in (*LABELS, "No Finding")}
        rows.append(about(below("classes/nih", row["image"]), row["patient_id"], row) | labels)
    return rows


def masks(data: Path, *, lungs: bool) -> list[Row]:
    """A row for each picture with a mask of the lungs, or of anything else."""
    person = people(data)
    found: dict[str, Row] = {}
    for row in table(data / "masks" / "manifest.csv"):
        if (row["target"] == "lungs") == lungs:
            image = below("masks", row["image"])
            name = LUNGS if lungs else row["target"]
            one = found.setdefault(
                image, about(image, person.get(row["patient_id"], row["patient_id"]), row)
            )
            one[f"mask.{name}"] = below("masks", row["mask"])
    return list(found.values())


def lung_boxes(data: Path) -> list[Row]:
    """Pictures with a box for each lung."""
    person = people(data)
    known = {below("pairs", row["image"]): row for row in table(data / "pairs" / "manifest.csv")}
    known |= {below("masks", row["image"]): row for row in table(data / "masks" / "manifest.csv")}
    rows = []
    for name, boxes in read_coco_boxes(data / "boxes" / "lungs_coco.json").items():
        image = below("boxes", name)
        row = known[image]
        sides = [(box.finding, box.x0, box.y0, box.x1, box.y1) for box in boxes]
        rows.append(
            about(image, person.get(row["patient_id"], row["patient_id"]), row) | written(sides)
        )
    return rows


def rsna(data: Path) -> list[Row]:
    """NIH pictures with radiologists' boxes of opacities, and pictures without any."""
    found: dict[str, Row] = {}
    boxes: dict[str, list[tuple[str, float, float, float, float]]] = {}
    for row in table(data / "boxes" / "rsna.csv"):
        image = below("boxes", row["image"])
        labels = {
            f"labels.{OPACITY}": row["target"],
            "labels.No Finding": str(int(row["klass"] == "Normal")),
        }
        found[image] = about(image, row["patient_id"], row) | labels
        if row["target"] == "1":
            x, y, width, height = (float(row[side]) for side in ("x", "y", "width", "height"))
            boxes.setdefault(image, []).append((OPACITY, x, y, x + width, y + height))
    return [row | written(boxes.get(image, ())) for image, row in found.items()]


def people(data: Path) -> Mapping[str, str]:
    """Patient id -> the group that it is one with."""
    return {row["patient_id"]: row["group"] for row in table(data / "pairs" / "manifest.csv")}


def about(image: str, patient: str, row: Mapping[str, str]) -> Row:
    """The columns that all sets have."""
    return {"image": image, "patient": patient} | {name: row.get(name, "") for name in _ABOUT}


def written(boxes: Sequence[tuple[str, float, float, float, float]]) -> Row:
    """Boxes as a manifest has them."""
    names = ("finding", "x0", "y0", "x1", "y1")
    return {"boxes": json.dumps([dict(zip(names, box, strict=True)) for box in boxes])}


def write(file: Path, rows: Sequence[Row]) -> None:
    """A manifest with all columns that some row has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    columns: Iterable[str] = dict.fromkeys(name for row in rows for name in row)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make(data: Path, out: Path) -> dict[str, int]:
    """Every manifest; how many pictures each has."""
    sets = {
        "nih-findings": nih_findings(data),
        "lungs": masks(data, lungs=True),
        "structures": masks(data, lungs=False),
        "lung-boxes": lung_boxes(data),
        "rsna": rsna(data),
    }
    for name, rows in sets.items():
        write(out / name / "manifest.csv", rows)
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
    given = parser.parse_args()
    log_to_stderr()
    for name, count in make(given.data, given.out).items():
        _log.info("%s: %d pictures", name, count)
