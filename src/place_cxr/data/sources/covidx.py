"""COVIDx (COVID-Net) versions 5 to 9: radiographs of many public sets as normal, pneumonia or
COVID-19.

Licence: each source's own; COVID-Net's lists are AGPL-3.0 code, the collection is for research. How
to get it: lists in the folder ``labels`` of github.com/lindawangg/COVID-Net; images
kaggle.com/andyczhao/covidx-cxr2. Layout: ``train_COVIDx9A.txt`` and ``test_COVIDx9A.txt`` (or 5, 6,
7A, 8B ...; Kaggle: ``train.txt``, ``test.txt``), in ``root`` or its folder ``labels``: "patient_id
filename class source", blanks between, no header. Images in ``train/`` and ``test/``. Counts: v5
13,958/300; v6 14,311/200 (binary); v8A test 400; v9A 30,130/400 (16,490 COVID-19, 8,085 normal,
5,555 pneumonia; test 200/100/100); v9B 30,482/400. Labels: A lists have three classes that exclude
each other ("pneumonia" is one that is not COVID-19): all three are stated for each image. B and v6
lists say positive or negative: "COVID-19" alone. Splits: ``official`` (train and test; no val).
``mgca``: train 80/20 with seed 0 by image. BenchX's (CXR-4) is a list. Traps: a patient id can hold
a blank (v7), so rows are read from their end; ids of different sources can be equal, and one person
can have two; Kaggle's versions do not match the lists' numbers, so images are missing; "Kaggle
version 6" is not COVIDx6; what the classes differ in is also which hospital they come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, PRESENT, Study
from place_cxr.data.sources.conventions import assign_splits, shuffle_split
from place_cxr.data.sources.files import check_relative_path, find_file

# Class in a list -> labels. In lists of three classes, one excludes the other two; lists of two
# classes say nothing of pneumonia in general.
_LABELS = {
    "normal": {"normal": PRESENT, "pneumonia": ABSENT, "COVID-19": ABSENT},
    "pneumonia": {"normal": ABSENT, "pneumonia": PRESENT, "COVID-19": ABSENT},
    "COVID-19": {"normal": ABSENT, "pneumonia": ABSENT, "COVID-19": PRESENT},
    "positive": {"COVID-19": PRESENT},
    "negative": {"COVID-19": ABSENT},
}
_TRAIN_FRACTION = 0.8  # [MGCA]


def read(root: Path, split: str = "official", *, version: str = "") -> list[Study]:
    """A study for each line, train before test. ``version`` ("9A") chooses among several lists in
    the folder.
    """
    train = list(_read_list(root, _find_list(root, "train", version), "train"))
    test = list(_read_list(root, _find_list(root, "test", version), "test"))
    if split == "mgca":
        # MGCA rounds the number of training rows down, not that of the held-out rows up.
        held_out_count = len(train) - int(_TRAIN_FRACTION * len(train))
        kept, held_out = shuffle_split(len(train), held_out_count, 0)
        train = assign_splits(train, {"train": kept, "val": held_out})

    return train + test


def _find_list(root: Path, part: str, version: str) -> Path:
    if version:
        return find_file(root, f"{part}_COVIDx{version}.txt", f"labels/{part}_COVIDx{version}.txt")

    lists = sorted({*root.glob(f"{part}_COVIDx*.txt"), *root.glob(f"labels/{part}_COVIDx*.txt")})
    if len(lists) > 1:
        names = ", ".join(file.name for file in lists)
        raise PlaceError(
            f"{len(lists)} lists ({names})",
            code="PL-D205",
            file=root,
            fix="set data.options.version=9A",
        )

    return lists[0] if lists else find_file(root, f"{part}_COVIDx*.txt", f"{part}.txt")


def _read_list(root: Path, file: Path, part: str) -> Iterator[Study]:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise PlaceError(
            f"byte {error.start} is not utf-8", code="PL-D209", file=file, fix="copy it again"
        ) from None

    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue

        # From the right: the patient, which comes first, may hold blanks.
        fields = text.rsplit(maxsplit=3)
        if len(fields) < 4 or fields[2] not in _LABELS:
            problem = f"line {line} is not 'patient filename class source' with a known class"
            raise PlaceError(
                problem, code="PL-D202", file=file, fix="take the list as COVID-Net publishes it"
            )

        patient, name, class_name, source = fields
        yield Study(
            id=name,
            image=Path(f"{root}/{part}/{check_relative_path(file, line, name)}"),
            report="",
            patient=f"{source}:{patient}",
            split=part,
            site=source,
            labels=_LABELS[class_name],
        )
