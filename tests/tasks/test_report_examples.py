"""Heat maps of generated sentences: whose tokens, which places, in which pixels; and when pictures
are written.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from place_cxr.core.records import Study
from place_cxr.images.letterbox import Letterbox
from place_cxr.tasks import report_examples
from place_cxr.tasks.engine import FractionsAndSeeds, ModelOrigin, make_task, run_task
from place_cxr.tasks.report_examples import (
    attention_on_patches,
    choose_example_rows,
    draw_example,
    maps_on_image,
    mean_by_sentence,
    sentence_spans,
)
from tests import heads

WORDS = dict(enumerate(["heart", "is", "large", ".", "3", "5", "cm", "nodule", "?"]))
BRIEF = (
    "steps=2",
    "batch_size=4",
    "checks=1",
    "decoder.max_tokens=12",
    "decoder.layers=1",
    "decoder.width=32",
)


def test_a_sentence_ends_at_its_mark_and_no_number_does() -> None:
    def parts(*ids: int) -> list[tuple[int, int]]:
        return [
            (part.start, part.stop) for part in sentence_spans(ids, lambda some: WORDS[some[0]])
        ]

    assert parts(0, 1, 2, 3, 4, 3, 5, 6, 7, 3) == [(0, 4), (4, 10)]
    assert parts(7, 8, 0, 1) == [(0, 2), (2, 4)]  # the last sentence was cut off by the limit
    assert parts() == [] and parts(3) == [(0, 1)] and parts(4, 3) == [(0, 2)]


def test_attention_to_a_vpor_counts_where_the_vpor_looked() -> None:
    looked = np.array([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]], dtype=np.float32)
    attention = np.array([[0.1, 0.2, 0.0, 0.7, 0.0], [0.0, 0.0, 0.2, 0.0, 0.8]], dtype=np.float32)
    found = attention_on_patches(attention, looked)
    np.testing.assert_allclose(found, [[0.1, 0.2, 0.7], [0.4, 0.4, 0.2]], atol=1e-6)
    np.testing.assert_allclose(found.sum(1), attention.sum(1), atol=1e-6)
    assert attention_on_patches(attention, None) is attention
    np.testing.assert_allclose(
        mean_by_sentence(found, [slice(0, 1), slice(0, 2)]), [found[0], found.mean(0)]
    )
    assert mean_by_sentence(found, []).shape == (0, 3)


@pytest.mark.parametrize(("height", "width"), [(90, 60), (60, 90), (64, 64)])
def test_the_map_is_hot_where_the_patch_is_in_the_picture(height: int, width: int) -> None:
    """One patch of a 4 x 4 grid; the view is the centre 48 of a square of 64."""
    box = Letterbox(height, width, 64)
    for row, column in [(1, 1), (2, 1), (1, 2)]:
        maps = np.zeros((2, 16), dtype=np.float32)
        maps[0, 4 * row + column], maps[1] = 0.3, 0.1
        hot, flat = maps_on_image(maps, (4, 4), box, 48)
        assert hot.shape == (height, width) and hot.min() >= 0 and hot.max() == pytest.approx(1)
        left, top = 8 + 12 * column, 8 + 12 * row
        x0, y0, x1, y1 = box.box_to_original((left, top, left + 12, top + 12))
        y, x = np.unravel_index(hot.argmax(), hot.shape)
        assert x0 <= x + 0.5 <= x1 and y0 <= y + 0.5 <= y1
        inside = hot[round(y0) : round(y1), round(x0) : round(x1)].sum() / hot.sum()
        assert inside > 0.5 and flat[height // 2, width // 2] == pytest.approx(1)
    assert maps_on_image(np.zeros((0, 16), np.float32), (4, 4), box, 48).shape == (0, height, width)
    assert not maps_on_image(np.zeros((1, 16), np.float32), (4, 4), box, 48).any()


def test_who_is_shown_depends_on_the_truth_alone() -> None:
    def study(number: int, patient: str, **labels: float) -> Study:
        return Study(id=str(number), patient=patient, image=Path("x"), report="r", labels=labels)

    studies = [
        study(0, "a", E=0.0),
        study(1, "b", E=1.0),
        study(2, "b", E=1.0),
        study(3, ""),
        study(4, "c", E=1.0),
    ]
    rows = np.arange(5)
    assert choose_example_rows(studies, rows, 3) == [1, 4, 0] and choose_example_rows(
        studies, rows[::-1], 3
    ) == [
        4,
        2,
        3,
    ]
    assert (
        choose_example_rows(studies, rows, 0) == []
        and len(choose_example_rows(studies, rows, 9)) == 4
    )


def test_pictures_are_written_when_asked_and_go_when_not(phantom, tmp_path, monkeypatch) -> None:
    data, model = heads.dozen(phantom), heads.model("CNN")
    owners = {study.patient: row for row, study in enumerate(data.studies)}
    data = heads.with_rows(data, test=list(owners.values())[:3])
    drawn = []
    monkeypatch.setattr(
        report_examples,
        "draw_example",
        lambda example, file: drawn.append(example) or draw_example(example, file),
    )

    def files(*more: str) -> list[str]:
        task = make_task("report-generation", data.studies, (*BRIEF, *more))
        run_task(
            task, model, data, tmp_path, FractionsAndSeeds((1.0,), (0,)), origin=ModelOrigin("m")
        )
        return sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.png"))

    folder = "report-generation/phantom/examples/"
    assert files("examples=2") == [f"{folder}1.png", f"{folder}2.png"]
    assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700
    for example in drawn:
        assert (
            example.maps.shape == (len(example.sentences), *example.image.shape)
            and example.sentences
        )
        assert example.maps.min() >= 0 and example.maps.max((1, 2)) == pytest.approx(1)
    with Image.open(tmp_path / folder / "1.png") as picture:
        assert picture.size[0] > 1000 and len(picture.convert("L").getcolors()) > 100
    assert files("examples=1", "vpors=false") == [f"{folder}1.png"]
    assert files() == []
