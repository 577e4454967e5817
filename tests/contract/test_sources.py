"""Every entry of SOURCES: documented, declared, torch-free, and refusing what is not there in one
coded line.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.data.sources import SOURCES
from place_cxr.data.sources.source import PROVIDES

TESTS = Path(__file__).parents[1] / "data" / "sources"


@pytest.mark.parametrize("name", SOURCES)
def test_the_card_says_what_a_user_has_to_know(name: str) -> None:
    card = " ".join(SOURCES[name].card.split())  # a heading may stand across two lines
    assert len(SOURCES[name].about) > 20
    for heading in ("Licence", "ow to get it", "Layout", "ounts", "Splits:", "Traps:"):
        assert heading in card, f"the data card of {name} has no '{heading}'"
    assert re.search(r"[Ll]abels|columns", card)
    for split in SOURCES[name].splits:
        assert f"``{split}``" in card, f"the data card of {name} does not explain split '{split}'"
    for option in SOURCES[name].options:
        about = card + (SOURCES[name].read.__doc__ or "")
        assert option in about or option in ("encoding",), (
            f"{name} does not explain option '{option}'"
        )


@pytest.mark.parametrize("name", SOURCES)
def test_what_it_provides_and_needs_is_declared(name: str) -> None:
    source = SOURCES[name]
    assert source.provides and set(source.provides) <= set(PROVIDES)
    assert source.needs and all(source.needs)
    if source.splits and "split" in inspect.signature(source.read).parameters:
        default = inspect.signature(source.read).parameters["split"].default
        assert default in ("", source.splits[0])


@pytest.mark.parametrize("name", SOURCES)
def test_it_has_a_test_of_its_own(name: str) -> None:
    assert (TESTS / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(
    "make", [lambda folder: folder / "nowhere", lambda folder: folder], ids=["absent", "empty"]
)
def test_nothing_to_read_is_one_coded_line(name: str, make: object, tmp_path: Path) -> None:
    with pytest.raises(PlaceError) as refused:
        SOURCES[name](make(tmp_path))  # type: ignore[operator]
    assert refused.value.exit_code in (2, 4)
    assert "\n" not in str(refused.value)
    assert "Fix: " in str(refused.value)


@pytest.mark.parametrize("name", SOURCES)
def test_a_wrong_option_or_split_is_named_with_the_right_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(PlaceError) as refused:
        SOURCES[name](tmp_path, viws=["PA"])
    assert (refused.value.code, "split_lists" in str(refused.value)) == ("PL-C001", True)
    with pytest.raises(PlaceError) as refused:
        SOURCES[name](tmp_path, split="mcga")
    assert refused.value.code in ("PL-C001", "PL-C002")


@pytest.mark.parametrize("name", SOURCES)
def test_an_empty_folder_misses_what_it_needs(name: str, tmp_path: Path) -> None:
    assert len(SOURCES[name].missing(tmp_path)) == len(SOURCES[name].needs)


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"manifest", "pack", "folder", "iu_xray"}))
def test_what_is_declared_is_what_is_looked_for(name: str, tmp_path: Path) -> None:
    """The four left out have words of their own for what is not there."""
    with pytest.raises(PlaceError) as refused:
        SOURCES[name](tmp_path)
    assert SOURCES[name].needs[0][0] in str(refused.value)


def test_no_source_needs_torch() -> None:
    code = (
        "import sys; import place_cxr.data.sources; "
        "assert not {'torch', 'transformers', 'sklearn', 'PIL', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)
