"""Object-CXR (JF Healthcare, MIDL 2020): frontal radiographs with foreign objects outlined by
radiologists.

Licence: CC BY-NC 4.0 as published [not verified: the official site is gone]. How to get it:
mirrors, not from us: academictorrents, archive.org, Kaggle (raddar/foreign-objects-in-chest-xrays).
Layout: ``train.csv`` and ``dev.csv`` (image_name, annotation), images in ``train/`` and ``dev/``.
Counts: 8,000 train, 1,000 dev, 1,000 hidden test; half of the images have objects. Labels and
boxes: an annotation is objects separated by ";", each "type x1 y1 x2 y2 ...": 0 rectangle and 1
ellipse (two corners in any order), 2 polygon (its points). An empty annotation is no object, and is
ABSENT: every image was looked at. Our box of a polygon holds its points tightly. MGCA's does not:
it is symmetric about a pole of inaccessibility, larger, and can leave the image; detection
numbers are not comparable to that precision. Splits: ``official`` (dev is test; no val). ``mgca``:
train 90/10 with seed 0, dev is test. LoVT's 6,400/1,600/1,000 is a list. Traps: objects outside the
body and on clothes were marked as well; patients are not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from place_cxr.core.records import ABSENT, PRESENT, Box, Study
from place_cxr.data.sources.conventions import assign_splits, shuffle_split
from place_cxr.data.sources.files import (
    check_relative_path,
    find_file,
    parse_number,
    read_columns,
    refuse_value,
)

_FINDING = "Foreign Object"
_TYPES = ("0", "1", "2")


def read(root: Path, split: str = "official") -> list[Study]:
    """A study for each image, train before dev; train in the order of the table or of the draw."""
    train = list(_read_table(root, "train", "train"))
    if split == "mgca":
        kept, held_out = shuffle_split(len(train), 0.1, 0)
        train = assign_splits(train, {"train": kept, "val": held_out})

    return [*train, *_read_table(root, "dev", "test")]


def _read_table(root: Path, part: str, split: str) -> Iterator[Study]:
    table = find_file(root, f"{part}.csv")
    for line, row in read_columns(table, "image_name", "annotation"):
        name = check_relative_path(table, line, row["image_name"])
        boxes = parse_objects(table, line, row["annotation"])
        yield Study(
            id=name,
            image=root / part / name,
            report="",
            split=split,
            labels={_FINDING: PRESENT if boxes else ABSENT},
            boxes=boxes,
        )


def parse_objects(table: Path, line: int, annotation: str) -> tuple[Box, ...]:
    """The boxes around the points of each object of an annotation ("type x1 y1 x2 y2 ...;...").

    A box of width or height 0 is left out. Raises PL-D210.
    """
    boxes = []
    for words in (entry.split() for entry in annotation.split(";") if entry.strip()):
        if words[0] not in _TYPES or len(words) % 2 == 0 or len(words) < 5:
            refuse_value(
                table, line, "an annotation is no 'type x1 y1 x2 y2 ...' with type 0, 1 or 2"
            )

        points = [parse_number(table, line, word) for word in words[1:]]
        xs, ys = points[::2], points[1::2]
        if min(xs) < max(xs) and min(ys) < max(ys):
            boxes.append(Box(_FINDING, min(xs), min(ys), max(xs), max(ys)))

    return tuple(boxes)
