"""What is kept of a task's predictions names nobody."""

from __future__ import annotations

import numpy as np

from place_cxr.core.records import Study
from place_cxr.tasks.predictions import common_columns


def test_free_text_that_few_patients_share_is_not_kept(tmp_path):
    """Four patients of one ward, five of another, and a name where a view should stand."""
    studies = [
        Study(
            f"s{n}",
            tmp_path,
            "",
            f"p{n}",
            "test",
            view="Jane Roe" if n == 0 else "PA",
            site="A" if n < 4 else "B",
        )
        for n in range(9)
    ]
    columns = common_columns([*studies, studies[0]], np.arange(10))
    assert columns["view"] == ["other", *["PA"] * 8, "other"]
    assert columns["site"] == [*["other"] * 4, *["B"] * 5, "other"]
