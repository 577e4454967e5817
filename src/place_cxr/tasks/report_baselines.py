"""Reports that need no decoder, and how any report is read for scoring.

A decoder that writes no better than the most frequent training report, or than the report of the
nearest training image, has learned nothing worth having.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from place_cxr.core.records import Study
from place_cxr.tasks.task import RowIndices
from place_cxr.text.labeler import label_report
from place_cxr.text.reports import read_report
from place_cxr.text.tokenizer import EncodedReports


def most_frequent_report(reports: EncodedReports, train: RowIndices) -> int:
    """The first of the ``train`` rows whose set of statements is the most frequent."""
    _, first, counts = np.unique(
        np.asarray(reports.report_key[train]), return_index=True, return_counts=True
    )
    return int(train[first[counts == counts.max()].min()])


def nearest_reports(
    rows: RowIndices, train: RowIndices, pooled: Callable[[RowIndices], Tensor]
) -> RowIndices:
    """For each of ``rows`` the training row of the highest cosine between instance vectors."""
    return np.asarray(train[(pooled(rows) @ pooled(train).T).argmax(1)])


def reference_report(study: Study) -> str:
    """A study's report as it is scored: every sentence that is read.

    Raises PlaceError PL-D301 where none is.
    """
    return " ".join(read_report(study.report).sentences)


def label_reports(texts: Sequence[str], names: Sequence[str]) -> list[list[float]]:
    """What each text says of each name: 1, 0, -1 (uncertain) or NaN; equal texts are read once."""
    values_by_report = {}
    for report in set(texts):
        values = label_report(report).values
        values_by_report[report] = [values[name] for name in names]

    return [values_by_report[report] for report in texts]
