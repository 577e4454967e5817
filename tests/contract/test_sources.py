"""Every entry of SOURCES: documented, torch-free, and refusing what is not there in one coded line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from place_cxr.data.sources import SOURCES
from place_cxr.errors import PlaceError


@pytest.mark.parametrize("name", SOURCES)
def test_first_line_says_what_it_reads(name: str) -> None:
    assert len((SOURCES[name].__doc__ or "").strip().splitlines()[0]) > 20


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("make", [lambda folder: folder / "nowhere", lambda folder: folder], ids=["absent", "empty"])
def test_nothing_to_read_is_one_coded_line(name: str, make: object, tmp_path: Path) -> None:
    with pytest.raises(PlaceError) as refused:
        SOURCES[name](make(tmp_path))  # type: ignore[operator]
    assert refused.value.exit_code in (2, 4)
    assert "\n" not in str(refused.value)
    assert "Fix: " in str(refused.value)


def test_no_source_needs_torch() -> None:
    code = "import sys; import place_cxr.data.sources; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)
