"""Files that are complete or absent, and private where they must be."""

import stat
from pathlib import Path

import pytest

from place_cxr.core.files import PRIVATE_MODE, atomic_file, create_private_text_file


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="injected"), atomic_file(path) as file:
        file.write(b"new")
        raise ValueError("injected")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]

    with atomic_file(path, PRIVATE_MODE) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_private_text_is_utf8_with_its_own_line_ends(tmp_path: Path) -> None:
    with create_private_text_file(tmp_path / "text") as file:
        file.write("\u00e4\n\r\n")
    assert (tmp_path / "text").read_bytes() == b"\xc3\xa4\n\r\n"
    assert stat.S_IMODE((tmp_path / "text").stat().st_mode) == 0o600
