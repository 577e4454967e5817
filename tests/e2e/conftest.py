"""``place`` in this process, with everything it writes to the screen, by whatever way."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from place_cxr.cli import console, main

Place = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Place:
    """Run ``place``: exit code, stdout, stderr. Crash logs go to tmp_path/crashes."""
    crashes = tmp_path / "crashes"
    crashes.mkdir()
    monkeypatch.setattr(console.tempfile, "tempdir", str(crashes))

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["place", *map(str, words)])
        logging.getLogger("place_cxr").handlers = []
        with pytest.raises(SystemExit) as stop:
            main.main()
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return run
