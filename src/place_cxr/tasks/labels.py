"""Label tables by name, and who is in which split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.records import NOT_MENTIONED, Study
from place_cxr.metrics.classification import UncertainPolicy, binary_labels

# An uncertain label is no truth to score against.
UNCERTAIN_POLICY: UncertainPolicy = "ignore"


def label_table(
    studies: Sequence[Study], findings: Sequence[str], uncertain: UncertainPolicy = UNCERTAIN_POLICY
) -> NDArray[np.float64]:
    """What is there [N, M], in the order of ``findings``: 1, 0 or NaN where it is not known.

    Raises:
        PlaceError: PL-D221 on a value that is no label.
    """
    return binary_labels(raw_labels(studies, findings), uncertain)


def raw_labels(studies: Sequence[Study], findings: Sequence[str]) -> NDArray[np.float64]:
    """Labels [N, M] as the source gives them: 1, 0, -1 (uncertain), or NaN where not mentioned."""
    table = np.full((len(studies), len(findings)), NOT_MENTIONED, dtype=np.float64)
    for row, study in enumerate(studies):
        for column, finding in enumerate(findings):
            table[row, column] = study.labels.get(finding, NOT_MENTIONED)

    return table


def finding_names(studies: Sequence[Study]) -> list[str]:
    """All findings that any study has a label for, in order of appearance."""
    names: dict[str, None] = {}
    for study in studies:
        names |= dict.fromkeys(study.labels)

    return list(names)
