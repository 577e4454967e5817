"""A split by patient that gives each part its fraction of the rare findings, and the file that
keeps it.

*Rule* (iterative stratification, Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10). A patient
has the findings that are present in any of its studies. In each round the finding with the fewest
patients that have no split yet is taken. These patients, in the order of a hash of seed and
patient, go each to the part that still lacks most patients with this finding (where parts are
equal, most patients at all). Patients without a finding come last. Unlike with
``split_by_patient``, a patient may change its split when others are added: keep the file.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import create_private_text_file
from place_cxr.core.records import PRESENT, SPLITS, Study, patient_key
from place_cxr.data.sources.tables import ColumnChooser, read_table_rows
from place_cxr.data.splits.by_patient import check_splits, hash_splits

_COLUMNS = ("study", "split")
_Patient = tuple[str, str]  # as `patient_key` gives it


def split_stratified(
    studies: Sequence[Study], seed: int, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> list[Study]:
    """The studies, in order, with new splits; all studies of a patient (images of a study, without
    patient) in one.

    Raises PL-C001 for fractions that are negative or do not sum to 1, PL-D207 where a wanted part
    stays empty.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise PlaceError(
            f"split fractions {fractions}", code="PL-C001", fix="give three that sum to 1"
        )

    findings: dict[_Patient, set[str]] = {}
    for study in studies:
        labels = study.labels or study.said
        present = {name for name, value in labels.items() if value == PRESENT}
        findings.setdefault(patient_key(study), set()).update(present)

    # The order of a hash: it does not depend on the order of the table.
    shuffled = sorted(findings, key=lambda patient: _shuffle_key(seed, patient))

    split = _assign_patients({patient: findings[patient] for patient in shuffled}, fractions)

    patients_per_part = Counter(split.values())
    for name, fraction in zip(SPLITS, fractions, strict=True):
        if fraction > 0 and not patients_per_part[name]:
            problem = f"none of {len(findings)} patients falls into {name}"
            raise PlaceError(problem, code="PL-D207", fix="use other fractions, or more patients")

    return [replace(study, split=split[patient_key(study)]) for study in studies]


def _assign_patients(
    findings: Mapping[_Patient, Collection[str]], fractions: Sequence[float]
) -> dict[_Patient, str]:
    """Patient -> split; ``findings`` maps patients, in order, to what they have."""
    waiting: dict[str, list[_Patient]] = {}  # finding -> patients that have no split yet
    for patient, names in findings.items():
        for name in names:
            waiting.setdefault(name, []).append(patient)

    # How many patients each part still lacks: of all, and of each finding. Fractions of a patient
    # stay, so a part may end one above or below its number.
    patients_lacking = [fraction * len(findings) for fraction in fractions]
    findings_lacking = {}
    for name, patients in waiting.items():
        findings_lacking[name] = [fraction * len(patients) for fraction in fractions]

    split: dict[_Patient, str] = {}

    def assign(patient: _Patient, lacking: Sequence[float]) -> None:
        part = max(range(len(fractions)), key=lambda part: (lacking[part], patients_lacking[part]))
        split[patient] = SPLITS[part]
        patients_lacking[part] -= 1
        for name in findings[patient]:
            findings_lacking[name][part] -= 1

    while waiting:
        for name, patients in list(waiting.items()):
            waiting[name] = [patient for patient in patients if patient not in split]
            if not waiting[name]:
                del waiting[name]

        if waiting:
            # The rarest finding first: its few patients leave the least freedom.
            rarest = min(waiting, key=lambda name: (len(waiting[name]), name))
            for patient in waiting.pop(rarest):
                assign(patient, findings_lacking[rarest])

    for patient in findings:
        if patient not in split:
            assign(patient, patients_lacking)

    return split


def write_splits(studies: Sequence[Study], out: Path) -> str:
    """Study and split, one a line, sorted, into a file only this user may read; returns the digest
    of the split.
    """
    check_splits(studies)
    with create_private_text_file(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(sorted({(study.id, study.split) for study in studies}))

    return hash_splits(studies)


def apply_splits(studies: Sequence[Study], file: Path) -> list[Study]:
    """The studies with the splits of a file instead of their own.

    Raises PL-D207 for a study that the file lacks or has twice, and where a patient is in two
    splits; PL-D201 and PL-D202 for a file that is no such table.
    """
    split: dict[str, str] = {}
    for line, cells in read_table_rows(file, "utf-8-sig", _columns(file)):
        if split.setdefault(cells["study"], cells["split"]) != cells["split"]:
            problem = f"line {line}: a study that is in another split already"
            raise PlaceError(
                problem, code="PL-D207", file=file, fix="make the splits anew: place data split"
            )

    missing = [row for row, study in enumerate(studies, start=1) if study.id not in split]
    if missing:
        problem = f"{len(missing)} of {len(studies)} studies are not in it, first row {missing[0]}"
        raise PlaceError(
            problem, code="PL-D207", file=file, fix="make the splits anew: place data split"
        )

    assigned = [replace(study, split=split[study.id]) for study in studies]
    check_splits(assigned)

    return assigned


def _columns(file: Path) -> ColumnChooser:
    def choose(header: Sequence[str]) -> dict[str, str]:
        if not set(_COLUMNS) <= set(header):
            raise PlaceError(
                "no columns 'study' and 'split'",
                code="PL-D201",
                file=file,
                fix="name a file of splits",
            )

        return dict(zip(_COLUMNS, _COLUMNS, strict=True))

    return choose


def _shuffle_key(seed: int, patient: _Patient) -> bytes:
    text = f"{seed} {json.dumps(patient)}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
