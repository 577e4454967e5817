"""The source ``pack``: what it reads was written by ``place data pack`` (test_packs_export.py has
the rest).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.data.packs.export import pack_dataset
from place_cxr.data.sources import SOURCES


def test_a_pack_is_read_and_half_of_one_is_not(phantom: Path, tmp_path: Path) -> None:
    studies = SOURCES["manifest"](phantom)
    pack_dataset(studies, phantom.parent, 16, tmp_path, shard=(1, 1))
    with pytest.raises(PlaceError, match="PL-D410"):
        SOURCES["pack"](tmp_path)
    pack_dataset(studies, phantom.parent, 16, tmp_path)
    back = SOURCES["pack"](tmp_path, columns={"patient": "group"})
    assert [(one.id, one.report, one.split) for one in back] == [
        (one.id, one.report, one.split) for one in studies
    ]
    assert SOURCES["pack"].missing(tmp_path) == ()
