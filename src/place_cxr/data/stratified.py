"""A split by patient that gives each part its share of the rare findings, and the file that keeps it.

*Rule.* A patient belongs to the finding, present in any of its studies, that the fewest patients have; without one, to
none. Patients are put in order of this finding, the rarest first, and within it of a hash of seed and patient; each in
turn is dealt to the part that is furthest below its share. So the whole and every finding meet the shares to within a
few patients. Unlike ``split_by_patient``, a patient may move when others are added: keep the file.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from place_cxr.data.sources.tables import Choose, rows
from place_cxr.data.splits import check_splits, digest
from place_cxr.data.store import private_text
from place_cxr.errors import PlaceError
from place_cxr.records import PRESENT, SPLITS, Study

_COLUMNS = ("study", "split")


def split_stratified(
    studies: Sequence[Study], seed: int, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> list[Study]:
    """The studies, in order, with new splits; all studies of a patient (images of a study, without patient) in one.

    Raises PL-C001 for fractions that are negative or do not sum to 1, PL-D207 where a wanted part stays empty.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise PlaceError(f"split fractions {fractions}", code="PL-C001", fix="give three that sum to 1")
    present: dict[str, set[str]] = {}
    for study in studies:
        found = {name for name, value in (study.labels or study.said).items() if value == PRESENT}
        present.setdefault(_person(study), set()).update(found)
    patients = Counter(name for found in present.values() for name in found)
    order = sorted(present, key=lambda who: (*_rarest(present[who], patients), _shuffle(seed, who)))
    dealt = [0, 0, 0]
    split: dict[str, str] = {}
    for place, who in enumerate(order, start=1):
        part = max(range(3), key=lambda part: fractions[part] * place - dealt[part])
        dealt[part] += 1
        split[who] = SPLITS[part]
    for name, share, count in zip(SPLITS, fractions, dealt, strict=True):
        if share > 0 and not count:
            problem = f"none of {len(order)} patients falls into {name}"
            raise PlaceError(problem, code="PL-D207", fix="use other fractions, or more patients")
    return [replace(study, split=split[_person(study)]) for study in studies]


def write_splits(studies: Sequence[Study], out: Path) -> str:
    """Study and split, one a line, sorted, into a file only this user may read; returns the digest of the split."""
    check_splits(studies)
    with private_text(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(sorted({(study.id, study.split) for study in studies}))
    return digest(studies)


def with_splits(studies: Sequence[Study], file: Path) -> list[Study]:
    """The studies with the splits of a file; theirs are put aside.

    Raises PL-D207 for a study that the file lacks or has twice, and where the split is none by patient; PL-D201 and
    PL-D202 for a file that is no such table.
    """
    split: dict[str, str] = {}
    for line, cells in rows(file, "utf-8-sig", _columns(file)):
        if split.setdefault(cells["study"], cells["split"]) != cells["split"]:
            problem = f"line {line}: a study that is in another split already"
            raise PlaceError(problem, code="PL-D207", file=file, fix="make the splits anew: place data split")
    missing = [row for row, study in enumerate(studies, start=1) if study.id not in split]
    if missing:
        problem = f"{len(missing)} of {len(studies)} studies are not in it, first row {missing[0]}"
        raise PlaceError(problem, code="PL-D207", file=file, fix="make the splits anew: place data split")
    found = [replace(study, split=split[study.id]) for study in studies]
    check_splits(found)
    return found


def _columns(file: Path) -> Choose:
    def choose(header: Sequence[str]) -> dict[str, str]:
        if not set(_COLUMNS) <= set(header):
            raise PlaceError("no columns 'study' and 'split'", code="PL-D201", file=file, fix="name a file of splits")
        return dict(zip(_COLUMNS, _COLUMNS, strict=True))

    return choose


def _person(study: Study) -> str:
    return json.dumps(["patient", study.patient] if study.patient else ["study", study.id])


def _rarest(found: set[str], patients: Counter[str]) -> tuple[float, str]:
    return min(((patients[name], name) for name in found), default=(float("inf"), ""))


def _shuffle(seed: int, who: str) -> bytes:
    return hashlib.sha256(f"{seed} {who}".encode("utf-8", "surrogatepass")).digest()
