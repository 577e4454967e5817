"""Files of the phantom: the same bytes however made, and read as a user's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from place_cxr.core.errors import PlaceError
from place_cxr.data.sources import manifest
from place_cxr.phantom import make_study, write_phantom

COUNT = 40  # more than one chunk, so that two workers share it


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("one"), COUNT, 64, 6, workers=1)


def test_same_bytes_with_two_workers(written: Path, tmp_path: Path) -> None:
    ticks: list[tuple[int, int]] = []
    write_phantom(
        tmp_path, COUNT, 64, 6, workers=2, progress=lambda done, total: ticks.append((done, total))
    )
    assert contents(tmp_path) == contents(written.parent)
    assert ticks[-1] == (COUNT, COUNT)


def test_another_seed_gives_other_images(written: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path, 2, 64, 7, workers=1)
    assert (
        contents(tmp_path)["images/S000000.png"] != contents(written.parent)["images/S000000.png"]
    )


def test_reads_as_a_users_own_and_equals_the_study_made_alone(written: Path) -> None:
    studies = manifest.read(written)
    assert len(studies) == COUNT
    shown = 0
    for index in range(COUNT - 1, 0, -6):
        alone, read = make_study(6, index, 64), studies[index]
        assert np.array_equal(np.asarray(Image.open(read.image)), alone.image)
        assert read.report == alone.report and len(read.report) > 20
        assert (read.id, read.patient, read.view) == (
            alone.scene.study,
            alone.scene.patient,
            alone.scene.view,
        )
        assert dict(read.labels) == alone.labels
        for name, value in alone.said.items():
            assert read.said.get(name, np.nan) == pytest.approx(value, nan_ok=True)
        assert (
            set(read.masks)
            == set(alone.masks)
            == {name for name, value in alone.labels.items() if value}
        )
        for name, path in read.masks.items():
            shown += 1
            assert np.array_equal(np.asarray(Image.open(path)).astype(bool), alone.masks[name])
        assert read.boxes == alone.boxes
        assert read.split in ("train", "val", "test")
    assert shown > 3


def test_no_patient_is_in_two_splits(written: Path) -> None:
    split: dict[str, str] = {}
    for study in manifest.read(written):
        assert split.setdefault(study.patient, study.split) == study.split


def test_manifest_boxes_are_json(written: Path) -> None:
    header, *_ = written.read_text().splitlines()
    assert (
        header.endswith(",boxes")
        and "labels.Edema" in header
        and "said.Edema" in header
        and "mask.Edema" in header
    )
    boxes = make_study(6, 0, 64).boxes
    assert json.dumps([box.finding for box in boxes])


def test_refuses_what_makes_no_phantom(tmp_path: Path) -> None:
    for studies, size in ((0, 64), (3, 16)):
        with pytest.raises(PlaceError, match="PL-C101"):
            write_phantom(tmp_path, studies, size, 1)
    assert not list(tmp_path.iterdir())
