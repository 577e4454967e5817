"""The image of README.md, from the gallery of a phantom run: three studies, each with a sentence of
its report and the heat map of that sentence.

    python experiments/readme_image.py runs/demo -o docs/example.png

Studies are not selected by how good their maps are. Findings are visited in the order of STATED
(findings that fill much of an image first). For each finding, the first study of the gallery that
has an outline of it and a sentence that states it is taken.
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

# Layout in pixels: COUNT studies beside each other, each with two square panels.
COUNT = 3
WIDTH, MARGIN, GAP, TIGHT = 1200, 18, 26, 6
PANEL = (WIDTH - 2 * MARGIN - (COUNT - 1) * GAP - COUNT * TIGHT) // (2 * COUNT)
HEADER, FONT_SIZE = 84, 19  # height of the lines above the panels; size of letters
LINE_HEIGHT = FONT_SIZE + 5
CAPTION_TOP = HEADER + PANEL + 12

BACKGROUND, INK, SOFT, OUTLINE = (18, 22, 26), (236, 239, 242), (172, 182, 192), (90, 209, 255)
MAX_BYTES = 200_000
_OVERSAMPLING = 4  # outlines are drawn this many times larger and then reduced: smooth edges


class Example(NamedTuple):
    """One study of the gallery, the finding that is outlined, and the sentence that states it."""

    study: dict[str, Any]
    finding: str
    sentence: dict[str, Any]


def choose_examples(studies: list[dict[str, Any]]) -> list[Example]:
    """Up to COUNT studies by the rule of this file, each study once.

    Raises PlaceError PL-D224 if no study fits.
    """
    examples: list[Example] = []

    for finding, words in STATED.items():
        for study in studies:
            outlined = any(outline["finding"] == finding for outline in study["outlines"])
            stating = [s for s in study["sentences"] if s["heat"] and _states(s["text"], words)]
            unused = all(study is not example.study for example in examples)

            # The heat map is compared with the outline, so both must be of the same finding.
            if outlined and stating and unused:
                examples.append(Example(study, finding, stating[0]))
                break

    if not examples:
        raise PlaceError(
            "no study of the gallery states what is outlined",
            code="PL-D224",
            fix="give a phantom run",
        )

    return examples[:COUNT]


def _states(text: str, words: str) -> bool:
    return bool(re.search(words, text, re.I)) and not re.search(DENIED, text, re.I)


def draw_examples(run: Path) -> Image.Image:
    """The whole image: RGB, WIDTH pixels wide, on a dark ground that fits light and dark pages.

    Raises PlaceError PL-R007 if ``run`` has no gallery, and PL-D224 as :func:`choose_examples`.
    """
    folder = run / "gallery"

    try:
        studies = json.loads((folder / "gallery.json").read_text(encoding="utf-8"))["studies"]
    except OSError as error:
        raise PlaceError(
            "no gallery here", code="PL-R007", file=run, fix="give the folder of a phantom run"
        ) from error

    examples = choose_examples(studies)
    column = 2 * PANEL + TIGHT
    captions = [_wrap(f"“{example.sentence['text']}”", column) for example in examples]

    # The longest caption decides the height.
    captions_height = max(map(len, captions)) * LINE_HEIGHT
    sheet = Image.new("RGB", (WIDTH, CAPTION_TOP + captions_height + MARGIN), BACKGROUND)
    _draw_header(sheet)
    pen = ImageDraw.Draw(sheet)

    for place, (example, lines) in enumerate(zip(examples, captions, strict=True)):
        left = MARGIN + place * (column + GAP)
        grey = np.uint8(255 * read_image(folder / example.study["image"]))
        plain = Image.fromarray(grey).convert("RGB")

        sheet.paste(_panel(plain, example), (left, HEADER))
        sheet.paste(_panel(_add_heat(plain, example), example), (left + PANEL + TIGHT, HEADER))

        for row, line in enumerate(lines):
            pen.text((left, CAPTION_TOP + row * LINE_HEIGHT), line, INK, _font(FONT_SIZE))

    return sheet


def save_small(image: Image.Image, path: Path) -> Path:
    """Write a PNG with as many colors as MAX_BYTES allow, and return its path."""
    for colors in (256, 128, 64, 32):
        palette = image.quantize(colors, kmeans=3)
        # The second quantize dithers, so that the heat has no visible steps.
        image.quantize(palette=palette).save(path, format="PNG", optimize=True)

        if path.stat().st_size <= MAX_BYTES:
            break

    return path


def _draw_header(sheet: Image.Image) -> None:
    """The notice, and the legend of the outline and of the heat."""
    pen = ImageDraw.Draw(sheet)
    notice = "Synthetic images, drawn by a program: no patient. Research use only."
    pen.text((MARGIN, 12), notice, INK, _font(FONT_SIZE + 2))

    pen.line([(MARGIN, 58), (MARGIN + 36, 58)], OUTLINE, 4)
    outline = "true outline, never shown to the network"
    pen.text((MARGIN + 46, 46), outline, SOFT, _font(FONT_SIZE))

    bar = np.broadcast_to(_heat_colors(np.linspace(0, 1, 90)), (14, 90, 3))
    sheet.paste(Image.fromarray(np.uint8(bar)), (WIDTH // 2, 51))
    heat = "where the network looks for the sentence"
    pen.text((WIDTH // 2 + 100, 46), heat, SOFT, _font(FONT_SIZE))


def _add_heat(image: Image.Image, example: Example) -> Image.Image:
    """The dimmed image under the heat map, scaled to its brightest spot."""
    # The view is the part of the image that the network saw, in pixels of the image.
    x, y, width, height = example.study["view"]
    values = np.array(example.sentence["heat"], np.float32).reshape(example.study["grid"])
    heat_map = Image.fromarray(values / max(float(values.max()), 1e-12))
    resized = heat_map.resize((round(width), round(height)), Image.Resampling.BILINEAR)

    whole = Image.new("F", image.size)
    whole.paste(resized, (round(x), round(y)))

    # More heat covers more of the image, at most 80 %.
    heat = np.asarray(whole)
    alpha = 0.8 * heat[..., None]
    mixed = (1 - alpha) * 0.6 * np.asarray(image) + alpha * _heat_colors(heat)
    return Image.fromarray(np.uint8(mixed))


def _heat_colors(values: np.ndarray) -> np.ndarray:
    """Values of 0 to 1 in the heat colors of the results page, 0 to 255."""
    return 255 * colormaps["inferno"](0.35 + 0.65 * values)[..., :3]


def _panel(image: Image.Image, example: Example) -> Image.Image:
    """The image in a square of PANEL pixels, with the outline of the finding over it."""
    scale = PANEL / max(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    corner = ((PANEL - size[0]) // 2, (PANEL - size[1]) // 2)

    panel = Image.new("RGB", (PANEL, PANEL))
    panel.paste(image.resize(size, Image.Resampling.LANCZOS), corner)

    paths = []
    for outline in example.study["outlines"]:
        if outline["finding"] == example.finding:
            paths += outline["paths"]

    # A wide black line below a narrow colored one can be seen on dark and on bright ground.
    for color, width in (((0, 0, 0), 3.5), (OUTLINE, 1.8)):
        stencil = Image.new("L", (PANEL * _OVERSAMPLING, PANEL * _OVERSAMPLING))
        pen = ImageDraw.Draw(stencil)

        for path in paths:
            points = [
                ((x * scale + corner[0]) * _OVERSAMPLING, (y * scale + corner[1]) * _OVERSAMPLING)
                for x, y in path
            ]
            pen.line([*points, points[0]], 255, round(width * _OVERSAMPLING), joint="curve")

        panel.paste(color, mask=stencil.resize(panel.size, Image.Resampling.BOX))

    return panel


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` pixels."""
    lines = [""]

    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font(FONT_SIZE).getlength(longer) <= width:
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
    arguments = parser.parse_args()
    save_small(draw_examples(arguments.run), arguments.out)
