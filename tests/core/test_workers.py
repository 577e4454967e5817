"""A script without ``if __name__ == "__main__":``, which every worker process runs again, ends with
one line.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PHANTOM = """
from place_cxr.phantom import write_phantom
write_phantom("out", 40, 64, 0, workers=2)
"""
PACK = """
from pathlib import Path
from place_cxr.data.packs.cached import pack_pixels
from place_cxr.core.records import Study
pack_pixels([Study(str(n), Path(f"{n}.png"), "") for n in range(40)], 64, Path("cache"), workers=2)
"""


@pytest.mark.fault("D3")
@pytest.mark.parametrize("script", [PHANTOM, PACK], ids=["phantom", "pack"])
def test_a_script_that_its_workers_run_again_ends(script: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert (
        "error[PL-E013] worker processes end before they begin" in last
        and '__name__ == "__main__":' in last
    )
    # Two workers may write at once, so that only whole messages are looked for, and no whole lines.
    assert done.stderr.count("error[PL-E013] worker processes end") >= 2, (
        "a worker's own refusal, and the script's"
    )
    assert not (tmp_path / "out" / "manifest.csv").exists() and not list(
        tmp_path.glob("cache/pixels-*")
    )


def test_under_main_it_runs(tmp_path: Path) -> None:
    guarded = PHANTOM.replace("\nwrite", '\nif __name__ == "__main__":\n    write')
    (tmp_path / "mine.py").write_text(guarded)
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "manifest.csv").read_text().count("images/") == 40
