"""How often the looks of ``place data check`` are right: on the half of the sample radiographs not
used to set them.

    python experiments/check_rates.py --data $PLACE_TEST_DATA

Halves are by a hash of the patient; thresholds were set on the other one and on phantoms. Faults
are made: pictures are turned, inverted, written on, saved again. Prints the table of
docs/checks.md; nothing of the pictures is kept.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from place_cxr.data.checks.image_quality import (
    MEASURE_SIDE,
    MIN_CHEST_SCORE,
    MIN_LETTERS,
    ImageStats,
    chest_template,
    measure_image,
)
from place_cxr.data.checks.near_duplicates import find_near_duplicates
from place_cxr.images.read import read_scaled_image_and_size
from place_cxr.phantom import make_study

SETS = ("pairs", "classes/nih", "classes/nih_rotation", "classes/kermany", "classes/hannover_view")
TEMPLATE = chest_template()
Change = Callable[[np.ndarray], np.ndarray]


def held_out(data: Path) -> list[tuple[np.ndarray, dict[str, str]]]:
    """(picture, row) of every second patient."""
    found = []
    for name in SETS:
        with (data / name / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                if int(hashlib.sha256(row["patient_id"].encode()).hexdigest(), 16) % 2:
                    found.append(
                        (
                            read_scaled_image_and_size(data / name / row["image"], MEASURE_SIDE)[0],
                            row,
                        )
                    )
    return found


def looks(pictures: list[np.ndarray], change: Change = lambda picture: picture) -> list[ImageStats]:
    """What the check sees of each picture, changed."""
    return [
        measure_image(np.ascontiguousarray(change(one)), *one.shape, TEMPLATE) for one in pictures
    ]


def written(picture: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """A name and a date in white, near the upper or lower edge."""
    image = Image.fromarray(picture)
    place = (int(rng.integers(5, image.width * 0.6)), int(rng.choice([6, image.height - 30])))
    ImageDraw.Draw(image).text(
        place, "MUELLER 12-03-1961", fill=255, font=ImageFont.load_default(size)
    )
    return np.asarray(image)


def saved_again(picture: np.ndarray) -> np.ndarray:
    """Three quarters of the size, darker, JPEG of quality 60."""
    image = Image.fromarray(np.rint(picture * 0.9).astype(np.uint8))
    image = image.resize((image.width * 3 // 4, image.height * 3 // 4))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    with Image.open(buffer) as again:  # noqa: TID251
        return np.asarray(again)


def share(values: list[bool]) -> str:
    """As ``3 of 4``."""
    return f"{sum(values)} of {len(values)}"


def table(name: str, pictures: list[np.ndarray]) -> list[tuple[str, str, str, str]]:
    """Rows of the printed table for one set of upright frontal pictures."""
    rng = np.random.default_rng(0)
    plain = looks(pictures)
    lines = []
    for turn in (1, 2, 3):
        turned = looks(pictures, lambda picture, turn=turn: np.rot90(picture, turn))
        told, wrong = (
            [one.turn == turn for one in turned],
            [one.turn not in (0, turn) for one in turned],
        )
        lines.append(
            (f"turned by {90 * turn} degrees", share(told), f"{share(wrong)} (another turn)")
        )
    lines.append(("upright", "", f"{share([one.turn != 0 for one in plain])} (any turn)"))
    inverted = looks(pictures, lambda picture: 255 - picture)
    lines.append(
        (
            "inverted",
            share([one.negative for one in inverted]),
            share([one.negative for one in plain]),
        )
    )
    lines.append(("no frontal chest", "", share([one.chest < MIN_CHEST_SCORE for one in plain])))
    noise = [rng.integers(0, 256, (128, 128), dtype=np.uint8) for _ in pictures]
    lines.append(
        (
            "no frontal chest: noise",
            share([one.chest < MIN_CHEST_SCORE for one in looks(noise)]),
            "",
        )
    )
    clean = [one for one, seen in zip(pictures, plain, strict=True) if seen.letters < MIN_LETTERS]
    for size in (10, 14, 18, 24):
        seen = looks(clean, lambda picture, size=size: written(picture, rng, size))
        lines.append(
            (f"text of {size} pixels", share([one.letters >= MIN_LETTERS for one in seen]), "")
        )
    lines.append(
        (
            "pictures as they are, with text",
            share([one.letters >= MIN_LETTERS for one in plain]),
            "see below",
        )
    )
    again = looks(pictures, saved_again)
    pairs = find_near_duplicates(np.array([one.thumb for one in [*plain, *again]]))
    count = len(pictures)
    found = {(a, b) for a, b in pairs}
    lines.append(
        (
            "near-copies",
            share([(row, count + row) in found for row in range(count)]),
            f"{sum(b < count or b - a != count for a, b in pairs)} other pairs",
        )
    )
    return [(name, *line) for line in lines]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    real = held_out(parser.parse_args().data)
    frontal = [
        one
        for one, row in real
        if not row["label"].startswith("rotated") and row.get("view") != "L"
    ]
    lateral = looks([one for one, row in real if row.get("view") == "L"])
    stored = [
        measure_image(one, *one.shape, TEMPLATE)
        for one, row in real
        if row["label"].startswith("rotated")
    ]
    lines = table("radiographs", frontal)
    lines.append(
        ("radiographs", "stored on their side", share([one.turn == 1 for one in stored]), "")
    )
    lines.append(
        (
            "radiographs",
            "laterals: no frontal chest",
            share([one.chest < MIN_CHEST_SCORE for one in lateral]),
            "",
        )
    )
    wrong = share([one.turn != 0 or one.negative for one in lateral])
    lines.append(("radiographs", "laterals: turned or inverted", "", wrong))
    lines += table("phantoms", [make_study(21, index, 128).image for index in range(200)])
    head = [("on", "what", "told", "told wrongly"), ("---",) * 4]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in [*head, *lines]))


if __name__ == "__main__":
    main()
