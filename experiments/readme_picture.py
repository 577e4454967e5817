"""One picture for README.md from the gallery of a phantom run: three studies, each with a sentence
and its heat map.

    python experiments/readme_picture.py runs/demo -o picture.png

Nothing is picked by how it came out: findings are gone through in the order of STATED, those first
that fill much of a picture, and of each the gallery's first study counts that outlines it and
states it.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from place_cxr.core.errors import PlaceError
from place_cxr.images.read import read_image

# How a report states a finding; a sentence with a word of DENIED states something else.
STATED = {
    "Pleural Effusion": r"effusion|pleural fluid",
    "Cardiomegaly": r"cardiomegaly|enlarge",
    "Pneumothorax": r"pneumothora",
    "Edema": r"edema",
    "Consolidation": r"consolidation|pneumonia|airspace",
    "Atelectasis": r"atelecta",
    "Emphysema": r"emphysema",
    "Nodule": r"nodul|\bmass\b",
    "Pacemaker": r"pacemaker|pacing",
}
DENIED = r"\b(no|not|nor|without|negative|free|resolved|removed|normal|unremarkable|cleared)\b"
COUNT = 3
WIDTH, MARGIN, GAP, TIGHT = 1200, 18, 26, 6
PANEL = (WIDTH - 2 * MARGIN - (COUNT - 1) * GAP - COUNT * TIGHT) // (2 * COUNT)
BACK, INK, SOFT, LINE = (18, 22, 26), (236, 239, 242), (172, 182, 192), (90, 209, 255)
HEAD, TEXT = 84, 19  # pixels: of the lines above the pictures, of letters
MOST_BYTES = 200_000
_FINE = 4  # lines are drawn this many times larger


class Shown(NamedTuple):
    """One study of the gallery, the finding that is outlined, and the sentence that states it."""

    study: dict[str, Any]
    finding: str
    sentence: dict[str, Any]


def choose(studies: list[dict[str, Any]]) -> list[Shown]:
    """Up to COUNT studies by the rule above, each study once. Raises PlaceError PL-D224 if there is
    none.
    """
    found: list[Shown] = []
    for finding, words in STATED.items():
        for study in studies:
            outlined = any(outline["finding"] == finding for outline in study["outlines"])
            said = [s for s in study["sentences"] if s["heat"] and _states(s["text"], words)]
            if outlined and said and all(study is not other.study for other in found):
                found.append(Shown(study, finding, said[0]))
                break
    if not found:
        raise PlaceError(
            "no study of the gallery states what is outlined",
            code="PL-D224",
            fix="give a phantom run",
        )
    return found[:COUNT]


def _states(text: str, words: str) -> bool:
    return bool(re.search(words, text, re.I)) and not re.search(DENIED, text, re.I)


def draw(run: Path) -> Image.Image:
    """The picture, RGB, WIDTH pixels wide, on its own dark ground: it reads the same on white and
    on black.
    """
    folder = run / "gallery"
    try:
        studies = json.loads((folder / "gallery.json").read_text(encoding="utf-8"))["studies"]
    except OSError as error:
        raise PlaceError(
            "no gallery here", code="PL-R007", file=run, fix="give the folder of a phantom run"
        ) from error
    shown = choose(studies)
    column = 2 * PANEL + TIGHT
    texts = [_wrapped(f"“{s.sentence['text']}”", column) for s in shown]
    below = max(map(len, texts)) * (TEXT + 5)
    sheet = Image.new("RGB", (WIDTH, HEAD + PANEL + 12 + below + MARGIN), BACK)
    _head(sheet)
    pen = ImageDraw.Draw(sheet)
    for place, (one, lines) in enumerate(zip(shown, texts, strict=True)):
        left = MARGIN + place * (column + GAP)
        plain = Image.fromarray(np.uint8(255 * read_image(folder / one.study["image"]))).convert(
            "RGB"
        )
        for number, picture in enumerate((plain, _heated(plain, one))):
            sheet.paste(_outlined(picture, one), (left + number * (PANEL + TIGHT), HEAD))
        for row, line in enumerate(lines):
            pen.text((left, HEAD + PANEL + 12 + row * (TEXT + 5)), line, INK, _font(TEXT))
    return sheet


def save(picture: Image.Image, path: Path) -> Path:
    """As PNG of as many colours as MOST_BYTES allow."""
    for colours in (256, 128, 64, 32):
        palette = picture.quantize(colours, kmeans=3)
        picture.quantize(palette=palette).save(
            path, format="PNG", optimize=True
        )  # dithered: heat without steps
        if path.stat().st_size <= MOST_BYTES:
            break
    return path


def _head(sheet: Image.Image) -> None:
    pen = ImageDraw.Draw(sheet)
    pen.text(
        (MARGIN, 12),
        "Made-up pictures, drawn by a program: no patient. Research use only.",
        INK,
        _font(TEXT + 2),
    )
    pen.line([(MARGIN, 58), (MARGIN + 36, 58)], LINE, 4)
    pen.text((MARGIN + 46, 46), "true outline, never shown to the network", SOFT, _font(TEXT))
    bar = np.broadcast_to(_colours(np.linspace(0, 1, 90)), (14, 90, 3))
    sheet.paste(Image.fromarray(np.uint8(bar)), (WIDTH // 2, 51))
    pen.text((WIDTH // 2 + 100, 46), "where the network looks for the sentence", SOFT, _font(TEXT))


def _heated(picture: Image.Image, one: Shown) -> Image.Image:
    """The dimmed picture under the map, scaled to its brightest spot."""
    x, y, width, height = one.study["view"]
    values = np.array(one.sentence["heat"], np.float32).reshape(one.study["grid"])
    map_ = Image.fromarray(values / max(float(values.max()), 1e-12))
    whole = Image.new("F", picture.size)
    whole.paste(
        map_.resize((round(width), round(height)), Image.Resampling.BILINEAR), (round(x), round(y))
    )
    heat = np.asarray(whole)
    alpha = 0.8 * heat[..., None]
    return Image.fromarray(
        np.uint8((1 - alpha) * 0.6 * np.asarray(picture) + alpha * _colours(heat))
    )


def _colours(values: np.ndarray) -> np.ndarray:
    """0 to 1 as the page's heat colours, 0 to 255."""
    return 255 * colormaps["inferno"](0.35 + 0.65 * values)[..., :3]


def _outlined(picture: Image.Image, one: Shown) -> Image.Image:
    """The picture at the size of a panel, square, with the outline over it."""
    scale = PANEL / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    panel = Image.new("RGB", (PANEL, PANEL))
    corner = ((PANEL - size[0]) // 2, (PANEL - size[1]) // 2)
    panel.paste(picture.resize(size, Image.Resampling.LANCZOS), corner)
    for colour, wide in (((0, 0, 0), 3.5), (LINE, 1.8)):
        stencil = Image.new("L", (PANEL * _FINE, PANEL * _FINE))
        pen = ImageDraw.Draw(stencil)
        for path in (
            p for o in one.study["outlines"] if o["finding"] == one.finding for p in o["paths"]
        ):
            points = [
                ((x * scale + corner[0]) * _FINE, (y * scale + corner[1]) * _FINE) for x, y in path
            ]
            pen.line([*points, points[0]], 255, round(wide * _FINE), joint="curve")
        panel.paste(colour, mask=stencil.resize(panel.size, Image.Resampling.BOX))
    return panel


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font(TEXT).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    save(draw(given.run), given.out)
