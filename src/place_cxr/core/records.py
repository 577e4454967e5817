"""What a hospital gives us.

Glossary. *study*: one examination, here one image of it with the report that was written for it.
*report*: radiology text. *observation*: one statement of a report. *finding*: a named condition.
*source*: an adapter from files on disk to studies. *split*: train, val or test, by patient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SPLITS = ("train", "val", "test")

PRESENT = 1.0
ABSENT = 0.0
UNCERTAIN = -1.0
NOT_MENTIONED = math.nan  # never 0: what to do with it is the task's decision


@dataclass(frozen=True, slots=True)
class Box:
    """A finding's box in pixels of the original image: ``x0 <= x < x1``, ``y0 <= y < y1``, origin
    top left.
    """

    finding: str
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class RunLengths:
    """A mask of ``height`` x ``width`` pixels that stands in a table as text; several texts are
    united.

    A text is pairs "gap length": how many pixels are skipped after the end of the run before, and
    how many are inside. Pixels are counted down the columns, the leftmost column first. Without a
    text the mask is empty.
    """

    texts: tuple[str, ...]
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Study:
    """One image with its report; everything beyond ``id``, ``image`` and ``report`` may be empty.

    ``labels`` says what is there, ``said`` what the report says; both map finding to PRESENT,
    ABSENT, UNCERTAIN or NOT_MENTIONED (NaN); a finding that is not a key has not been looked at.
    ``masks`` maps finding to a file of the image's size, non-zero inside, or to the runs of one;
    ``data.rle.load_mask`` reads both.
    """

    id: str
    image: Path
    report: str
    patient: str = ""
    split: str = ""
    view: str = ""
    sex: str = ""
    age: float | None = None
    site: str = ""
    labels: Mapping[str, float] = field(default_factory=dict)
    said: Mapping[str, float] = field(default_factory=dict)
    masks: Mapping[str, Path | RunLengths] = field(default_factory=dict)
    boxes: tuple[Box, ...] = ()
