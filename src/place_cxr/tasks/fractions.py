"""Which patients train, validate and test: nested fractions of the training patients, or folds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.records import Study

_RowIndices = NDArray[np.int64]
# Source: [PRIOR].
FOLD_COUNT = 5


def nested_fraction_rows(studies: Sequence[Study], fraction: float, seed: int) -> _RowIndices:
    """Rows of the first ``fraction`` of the patients, in an order drawn by ``seed``.

    Fractions are nested (the 1 % lie within the 10 %) and hold whole patients. A study without a
    patient counts as a patient of its own.
    """
    owners, patients = _patients_by_row(studies)
    order = np.random.default_rng(seed).permutation(len(patients))
    kept = {patients[i] for i in order[: max(1, math.ceil(fraction * len(patients)))]}

    return np.array([row for row, owner in enumerate(owners) if owner in kept], dtype=np.int64)


def fold_splits(studies: Sequence[Study], seed: int) -> dict[str, _RowIndices]:
    """Rows by split for the ``seed``-th of five folds; seeds 0 to 4 test each patient once.

    One fold is for test, the next for validation, three are for training [PRIOR: 60/20/20]. Seeds 5
    to 9 test each patient once more, in folds that are drawn again.
    """
    owners, patients = _patients_by_row(studies)
    order = np.random.default_rng(seed // FOLD_COUNT).permutation(len(patients))
    fold = {patients[patient]: position % FOLD_COUNT for position, patient in enumerate(order)}
    # The seed turns the folds: offset 0 is for test, 1 for validation, 2 to 4 for training.
    fold_offset = np.array([(fold[owner] - seed) % FOLD_COUNT for owner in owners])
    test, val = fold_offset == 0, fold_offset == 1

    return {
        "test": np.flatnonzero(test),
        "val": np.flatnonzero(val),
        "train": np.flatnonzero(~test & ~val),
    }


def _patients_by_row(studies: Sequence[Study]) -> tuple[list[str], list[str]]:
    owners = [study.patient or f"\0{row}" for row, study in enumerate(studies)]
    return owners, sorted(set(owners))
