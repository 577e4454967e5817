"""Examples of generated reports as a section of a page. They exist only with ``examples=N``."""

from __future__ import annotations

import re
from pathlib import Path

from place_cxr.core.errors import PlaceError
from place_cxr.page.images import picture_data_uri

_EXAMPLES_FOLDER = "examples"  # of a task's result
# Images on one page; each is about 200 kB.
_MAX_EXAMPLES = 12


def examples_section(result_folder: Path) -> str:
    """HTML of the examples in the folder of a report-generation result, in order of number.

    Empty where there are none. It holds pixels of the data and generated text, as the gallery does,
    and no identifier.
    """
    # Files are named 1.png, 2.png, ...: sorted as numbers, since as text 10 comes before 2.
    numbered = [
        file
        for file in (result_folder / _EXAMPLES_FOLDER).glob("*.png")
        if re.fullmatch("[0-9]{1,6}", file.stem)
    ]
    pictures = []
    for file in sorted(numbered, key=lambda file: int(file.stem))[:_MAX_EXAMPLES]:
        try:
            pictures.append(picture_data_uri(file, "image/png"))
        except (OSError, ValueError, PlaceError):
            continue  # of a stranger's folder: what is no picture of it is not shown

    figures = [
        # Inline, so that the page needs no file beside it.
        f'<figure><img alt="Study {number}: radiograph, generated sentences, and a heat map for '
        f'each" style="max-width:100%" src="{picture}"></figure>'
        for number, picture in enumerate(pictures, start=1)
    ]
    if not figures:
        return ""

    return (
        "<section><h3>Reports that the network wrote</h3>"
        "<p>Test images, chosen by their true labels and not by what was written. Beside each "
        "sentence: where the "
        "decoder looked while it wrote it. A bright place is no proof that the sentence is "
        "true.</p>"
        f"{''.join(figures)}</section>"
    )
