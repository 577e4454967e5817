"""SIIM-ACR Pneumothorax Segmentation, stage 1 and stage 2: radiographs with masks of pneumothoraces
as run lengths.

Licence: competition rules (kaggle.com/c/siim-acr-pneumothorax-segmentation); images are NIH
ChestX-ray14's. How to get it: stage 2 from Kaggle. Stage 1 (the papers' one) is no longer offered
there; copies exist, not from us. Layout, stage 1: ``train-rle.csv`` with the header "ImageId,
EncodedPixels" (a blank before the second name) and
``dicom-images-train/<study>/<series>/<ImageId>.dcm``. Stage 2: ``stage_2_train.csv`` (header
without the blank, ids like ID_0a0adf93f) and ``stage_2_images/<ImageId>.dcm`` [layout of the
images not verified; any of the folders is searched]. Counts, stage 1: 12,954 rows, 12,047 images,
2,669 with and 9,378 without pneumothorax, 3,576 masks (1 to 10 an image). Masks: pairs "gap length"
relative to the end of the run before, down the columns, 1024 x 1024; several rows of one image are
united; "-1" (in some copies " -1") means none. Splits: ``patient`` (patients are not known: by
image). ``mgca``: MGCA and GLoRIA divide ROWS, not images (seed 0, first half is test), so that 161,
154 and 62 images lie in two parts and a part has only some masks of such an image: studies occur
twice, and checks of splits refuse it. LoVT (7,229/2,409/2,409), MRM and BenchX (another repack) are
lists; PRIOR uses positive images alone. Traps: comparing "-1" with " -1" makes every image
positive; the test images' masks of stage 1 are not in train-rle.csv.
"""

from __future__ import annotations

from pathlib import Path

from place_cxr.core.records import ABSENT, PRESENT, RunLengths, Study
from place_cxr.data.sources.conventions import three_parts
from place_cxr.data.sources.files import (
    check_relative_path,
    find_file,
    index_files,
    read_columns,
    refuse_value,
)

_FINDING = "Pneumothorax"
_NONE = "-1"  # no mask
_SIDE = 1024  # pixels of every image
_HELD_OUT = 0.15 * 2  # fraction of rows in val and test together [MGCA]
_POSITIVE = {_FINDING: PRESENT}
_NEGATIVE = {_FINDING: ABSENT}


def read(root: Path, split: str = "patient") -> list[Study]:
    """A study for each image, in the order of the rows.

    With ``mgca``, an image whose rows are in two parts gives a study for each part.
    """
    table = find_file(root, "train-rle.csv", "stage_2_train.csv")
    rows = []
    for line, row in read_columns(table, "ImageId", "EncodedPixels"):
        if not row["EncodedPixels"].strip():
            refuse_value(table, line, "a mask is neither runs nor -1")

        rows.append(
            (
                line,
                check_relative_path(table, line, row["ImageId"].strip()),
                row["EncodedPixels"].strip(),
            )
        )

    # MGCA divides rows, not images: the masks of one image can fall into several parts.
    parts = {"": range(len(rows))} if split == "patient" else three_parts(len(rows), _HELD_OUT)

    paths_by_name = index_files(root / "dicom-images-train", root / "stage_2_images")
    texts_by_image: dict[tuple[str, str], list[str]] = {}
    for part, positions in parts.items():
        for position in positions:
            line, name, text = rows[position]
            texts = texts_by_image.setdefault((name, part), [])
            if texts and _NONE in (text, texts[0]):
                refuse_value(table, line, "an image has a mask and none")
            texts.append(text)

    return [
        _study(root, paths_by_name, name, part, texts)
        for (name, part), texts in texts_by_image.items()
    ]


def _study(
    root: Path, paths_by_name: dict[str, str], name: str, part: str, texts: list[str]
) -> Study:
    positive = texts[0] != _NONE

    return Study(
        id=name,
        image=Path(paths_by_name.get(f"{name}.dcm") or root / "dicom-images-train" / f"{name}.dcm"),
        report="",
        split=part,
        labels=_POSITIVE if positive else _NEGATIVE,
        masks={_FINDING: RunLengths(tuple(texts) if positive else (), _SIDE, _SIDE)},
    )
