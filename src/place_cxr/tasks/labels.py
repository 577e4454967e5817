"""Label tables by name, and who is in which split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.records import NOT_MENTIONED, Study
from place_cxr.metrics.classification import UncertainPolicy, binary_labels

UNCERTAIN_POLICY: UncertainPolicy = "ignore"  # an uncertain label is no truth to score against


def label_table(
    studies: Sequence[Study], findings: Sequence[str], uncertain: UncertainPolicy = UNCERTAIN_POLICY
) -> NDArray[np.float64]:
    """What is there [N, M], in the order of ``findings``: 1, 0 or NaN where it is not known.

    Raises:
        PlaceError: PL-D221 on a value that is no label.
    """
    rows = [[study.labels.get(finding, NOT_MENTIONED) for finding in findings] for study in studies]
    return binary_labels(
        np.array(rows, dtype=np.float64).reshape(len(studies), len(findings)), uncertain
    )


def finding_names(studies: Sequence[Study]) -> list[str]:
    """All findings that any study has a label for, in order of appearance."""
    return list(dict.fromkeys(finding for study in studies for finding in study.labels))
