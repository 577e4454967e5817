"""Examples of generated reports as a section of a page. They exist only with ``examples=N``."""

from __future__ import annotations

import base64
from pathlib import Path

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
        file for file in (result_folder / _EXAMPLES_FOLDER).glob("*.png") if file.stem.isdigit()
    ]
    files = sorted(numbered, key=lambda file: int(file.stem))

    figures = [
        # Inline, so that the page needs no file beside it.
        f'<figure><img alt="Study {number}: radiograph, generated sentences, and a heat map for '
        f'each" style="max-width:100%" '
        f'src="data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"></figure>'
        for number, file in enumerate(files[:_MAX_EXAMPLES], start=1)
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
