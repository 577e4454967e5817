"""Sources that tasks read: without reports, and real masks."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.predict import load
from place_cxr.tasks.data import read_evaluation_dataset
from place_cxr.tasks.descriptions import embed_studies
from place_cxr.tasks.engine import FractionsAndSeeds, ModelOrigin, make_task, run_task
from place_cxr.tasks.masks import MaskCache

SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


def test_studies_without_reports_stay(trained: Path, phantom: Path, tmp_path: Path) -> None:
    images = sorted((phantom.parent / "images").iterdir())[:12]
    lines = ["image,split,patient,labels.A"]
    for number, (image, split) in enumerate(zip(images, SPLITS, strict=True)):
        shutil.copy(image, tmp_path)
        lines.append(f"{image.name},{split},p{number},{number % 2}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    model, processor = load(trained, device="cpu")
    data = read_evaluation_dataset("manifest", tmp_path, processor, reports=False)
    assert data.source == tmp_path.name and {
        split: len(rows) for split, rows in data.rows.items()
    } == {
        "train": 6,
        "val": 3,
        "test": 3,
    }
    seen = embed_studies(
        model, data.pack.pixels, data.reports, data.rows["test"], data.studies, view=data.view
    )
    assert not seen.textual_mask.any() and np.isfinite(seen.instance_text).all()
    task = make_task("classification", data.studies)
    metrics = run_task(
        task,
        model,
        data,
        tmp_path / "out",
        FractionsAndSeeds((1.0,), (0,)),
        origin=ModelOrigin("m"),
    ).metrics
    assert metrics["100%/auroc/A"].value is not None
    with pytest.raises(PlaceError, match="PL-D225"):
        make_task("segmentation", data.studies)
    with pytest.raises(PlaceError, match="PL-D301"):
        read_evaluation_dataset("manifest", tmp_path, processor, reports=True)


def test_real_masks_are_learned_from(trained: Path, test_data: Path, tmp_path: Path) -> None:
    """Twelve real radiographs with lung masks; whatever the number, it is one, and the masks are
    where they belong.
    """
    with (test_data / "masks" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        table = [row for row in csv.DictReader(file) if row["target"] == "lungs"]
    rows = list({row["image"]: row for row in table}.values())[:12]
    lines = ["image,split,patient,mask.Lungs"]
    for number, (row, split) in enumerate(zip(rows, SPLITS, strict=True)):
        for kind in ("image", "mask"):
            source = (test_data / "masks" / row[kind]).resolve()
            shutil.copy(source, tmp_path / f"{number}_{kind}{source.suffix}")
        suffixes = [Path(row[kind]).suffix for kind in ("image", "mask")]
        lines.append(f"{number}_image{suffixes[0]},{split},p{number},{number}_mask{suffixes[1]}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    model, processor = load(trained, device="cpu")
    data = read_evaluation_dataset("manifest", tmp_path, processor, reports=False)
    masks = MaskCache(data, ["Lungs"])(data.rows["test"])
    assert ((masks.mean((1, 2, 3)) > 0.05) & (masks.mean((1, 2, 3)) < 0.8)).all()
    task = make_task("segmentation", data.studies, ["steps=2", "checks=1", "batch_size=4"])
    metrics = run_task(
        task,
        model,
        data,
        tmp_path / "out",
        FractionsAndSeeds((1.0,), (0,)),
        origin=ModelOrigin("m"),
    ).metrics
    assert 0 <= metrics["100%/dice/Lungs"].value <= 1 and metrics["100%/dice/Lungs"].n == 3
