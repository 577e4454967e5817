"""A data card as one HTML file, in the style of the results page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from place_cxr.core.files import create_private_text_file, make_private_folder
from place_cxr.page.write import page_templates

CARD_HTML, CARD_JSON = "card.html", "card.json"


def write_card_page(
    card: Mapping[str, Any], out: Path, images: Sequence[NDArray[np.float32]] = ()
) -> Path:
    """Write ``card.json`` and ``card.html`` into the folder ``out``; returns the path of the page.

    ``images`` [n, n] of grey 0..255 are put on the page. They may be pixels of patients, so only
    the user can read the folder and its files.
    """
    make_private_folder(out)
    with create_private_text_file(out / CARD_JSON) as file:
        json.dump(card, file, indent=1, ensure_ascii=False, allow_nan=False)

    template = page_templates().get_template("card.html.j2")
    page = template.render(card=card, pictures=[_png_data_uri(image) for image in images])
    with create_private_text_file(out / CARD_HTML) as file:
        file.write(page)

    return out / CARD_HTML


def _png_data_uri(image: NDArray[np.float32]) -> str:
    # Grey values are floats after resizing; PNG has whole numbers.
    buffer = io.BytesIO()
    Image.fromarray(np.rint(np.clip(image, 0, 255)).astype(np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
