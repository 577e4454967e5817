"""Faults of rows and reports: repeated rows, splits that leak, damaged texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import SPLITS, Study, patient_key
from place_cxr.data.checks.faults import Fault
from place_cxr.text.reports import normalize_sentence, read_report

LONG_REPORT = 10_000  # characters; the 112 tokens that a model reads are about 700
# So long a text is rarely written twice: 1 % of 2,697 real reports, many of them normal.
MIN_DUPLICATE_WORDS = 40
MAX_FALLBACK_FRACTION = 0.05  # of reports may be read without findings or impression
_BREAKS = "\n\r\t\f\v"


def repeat_faults(studies: Sequence[Study], rows: Sequence[int]) -> list[Fault]:
    """PL-D250: a row that repeats an earlier one. PL-D204: one image or study with two contents."""
    faults: list[Fault] = []

    def add(code: str, position: int, first: int, problem: str) -> None:
        faults.append(Fault(code, rows[position], problem, other=rows[first]))

    images: dict[str, int] = {}  # image file -> position of its first row
    ids: dict[str, int] = {}  # study id -> position of its first row
    for position, study in enumerate(studies):
        first_image = images.setdefault(str(study.image), position)
        first_study = ids.setdefault(study.id, position)
        earlier = studies[first_image]
        if first_image != position and _image_content(earlier) == _image_content(study):
            add("PL-D250", position, first_image, f"repeats row {rows[first_image]}")
        elif first_image != position:
            problem = f"contradicts row {rows[first_image]}: same image"
            add("PL-D204", position, first_image, problem)
        elif _study_content(studies[first_study]) != _study_content(study):
            problem = f"contradicts row {rows[first_study]}: same study"
            add("PL-D204", position, first_study, problem)

    return faults


def split_faults(studies: Sequence[Study], rows: Sequence[int]) -> list[Fault]:
    """PL-D207: a row without split where others have one, or a patient or a study in two splits.
    PL-D255: no row names a patient.
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
                first_row, first_split = rows[first_position], studies[first_position].split
                problem = f"its {what} is in {study.split}, and in {first_split} in row {first_row}"
                faults.append(Fault("PL-D207", rows[position], problem, first_row))
                break

    return faults


def text_faults(studies: Sequence[Study], rows: Sequence[int]) -> list[Fault]:
    """Reports that are empty, damaged, too long, read by fallback, or equal to another patient's.

    Empty where no study has a report.
    """
    if not any(study.report.strip() for study in studies):
        return []

    faults: list[Fault] = []

    owners: dict[str, int] = {}  # normalized text -> position of its first study
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
                first_row = rows[first_position]
                split = ", in another split" if studies[first_position].split != study.split else ""
                problem = f"word for word the report of row {first_row}, another patient's{split}"
                faults.append(Fault("PL-D354", row, problem, first_row))

    fallback_count = sum(origin in ("last_paragraph", "whole") for origin in origins)
    if origins and fallback_count > MAX_FALLBACK_FRACTION * len(origins):
        problem = (
            f"{fallback_count} of {len(origins)} reports have no findings and no impression and "
            f"are read whole"
        )
        faults.append(Fault("PL-D351", 0, problem))

    return faults


def _is_lost(character: str) -> bool:
    # U+FFFD stands for bytes that an earlier program could not decode; Cc and Cs are control
    # characters and surrogates.
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
    """Values as text, so that NaN equals NaN."""
    return tuple((name, str(value)) for name, value in pairs)
