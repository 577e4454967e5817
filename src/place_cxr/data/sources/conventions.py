"""Splits of papers: their random draws, their published lists, and the sizes that they report.

A draw is a function of a number of rows and a seed, equal to scikit-learn's ``train_test_split``
and pandas' ``sample``. Both use NumPy's legacy generator, whose stream is frozen, so these splits
do not change with a library. Conventions without a known rule (MRM, LoVT, KAD, REFERS, BenchX apart
from RSNA) are lists: ``split_by_lists`` reads them.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import SPLITS, Study

_log = logging.getLogger(__name__)
RowPositions = NDArray[np.int64]

# Images in train, val and test of the whole data set; None where the convention has none. Sources
# in docs/datasets.md.
PUBLISHED_SIZES: Mapping[tuple[str, str], tuple[int | None, int | None, int | None]] = {
    ("mimic_cxr", "official"): (368_960, 2_991, 5_159),
    ("mimic_cxr", "mgca"): (368_960, 2_991 + 5_159, None),
    ("chexpert", "official"): (223_414, 234, None),
    ("chexpert", "mgca"): (185_771, 4_284, 202),
    ("chexpert", "5x200"): (None, None, 1_000),
    ("nih14", "official"): (None, None, 25_596),
    ("rsna", "mgca"): (18_678, 4_003, 4_003),
    ("rsna", "mgca_detection"): (16_010, 5_337, 5_337),
    ("rsna", "benchx"): (18_678, 4_003, 4_003),
    # Images of 9,067/1,944/1,943 rows; 161, 154 and 62 images are in two parts.
    ("siim", "mgca"): (8_578, 1_910, 1_903),
    ("covidx", "mgca"): (24_104, 6_026, 400),  # version 9A
    ("object_cxr", "official"): (8_000, None, 1_000),
    ("object_cxr", "mgca"): (7_200, 800, 1_000),
    ("iu_xray", "r2gen"): (2 * 2_069, 2 * 296, 2 * 590),
    ("vindr", "official"): (15_000, None, 3_000),
    ("vindr", "cxr_clip"): (12_000, 3_000, 3_000),
}


def size_problems(source: str, split: str, studies: Sequence[Study]) -> list[str]:
    """Splits of a whole data set whose sizes differ from the published ones, as text; empty where
    no size is published.
    """
    counts = Counter(study.split for study in studies)
    published = PUBLISHED_SIZES.get((source, split), (None, None, None))

    problems = []
    for name, size in zip(SPLITS, published, strict=True):
        if size not in (None, counts[name]):
            problems.append(f"{name}: {counts[name]}, published {size}")

    return problems


def shuffle_split(rows: int, held_out: float | int, seed: int) -> tuple[RowPositions, RowPositions]:
    """(kept, held out) as ``train_test_split(..., test_size=held_out, random_state=seed)`` orders
    them.

    ``held_out`` is a fraction (rounded up) or a number of rows. Raises PL-D231 where a part would
    be empty.
    """
    held_out_count = math.ceil(held_out * rows) if isinstance(held_out, float) else held_out
    if not 0 < held_out_count < rows:
        problem = f"{rows} rows are too few to hold out {held_out_count}"
        raise PlaceError(problem, code="PL-D231", fix="check the table, or use split=patient")

    # scikit-learn takes the held-out rows from the front of the permutation.
    order = np.random.RandomState(seed).permutation(rows)
    return order[held_out_count:], order[:held_out_count]


def three_parts(rows: int, held_out: float | int, seed: int = 0) -> dict[str, RowPositions]:
    """The two draws of MGCA: hold rows out, then halve them; the FIRST half is test [MGCA]."""
    train, held_out_rows = shuffle_split(rows, held_out, seed)
    test, val = shuffle_split(len(held_out_rows), 0.5, seed)
    return {"train": train, "val": held_out_rows[val], "test": held_out_rows[test]}


def stratified_parts(classes: Sequence[int], seed: int = 42) -> dict[str, RowPositions]:
    """The two draws of BenchX: 70/15/15, each class in proportion, by scikit-learn; the first half
    of the held-out rows is val [BenchX].
    """
    from sklearn.model_selection import train_test_split

    options: dict[str, Any] = {"random_state": seed}
    try:
        train, held_out_rows = train_test_split(
            np.arange(len(classes)), test_size=0.3, stratify=classes, **options
        )
        val, test = train_test_split(
            held_out_rows, test_size=0.5, stratify=np.take(classes, held_out_rows), **options
        )
    except ValueError:
        problem = f"{len(classes)} rows are too few for a split in proportion"
        raise PlaceError(
            problem, code="PL-D231", fix="check the table, or use split=patient"
        ) from None

    return {"train": train, "val": val, "test": test}


def sample_positions(rows: int, count: int, generator: np.random.RandomState) -> RowPositions:
    """Positions as ``DataFrame.sample(n=count, random_state=generator)`` draws them, and
    ``numpy.random.choice``.
    """
    if count > rows:
        problem = f"the table has {rows} rows to draw {count} from"
        raise PlaceError(problem, code="PL-D231", fix="check that the table is whole")

    return generator.permutation(rows)[:count]


def assign_splits(studies: Sequence[Study], parts: Mapping[str, RowPositions]) -> list[Study]:
    """The studies at the positions of each part, in its order."""
    assigned = []
    for split, positions in parts.items():
        assigned += [replace(studies[position], split=split) for position in positions]

    return assigned


def split_by_lists(studies: Sequence[Study], lists: Mapping[str, str | Path]) -> list[Study]:
    """Studies that published lists name, in the order of the lists; others are left out.

    ``lists`` maps a split to a text file with a line for each image: its id, its file name with or
    without suffix, or a path; anything after a blank, tab or comma is ignored. Raises PL-D232 for a
    split of another name, a list that cannot be read or names none of the studies, and a study in
    two splits.
    """
    positions_by_key: dict[str, list[int]] = {}
    for position, study in enumerate(studies):
        for key in {study.image.name, study.image.stem, study.id}:
            positions_by_key.setdefault(key, []).append(position)

    split_of: dict[int, str] = {}
    for split, file in lists.items():
        if split not in SPLITS:
            raise PlaceError(
                f"a list for split '{split}'", code="PL-D232", fix=f"name {', '.join(SPLITS)}"
            )

        named = _read_list(Path(file))
        positions_of_lines = [_look_up(positions_by_key, key) for key in named]
        listed = list(chain.from_iterable(positions_of_lines))
        if not listed:
            problem = f"none of its {len(named)} lines names an image of this source"
            raise PlaceError(
                problem, code="PL-D232", file=file, fix="check which data set the list is for"
            )

        missing = sum(not positions for positions in positions_of_lines)
        if missing:
            _log.warning(
                "%s: %d of %d lines name no image of this source", file, missing, len(named)
            )

        for position in listed:
            if split_of.setdefault(position, split) != split:
                problem = f"an image is in the lists of {split_of[position]} and {split}"
                raise PlaceError(
                    problem, code="PL-D232", file=file, fix="take it out of one of them"
                )

    return [replace(studies[position], split=split) for position, split in split_of.items()]


def _read_list(file: Path) -> list[str]:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise PlaceError(
            "a list that cannot be read", code="PL-D232", file=file, fix="check the path"
        ) from None

    return [line.replace(",", " ").split()[0] for line in lines if line.strip(", \t")]


def _look_up(positions_by_key: Mapping[str, list[int]], key: str) -> list[int]:
    # As it stands, by its file name, or by its file name without suffix.
    name = PurePosixPath(key).name

    return next(
        (
            positions_by_key[key]
            for key in (key, name, PurePosixPath(name).stem)
            if key in positions_by_key
        ),
        [],
    )
