"""Studies as a hospital provides them: the records that every other part reads.

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

# The values that the label tables of CheXpert and MIMIC-CXR hold.
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
    """A mask of ``height`` x ``width`` pixels, stored in a table as text; the mask is the union of
    its texts.

    A text is pairs "gap length": how many pixels are skipped after the end of the previous run, and
    how many are inside. Pixels are counted down the columns, the leftmost column first. Without a
    text the mask is empty.
    """

    texts: tuple[str, ...]
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Study:
    """One image with its report; everything beyond ``id``, ``image`` and ``report`` may be empty.

    ``labels`` holds what the image shows, ``said`` what the report states; both map finding to
    PRESENT, ABSENT, UNCERTAIN or NOT_MENTIONED (NaN). A finding that was not annotated is no key.
    ``masks`` maps finding to a file of the image's size, non-zero inside, or to run lengths;
    ``images.masks.load_mask`` reads both.
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


def patient_key(study: Study) -> tuple[str, str]:
    """Whose study it is. A study without a patient counts as a patient of its own; its images share
    the key.

    The kind in front keeps a patient and a study of equal names apart. Where a random order was
    drawn from other keys, they stay: `tasks.fractions`, `metrics.intervals` and the shuffled
    reports of `pretrain`.
    """
    return ("patient", study.patient) if study.patient else ("study", study.id)
