"""Splits into train, val and test by patient: how they are made, checked and identified."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import SPLITS, Study, patient_key

_SHOWN = 3
_log = logging.getLogger(__name__)
_FIX_BY_PATIENT = "place data split --by patient"


def split_by_patient(
    studies: Sequence[Study], seed: int, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> list[Study]:
    """The studies, in order, with splits; all studies of a patient (images of a study, without
    patient) in one.

    The split depends on a hash of seed and patient alone, so it does not change when patients are
    added; the fractions are met on average. Raises PL-D207 where a study has a split already or a
    wanted split stays empty, PL-C001 for fractions that are negative or do not sum to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise PlaceError(
            f"split fractions {fractions}", code="PL-C001", fix="give three that sum to 1"
        )

    already_split = [row for row, study in enumerate(studies, start=1) if study.split]
    if already_split:
        problem = (
            f"{len(already_split)} of {len(studies)} studies have a split already, "
            f"first row {already_split[0]}"
        )
        raise PlaceError(problem, code="PL-D207", fix="use their split, or leave its column out")

    # Edges between the parts. The last part that is wanted has none, so that a sum of fractions
    # just below 1 sends nobody beyond it.
    edges = list(accumulate(fractions))

    last = max(index for index, fraction in enumerate(fractions) if fraction > 0)
    with_split = []
    for study in studies:
        index = _split_index(study, seed, edges[:last])
        with_split.append(replace(study, split=SPLITS[index]))

    for name, fraction in zip(SPLITS, fractions, strict=True):
        if fraction > 0 and not any(study.split == name for study in with_split):
            patients = len({patient_key(study) for study in studies})
            problem = f"none of {patients} patients falls into {name}"
            fix = "use another seed or fraction, or write a split column"
            raise PlaceError(problem, code="PL-D207", fix=fix)

    return with_split


def check_splits(studies: Sequence[Study], *, allow_overlap: bool = False) -> None:
    """PL-D207, with example rows (from 1, in the order given), where splits cannot be trusted.

    That is: a split of another name, splits for some studies only, or a patient, a study or an
    image file in two splits. ``allow_overlap`` turns the last three into a warning: it is for a
    published split that has this fault and must stay comparable.
    """
    unknown = [
        row for row, study in enumerate(studies, start=1) if study.split not in ("", *SPLITS)
    ]
    if unknown:
        raise PlaceError(
            _describe_rows("have an unknown split", unknown, studies),
            code="PL-D207",
            fix=f"write {', '.join(SPLITS)}",
        )

    unset = [row for row, study in enumerate(studies, start=1) if not study.split]
    if 0 < len(unset) < len(studies):
        raise PlaceError(
            _describe_rows("have no split", unset, studies), code="PL-D207", fix=_FIX_BY_PATIENT
        )

    try:
        _check_apart("patient", [study.patient for study in studies], studies)
        _check_apart("study", [study.id for study in studies], studies)
        _check_apart("image", [str(study.image) for study in studies], studies)
    except PlaceError as fault:
        if not allow_overlap:
            raise
        _log.warning("as published: %s", fault.problem)


def hash_splits(studies: Iterable[Study]) -> str:
    """SHA-256, in hex, of the sorted pairs (id, split), so in any order of the studies."""
    pairs = sorted((study.id, study.split) for study in studies)
    return hashlib.sha256("\n".join(json.dumps(pair) for pair in pairs).encode()).hexdigest()


def _split_index(study: Study, seed: int, edges: Sequence[float]) -> int:
    # The first 64 bits of the hash are a position in [0, 1); the part is how many edges lie below.
    text = json.dumps([seed, *patient_key(study)])
    position = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return sum(position >= edge for edge in edges)


def _check_apart(what: str, keys: Sequence[str], studies: Sequence[Study]) -> None:
    """PL-D207 where a key (but the empty one) lies in two splits; ``keys`` are one a study."""
    splits: dict[str, set[str]] = {}
    for key, study in zip(keys, studies, strict=True):
        splits.setdefault(key, set()).add(study.split)

    overlapping = [row for row, key in enumerate(keys, start=1) if key and len(splits[key]) > 1]
    if overlapping:
        example = keys[overlapping[0] - 1]
        example_rows = [row for row, key in enumerate(keys, start=1) if key == example]
        summary = _describe_rows(f"whose {what} is in two splits", overlapping, studies)
        problem = f"{summary}; one {what} is in rows {_first_rows(example_rows)}"
        raise PlaceError(problem, code="PL-D207", fix=_FIX_BY_PATIENT)


def _describe_rows(what: str, rows: Sequence[int], studies: Sequence[Study]) -> str:
    return f"{len(rows)} of {len(studies)} rows {what}, first rows {_first_rows(rows)}"


def _first_rows(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows[:_SHOWN]))
