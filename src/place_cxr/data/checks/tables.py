"""Faults of rows and reports: repeated rows, splits that leak, texts that cannot be what was
written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import SPLITS, Study, patient_key
from place_cxr.data.checks.faults import Fault
from place_cxr.text.reports import normalize_sentence, read_report

LONG_REPORT = 10_000  # characters of a report; 112 tokens are about 700
# a text as long as that is rarely written twice: 1 % of 2,697 real reports, many of them normal
MIN_DUPLICATE_WORDS = 40
MAX_FALLBACK_FRACTION = 0.05  # share of reports that may be read without findings or impression
_BREAKS = "\n\r\t\f\v"


def repeat_faults(studies: Sequence[Study], rows: Sequence[int]) -> list[Fault]:
    """PL-D250, rows equal in all that is read; PL-D204, one image or one study with two contents."""
    faults: list[Fault] = []

    images: dict[str, int] = {}
    ids: dict[str, int] = {}
    for position, study in enumerate(studies):
        first_image = images.setdefault(str(study.image), position)
        first_study = ids.setdefault(study.id, position)
        if first_image != position and _image_content(studies[first_image]) == _image_content(
            study
        ):
            faults.append(
                Fault(
                    "PL-D250", rows[position], f"repeats row {rows[first_image]}", rows[first_image]
                )
            )
        elif first_image != position:
            faults.append(
                Fault(
                    "PL-D204",
                    rows[position],
                    f"contradicts row {rows[first_image]}: same image",
                    rows[first_image],
                )
            )
        elif first_study != position and _study_content(studies[first_study]) != _study_content(
            study
        ):
            faults.append(
                Fault(
                    "PL-D204",
                    rows[position],
                    f"contradicts row {rows[first_study]}: same study",
                    rows[first_study],
                )
            )

    return faults


def split_faults(studies: Sequence[Study], rows: Sequence[int]) -> list[Fault]:
    """PL-D207: no split among rows that have one, or a patient or a study in two. PL-D255: nobody
    says who is who.
    """
    faults: list[Fault] = []
    if studies and not any(study.patient for study in studies):
        problem = "no patient is named: a patient with several studies can end in two splits"
        faults.append(Fault("PL-D255", 0, problem))

    if not any(study.split for study in studies):
        return faults

    patients: dict[str, int] = {}
    ids: dict[str, int] = {}
    for position, study in enumerate(studies):
        if study.split not in SPLITS:
            faults.append(Fault("PL-D207", rows[position], "has no split, others have one"))
            continue

        for what, key, first_positions in (
            ("patient", study.patient, patients),
            ("study", study.id, ids),
        ):
            first_position = first_positions.setdefault(key, position) if key else position
            if studies[first_position].split != study.split:
                problem = f"its {what} is in {study.split}, and in {studies[first_position].split} in row {rows[first_position]}"
                faults.append(Fault("PL-D207", rows[position], problem, rows[first_position]))
                break

    return faults


def text_faults(studies: Sequence[Study], rows: Sequence[int]) -> list[Fault]:
    """Reports that are empty, damaged, too long, read by fallback, or another patient's; none where
    nobody has one.
    """
    if not any(study.report.strip() for study in studies):
        return []

    faults: list[Fault] = []

    owners: dict[str, int] = {}
    origins: list[str] = []
    for position, study in enumerate(studies):
        row, text = rows[position], study.report
        try:
            origins.append(read_report(text).origin)
        except PlaceError as error:
            faults.append(Fault("PL-D301", row, error.problem))
            continue

        if lost := sum(map(_is_lost, text)):
            faults.append(Fault("PL-D352", row, f"{lost} lost or control characters"))

        if len(text) > LONG_REPORT:
            faults.append(Fault("PL-D353", row, f"{len(text)} characters"))

        words = normalize_sentence(text)
        if words.count(" ") + 1 >= MIN_DUPLICATE_WORDS:
            first_position = owners.setdefault(words, position)
            if patient_key(studies[first_position]) != patient_key(study):
                split = ", in another split" if studies[first_position].split != study.split else ""
                problem = f"word for word the report of row {rows[first_position]}, another patient's{split}"
                faults.append(Fault("PL-D354", row, problem, rows[first_position]))

    fallback_count = sum(origin in ("last_paragraph", "whole") for origin in origins)
    if origins and fallback_count > MAX_FALLBACK_FRACTION * len(origins):
        problem = f"{fallback_count} of {len(origins)} reports have no findings and no impression and are read whole"
        faults.append(Fault("PL-D351", 0, problem))

    return faults


def _is_lost(character: str) -> bool:
    return character == "\ufffd" or (
        unicodedata.category(character) in ("Cc", "Cs") and character not in _BREAKS
    )


def _image_content(study: Study) -> tuple[object, ...]:
    same = (study.view, study.site, study.age, study.boxes, _values(study.masks.items()))
    return (*_study_content(study), *same)


def _study_content(study: Study) -> tuple[object, ...]:
    """What the images of one study share."""
    return (
        study.report,
        study.patient,
        study.split,
        study.sex,
        _values(study.labels.items()),
        _values(study.said.items()),
    )


def _values(pairs: Iterable[tuple[str, object]]) -> tuple[tuple[str, str], ...]:
    """As text, so that NaN equals NaN."""
    return tuple((name, str(value)) for name, value in pairs)
