"""A lookup that fails with the right names."""

from __future__ import annotations

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.registry import did_you_mean, pick


def test_pick_gives_the_entry() -> None:
    assert pick({"a": 1}, "a", "loss") == 1


def test_wrong_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(PlaceError) as refused:
        pick({"pathology_pair": 1, "instance": 2}, "patology_pair", "loss")
    assert refused.value.exit_code == 2
    text = str(refused.value)
    assert "unknown loss 'patology_pair'. Did you mean 'pathology_pair'?" in text
    assert text.endswith("choose one of instance, pathology_pair")


def test_nothing_near_is_no_guess() -> None:
    assert did_you_mean("zzz", ["instance"]) == ""
