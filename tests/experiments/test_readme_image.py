"""The image of README.md: chosen by rule, small, and drawn where the truth is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from readme_image import (
    HEADER,
    MARGIN,
    MAX_BYTES,
    PANEL,
    TIGHT,
    WIDTH,
    choose_examples,
    draw_examples,
    save_small,
)

from place_cxr.core.errors import PlaceError


def study(number: int, finding: str, *sentences: str) -> dict[str, Any]:
    heat = np.zeros(36)
    heat[7] = 1
    return {
        "image": f"{number}.jpg",
        "view": [0, 0, 320, 320],
        "grid": [6, 6],
        "outlines": [{"finding": finding, "paths": [[[40, 40], [280, 40], [280, 280], [40, 280]]]}],
        "sentences": [{"text": text, "heat": heat.tolist()} for text in sentences]
        + [{"text": "Effusion, edema.", "heat": None}],
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    studies = [
        study(1, "Nodule", "A nodule is seen."),
        study(2, "Edema", "No edema.", "Mild edema is present."),
        study(3, "Pleural Effusion", "The effusion has resolved."),
        study(4, "Pleural Effusion", "Small left effusion."),
        study(5, "Pneumothorax", "No effusion."),
    ]
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "gallery.json").write_text(json.dumps({"studies": studies}))
    noise = np.random.default_rng(0)
    for number in range(1, 6):
        grey = noise.normal(100, 12, (320, 320)).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / "gallery" / f"{number}.jpg")
    return tmp_path


def test_studies_are_chosen_by_what_they_state(run: Path) -> None:
    studies = json.loads((run / "gallery" / "gallery.json").read_text())["studies"]
    examples = choose_examples(studies)
    assert [(e.study["image"], e.finding, e.sentence["text"]) for e in examples] == [
        ("4.jpg", "Pleural Effusion", "Small left effusion."),
        ("2.jpg", "Edema", "Mild edema is present."),
        ("1.jpg", "Nodule", "A nodule is seen."),
    ]


def test_outline_and_heat_lie_where_they_should(run: Path) -> None:
    pixels = np.asarray(draw_examples(run)).astype(int)
    top, left, side = HEADER, MARGIN, PANEL
    plain = pixels[top : top + side, left : left + side]
    heated = pixels[top : top + side, left + side + TIGHT :][:, :side]
    edge = round(40 / 320 * side)
    for panel in (plain, heated):
        on_line = panel[edge - 1 : edge + 1, side // 2 - 5 : side // 2 + 5].mean((0, 1))
        assert on_line[2] - on_line[0] > 60  # blue, as the line
    warm = heated[..., 0] - heated[..., 2]
    hot = np.unravel_index(np.where(abs(warm) < 256, warm, 0).argmax(), warm.shape)
    assert all(side / 6 <= at <= side / 3 for at in hot)  # cell 7 of 6 x 6
    assert (
        abs(plain[..., 0] - plain[..., 1])[side // 3 : side // 2, side // 3 : side // 2].max() == 0
    )


def test_file_is_small(run: Path, tmp_path: Path) -> None:
    path = save_small(draw_examples(run), tmp_path / "x.png")
    assert path.stat().st_size <= MAX_BYTES
    with Image.open(path) as image:
        assert image.width == WIDTH == 1200


def test_a_run_without_such_studies_is_refused(run: Path) -> None:
    (run / "gallery" / "gallery.json").write_text(
        json.dumps({"studies": [study(3, "Edema", "No edema.")]})
    )
    with pytest.raises(PlaceError, match="PL-D224"):
        draw_examples(run)
    with pytest.raises(PlaceError, match="PL-R007"):
        draw_examples(run / "gallery")
