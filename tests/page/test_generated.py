"""Examples of generated reports on a page: all of them, in order, and nothing where there are
none.
"""

from __future__ import annotations

import base64
from pathlib import Path

from place_cxr.page.report_examples import examples_section
from place_cxr.tasks import report_examples


def test_figures_stand_in_order_and_carry_their_bytes(tmp_path: Path) -> None:
    assert examples_section(tmp_path) == ""
    folder = tmp_path / report_examples.EXAMPLES_FOLDER
    folder.mkdir()
    for number in (10, 2, 1):
        (folder / f"{number}.png").write_bytes(b"png %d" % number)
    (folder / "notes.txt").write_text("no figure")
    html = examples_section(tmp_path)
    places = [html.index(base64.b64encode(b"png %d" % number).decode()) for number in (1, 2, 10)]
    assert places == sorted(places) and html.count("<img") == html.count("alt=") == 3
    assert html.startswith("<section>") and html.endswith("</section>") and "http" not in html
