"""How often the image checks of ``place data check`` are right, on the half of the sample
radiographs that was not used to set their thresholds.

    python experiments/check_rates.py --data $PLACE_TEST_DATA

A hash of the patient id divides the patients into halves. Thresholds were set on the other half and
on phantoms. The faults are synthetic: images are turned, inverted, written on, and saved again.
Prints the table of docs/checks.md; no image is kept.
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
from markdown_tables import markdown_table
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
TableRow = tuple[str, str, str]  # what, flagged, flagged wrongly


def held_out_images(data: Path) -> list[tuple[np.ndarray, dict[str, str]]]:
    """(image, row of its manifest) of every second patient."""
    images = []

    for name in SETS:
        with (data / name / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                digest = hashlib.sha256(row["patient_id"].encode()).hexdigest()
                # Even hashes were used to set the thresholds.
                if int(digest, 16) % 2:
                    path = data / name / row["image"]
                    images.append((read_scaled_image_and_size(path, MEASURE_SIDE)[0], row))

    return images


def measure(
    images: list[np.ndarray], change: Callable[[np.ndarray], np.ndarray] | None = None
) -> list[ImageStats]:
    """What the check measures in each image, after ``change``."""
    stats = []

    for image in images:
        changed = image if change is None else np.ascontiguousarray(change(image))
        # The size is that of the unchanged image, as a check would read it from the file.
        stats.append(measure_image(changed, *image.shape, TEMPLATE))

    return stats


def write_name(image: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """A name and a date in white letters of ``size`` pixels, near the upper or lower edge."""
    sheet = Image.fromarray(image)
    left = int(rng.integers(5, sheet.width * 0.6))
    top = int(rng.choice([6, sheet.height - 30]))

    font = ImageFont.load_default(size)
    ImageDraw.Draw(sheet).text((left, top), "MUELLER 12-03-1961", fill=255, font=font)
    return np.asarray(sheet)


def save_again(image: np.ndarray) -> np.ndarray:
    """A copy at three quarters of the size, darker, through a JPEG file of quality 60."""
    copy = Image.fromarray(np.rint(image * 0.9).astype(np.uint8))
    copy = copy.resize((copy.width * 3 // 4, copy.height * 3 // 4))

    buffer = io.BytesIO()
    copy.save(buffer, "JPEG", quality=60)
    with Image.open(buffer) as saved:  # noqa: TID251
        return np.asarray(saved)


def count_true(values: list[bool]) -> str:
    """As ``3 of 4``."""
    return f"{sum(values)} of {len(values)}"


def _no_chest(stats: list[ImageStats]) -> str:
    return count_true([image.chest < MIN_CHEST_SCORE for image in stats])


def _with_text(stats: list[ImageStats]) -> str:
    return count_true([image.letters >= MIN_LETTERS for image in stats])


def upright_rows(images: list[np.ndarray]) -> list[TableRow]:
    """All rows of the table that need upright frontal images."""
    rng = np.random.default_rng(0)
    plain = measure(images)
    rows = []

    for turn in (1, 2, 3):
        turned = measure(images, lambda image, turn=turn: np.rot90(image, turn))
        right = count_true([image.turn == turn for image in turned])
        wrong = count_true([image.turn not in (0, turn) for image in turned])
        rows.append((f"turned by {90 * turn} degrees", right, f"{wrong} (another turn)"))

    wrong = count_true([image.turn != 0 for image in plain])
    rows.append(("upright", "", f"{wrong} (any turn)"))

    inverted = measure(images, lambda image: 255 - image)
    right = count_true([image.negative for image in inverted])
    rows.append(("inverted", right, count_true([image.negative for image in plain])))

    rows.append(("no frontal chest", "", _no_chest(plain)))
    # Noise has no structure of a chest: every such image should be flagged.
    noise = [rng.integers(0, 256, (128, 128), dtype=np.uint8) for _ in images]
    rows.append(("no frontal chest: noise", _no_chest(measure(noise)), ""))

    return [*rows, *_text_rows(images, plain, rng), _near_copy_row(images, plain)]


def _text_rows(
    images: list[np.ndarray], plain: list[ImageStats], rng: np.random.Generator
) -> list[TableRow]:
    """Letters of several sizes are written only on images without text of their own."""
    rows = []
    stats = zip(images, plain, strict=True)
    clean = [image for image, seen in stats if seen.letters < MIN_LETTERS]

    for size in (10, 14, 18, 24):
        written = measure(clean, lambda image, size=size: write_name(image, rng, size))
        rows.append((f"text of {size} pixels", _with_text(written), ""))

    rows.append(("images as they are, with text", _with_text(plain), "see below"))
    return rows


def _near_copy_row(images: list[np.ndarray], plain: list[ImageStats]) -> TableRow:
    """Image ``row`` and its copy ``count + row`` are the only pairs that should be found."""
    copies = measure(images, save_again)
    thumbnails = np.array([image.thumb for image in [*plain, *copies]])
    pairs = set(find_near_duplicates(thumbnails))

    count = len(images)
    right = count_true([(row, count + row) in pairs for row in range(count)])
    others = sum(second < count or second - first != count for first, second in pairs)
    return "near-copies", right, f"{others} other pairs"


def stored_rows(images: list[tuple[np.ndarray, dict[str, str]]]) -> list[TableRow]:
    """Rows of images that are on their side, or lateral, in the source itself."""
    sideways = measure([image for image, row in images if _is_sideways(row)])
    lateral = measure([image for image, row in images if _is_lateral(row)])

    turned = count_true([image.turn == 1 for image in sideways])
    wrong = count_true([image.turn != 0 or image.negative for image in lateral])
    return [
        ("stored on their side", turned, ""),
        ("laterals: no frontal chest", _no_chest(lateral), ""),
        ("laterals: turned or inverted", "", wrong),
    ]


def _is_sideways(row: dict[str, str]) -> bool:
    return row["label"].startswith("rotated")


def _is_lateral(row: dict[str, str]) -> bool:
    return row.get("view") == "L"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)

    images = held_out_images(parser.parse_args().data)
    frontal = [image for image, row in images if not _is_sideways(row) and not _is_lateral(row)]
    # Seed 21, 128 pixels: the phantoms of the table in docs/checks.md.
    phantoms = [make_study(21, index, 128).image for index in range(200)]

    rows = [("radiographs", *row) for row in [*upright_rows(frontal), *stored_rows(images)]]
    rows += [("phantoms", *row) for row in upright_rows(phantoms)]
    table = markdown_table(("on", "what", "flagged", "flagged wrongly"), rows)
    sys.stdout.write("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
