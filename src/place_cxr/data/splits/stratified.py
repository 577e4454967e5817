"""A split by patient that gives each part its share of the rare findings, and the file that keeps
it.

*Rule* (iterative stratification, Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10). A patient has the findings
that are present in any of its studies. Again and again the finding with the fewest undealt patients is taken, and
these, in the order of a hash of seed and patient, are dealt each to the part that still lacks most patients with this
finding (of equal ones, most patients at all). Patients without a finding come last. Unlike with ``split_by_patient``, a
patient may move when others are added: keep the file.
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
from place_cxr.core.records import PRESENT, SPLITS, Study
from place_cxr.data.sources.tables import ColumnChooser, read_table_rows
from place_cxr.data.splits.by_patient import check_splits, hash_splits

_COLUMNS = ("study", "split")


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
    present: dict[str, set[str]] = {}
    for study in studies:
        findings = {
            name for name, value in (study.labels or study.said).items() if value == PRESENT
        }
        present.setdefault(_patient_key(study), set()).update(findings)
    split = _deal_patients(
        {
            patient: present[patient]
            for patient in sorted(present, key=lambda patient: _shuffle_key(seed, patient))
        },
        fractions,
    )
    dealt = Counter(split.values())
    for name, fraction in zip(SPLITS, fractions, strict=True):
        if fraction > 0 and not dealt[name]:
            problem = f"none of {len(present)} patients falls into {name}"
            raise PlaceError(problem, code="PL-D207", fix="use other fractions, or more patients")
    return [replace(study, split=split[_patient_key(study)]) for study in studies]


def _deal_patients(
    present: Mapping[str, Collection[str]], fractions: Sequence[float]
) -> dict[str, str]:
    """Patient -> split; ``present`` maps patients, in order, to their findings."""
    patients_by_finding: dict[str, list[str]] = {}
    for patient, findings in present.items():
        for name in findings:
            patients_by_finding.setdefault(name, []).append(patient)
    patients_lacking = [fraction * len(present) for fraction in fractions]
    findings_lacking = {
        name: [fraction * len(patients) for fraction in fractions]
        for name, patients in patients_by_finding.items()
    }
    split: dict[str, str] = {}

    def deal(patient: str, lacking: Sequence[float]) -> None:
        part = max(range(len(fractions)), key=lambda part: (lacking[part], patients_lacking[part]))
        split[patient] = SPLITS[part]
        patients_lacking[part] -= 1
        for name in present[patient]:
            findings_lacking[name][part] -= 1

    while patients_by_finding:
        undealt = {
            name: [patient for patient in patients if patient not in split]
            for name, patients in patients_by_finding.items()
        }
        patients_by_finding = {name: patients for name, patients in undealt.items() if patients}
        if patients_by_finding:
            name = min(patients_by_finding, key=lambda name: (len(patients_by_finding[name]), name))
            for patient in patients_by_finding.pop(name):
                deal(patient, findings_lacking[name])
    for patient in present:
        if patient not in split:
            deal(patient, patients_lacking)
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
    """The studies with the splits of a file; theirs are put aside.

    Raises PL-D207 for a study that the file lacks or has twice, and where the split is none by
    patient; PL-D201 and PL-D202 for a file that is no such table.
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


def _patient_key(study: Study) -> str:
    return json.dumps(["patient", study.patient] if study.patient else ["study", study.id])


def _shuffle_key(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed} {patient}".encode("utf-8", "surrogatepass")).digest()
