"""From files to a corpus: who is in it, what is counted, what the tokenizer may know, what the lock
holds.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from place_cxr.core.errors import PlaceError
from place_cxr.data.corpus import Corpus, DataSettings, prepare_corpus, require_data
from place_cxr.images.letterbox import Letterbox
from tests.tables import write_rows


def write(folder: Path, rows: list[dict[str, str]], *, name: str = "manifest.csv") -> Path:
    """A manifest with a noise picture for each row that names one which is not there yet."""
    folder.mkdir(exist_ok=True)
    for number, row in enumerate(rows):
        if not (folder / row["image"]).exists():
            noise = np.random.default_rng(number).integers(0, 255, (40, 40)).astype(np.uint8)
            Image.fromarray(noise).save(folder / row["image"])
    return write_rows(folder / name, rows)


def rows(count: int = 12, **more: str) -> list[dict[str, str]]:
    """Two studies a patient; patients 0 to 3 train, 4 is val, 5 is test."""
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    reports = ["The heart is large.", "The lungs are clear.", "There is a small left effusion."]
    return [
        {
            "image": f"{n}.png",
            "report": f"Findings: {reports[n % 3]}",
            "patient": f"p{n // 2}",
            "split": splits[n],
            **more,
        }
        for n in range(count)
    ]


def ready(manifest: Path, **settings: object) -> Corpus:
    given = {
        "manifest": str(manifest),
        "pack_size": 32,
        "vocab_size": 200,
        "max_sentences": 4,
        **settings,
    }
    return prepare_corpus(DataSettings.model_validate(given), max_tokens=24)


def test_rows_are_those_of_the_table(tmp_path: Path) -> None:
    corpus = ready(write(tmp_path / "d", rows()))
    assert {name: found.tolist() for name, found in corpus.rows.items()} == {
        "train": list(range(8)),
        "val": [8, 9],
        "test": [10, 11],
    }
    assert corpus.pixels.pixels.shape == (12, 32, 32)
    assert len(corpus.text.ids) == 12
    assert [corpus.tokenizer.decode(corpus.text.ids[row]) for row in (0, 11)] == [
        "the heart is large.",
        "there is a small left effusion.",
    ]


def test_a_study_without_report_and_a_broken_picture_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = rows()
    table[1]["report"] = "  "
    table[2]["report"] = "FINDINGS: ___"
    manifest = write(tmp_path / "d", table)
    (tmp_path / "d" / "5.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING, "place_cxr"):
        corpus = ready(manifest)
    assert len(corpus.studies) == len(corpus.text.ids) == len(corpus.pixels.pixels) == 10
    assert "2 of 12 studies have no report text" in caplog.text
    assert "1 of 10 images are left out" in caplog.text
    assert corpus.lock()["images"] == {"train": 5, "val": 2, "test": 2}
    # Row i is study i in pixels and in text: nothing has slipped.
    for row in (2, 4, 9):
        study = corpus.studies[row]
        assert corpus.tokenizer.decode(corpus.text.ids[row]) in study.report.lower()
        with Image.open(study.image) as picture:
            expected = Letterbox(40, 40, 32).to_square(np.asarray(picture))
        np.testing.assert_array_equal(corpus.pixels.pixels[row], expected)


def test_splits_are_made_by_patient_where_there_are_none(tmp_path: Path) -> None:
    table = [
        {"image": f"{n}.png", "report": "Findings: The lungs are clear.", "patient": f"p{n // 2}"}
        for n in range(80)
    ]
    manifest = write(tmp_path / "d", table)
    corpus, other = ready(manifest), ready(manifest, split_seed=1)
    sides: dict[str, set[str]] = {}
    for study in corpus.studies:
        sides.setdefault(study.patient, set()).add(study.split)
    assert all(len(found) == 1 for found in sides.values())
    assert sum(map(len, corpus.rows.values())) == 80
    assert min(map(len, corpus.rows.values())) > 0
    assert corpus.lock()["split_digest"] != other.lock()["split_digest"]


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    table = rows()
    table[1]["split"] = "test"
    with pytest.raises(PlaceError) as refusal:
        ready(write(tmp_path / "d", table))
    assert refusal.value.code == "PL-D207"
    assert "p0" not in str(refusal.value)


def test_the_vocabulary_is_that_of_the_training_reports(tmp_path: Path) -> None:
    table = rows()
    for row in table[8:]:
        row["report"] = "Findings: Pneumomediastinum pneumomediastinum pneumomediastinum."
    for row in table[:8]:
        row["report"] += " Cardiomegaly cardiomegaly."
    words = json.loads(
        ready(write(tmp_path / "d", table)).tokenizer.files("t")["t/tokenizer.json"]
    )["model"]["vocab"]
    assert "cardiomegaly" in words
    assert not [word for word in words if "pneumo" in word or "mediast" in word]


def test_columns_of_other_names(tmp_path: Path) -> None:
    table = [
        {{"report": "text", "patient": "subject"}.get(k, k): v for k, v in row.items()}
        for row in rows()
    ]
    manifest = write(tmp_path / "d", table)
    corpus = ready(manifest, columns={"report": "text", "patient": "subject"})
    assert corpus.lock()["patients"] == {"train": 4, "val": 1, "test": 1}
    with pytest.raises(PlaceError, match="report"):
        ready(manifest)


def test_packs_are_made_once_and_told_of(tmp_path: Path) -> None:
    manifest = write(tmp_path / "d", rows())
    heard: list[tuple[str, int, int]] = []
    settings = DataSettings(manifest=str(manifest), pack_size=32, vocab_size=200)
    first = prepare_corpus(settings, max_tokens=24, progress=lambda *now: heard.append(now))
    assert heard[-1] == ("decoding images", 12, 12)
    heard.clear()
    second = prepare_corpus(settings, max_tokens=24, progress=lambda *now: heard.append(now))
    assert heard == []
    assert (first.pixels.folder, first.lock()) == (second.pixels.folder, second.lock())


def test_the_lock_knows_contents_and_no_names(tmp_path: Path) -> None:
    """Equal contents, equal digests, wherever they lie; another pixel or word, another digest; no
    id in it.
    """
    manifest = write(tmp_path / "one", rows(study_note="x"))
    lock = ready(manifest).lock()
    moved = Path(shutil.copytree(tmp_path / "one", tmp_path / "two")) / manifest.name
    assert ready(moved).lock() == lock
    assert not [name for name in ("p0", "p5", ".png", "heart") if name in json.dumps(lock)]

    said = rows()
    said[3]["report"] = "Findings: The lungs are clear. The heart is large."
    assert ready(write(tmp_path / "two", said)).lock()["content_digest"] != lock["content_digest"]
    write(tmp_path / "two", rows())
    assert ready(moved).lock()["content_digest"] == lock["content_digest"]
    with Image.open(tmp_path / "two" / "3.png") as picture:
        pixels = np.asarray(picture).copy()
    pixels[20, 20] ^= 128
    Image.fromarray(pixels).save(tmp_path / "two" / "3.png")
    changed = ready(moved).lock()
    assert changed["content_digest"] != lock["content_digest"]
    assert changed["split_digest"] == lock["split_digest"]


@pytest.mark.parametrize(
    ("settings", "code"),
    [({}, "PL-C005"), ({"manifest": "x.csv", "source": "manifesto"}, "PL-C002")],
)
def test_data_that_is_not_named_costs_no_work(settings: dict[str, str], code: str) -> None:
    for begin in (require_data, lambda named: prepare_corpus(named, max_tokens=24)):
        with pytest.raises(PlaceError) as refusal:
            begin(DataSettings.model_validate(settings))
        assert (refusal.value.code, refusal.value.exit_code) == (code, 2)


def test_no_report_at_all(tmp_path: Path) -> None:
    table = [{**row, "report": ""} for row in rows()]
    with pytest.raises(PlaceError) as refusal:
        ready(write(tmp_path / "d", table))
    assert refusal.value.code == "PL-D301"
    assert "data.columns.report" in str(refusal.value)
