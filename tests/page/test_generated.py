"""Examples of generated reports on a page: all of them, in order, and nothing where there are
none.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from PIL import Image

from place_cxr.page.report_examples import examples_section
from place_cxr.tasks import report_examples


def test_figures_stand_in_order_and_carry_their_bytes(tmp_path: Path) -> None:
    assert examples_section(tmp_path) == ""
    folder = tmp_path / report_examples.EXAMPLES_FOLDER
    folder.mkdir()
    for number in (10, 2, 1):
        Image.effect_noise((64, 64), number).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no figure")
    html = examples_section(tmp_path)
    contents = [(folder / f"{number}.png").read_bytes() for number in (1, 2, 10)]
    places = [html.index(base64.b64encode(content).decode()) for content in contents]
    assert places == sorted(places) and html.count("<img") == html.count("alt=") == 3
    assert html.startswith("<section>") and html.endswith("</section>") and "http" not in html


@pytest.mark.parametrize("kind", ["link", "folder link", "text", "jpeg", "fifo"])
def test_what_is_no_figure_of_the_folder_is_not_shown(tmp_path: Path, kind: str) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "result" / "examples"
    secret.mkdir()
    Image.effect_noise((64, 64), 9).save(secret / "0.png")
    folder.parent.mkdir()
    if kind == "folder link":
        folder.symlink_to(secret)
    else:
        folder.mkdir()
    if kind == "link":
        (folder / "0.png").symlink_to(secret / "0.png")
    elif kind == "text":
        (folder / "0.png").write_text("root:x:0:0")
    elif kind == "jpeg":
        Image.effect_noise((64, 64), 9).save(folder / "0.png", format="JPEG")
    elif kind == "fifo":
        os.mkfifo(folder / "0.png")

    assert examples_section(folder.parent) == ""
