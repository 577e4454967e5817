"""The gallery says what the model says, of studies chosen by rule, and names nobody."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import PRESENT
from place_cxr.core.tensors import Observations, Views
from place_cxr.data.corpus import Corpus, prepare_corpus
from place_cxr.images.letterbox import Letterbox
from place_cxr.models.place import PlaceModel
from place_cxr.page import write_page
from place_cxr.phantom import write_phantom
from place_cxr.predict import Processor, ground, heat_to_original, to_gray
from place_cxr.pretrain import PretrainConfig, complete_config
from place_cxr.tasks import task_texts
from place_cxr.tasks.gallery import (
    _describe_sentences,
    _outlined_patch,
    choose_gallery_rows,
    write_data_card,
    write_gallery,
)
from place_cxr.text.reports import read_report
from tests.small import small

COUNT = 5
Made = tuple[PretrainConfig, Corpus, PlaceModel, Path, dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A gallery of an untrained model on 60 phantoms."""
    root = tmp_path_factory.mktemp("gallery")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLACE_CACHE", str(root / "cache"))
        manifest = write_phantom(root / "phantom", 60, 64, seed=0, workers=1)
        config = small(manifest)
        corpus = prepare_corpus(config.data, max_tokens=config.model.text.max_tokens)
    torch.manual_seed(0)
    model = PlaceModel(complete_config(config, corpus).model).eval()
    run = root / "run"
    write_gallery(model, config, corpus, run, count=COUNT, split="train")
    return config, corpus, model, run, json.loads((run / "gallery" / "gallery.json").read_text())


def test_chosen_studies_span_findings(made: Made) -> None:
    _, corpus, _, _, _ = made
    rows = choose_gallery_rows(corpus, count=COUNT, seed=0, split="train")
    assert rows.tolist() == choose_gallery_rows(corpus, count=COUNT, seed=0, split="train").tolist()
    studies = [corpus.studies[row] for row in rows]
    assert {study.split for study in studies} == {"train"}
    assert len({study.patient for study in studies}) == COUNT
    present = [
        {name for name, label in study.labels.items() if label == PRESENT} for study in studies
    ]
    assert present[-1] == set()
    assert max(map(len, present)) <= 3
    chance = [len(set().union(*_labels(corpus, seed))) for seed in range(20)]
    assert len(set().union(*present)) >= max(chance)


def _labels(corpus: Corpus, seed: int) -> list[set[str]]:
    rows = np.random.default_rng(seed).choice(corpus.rows["train"], COUNT, replace=False)
    tables = [corpus.studies[row].labels for row in rows]
    few = [{name for name, label in table.items() if label == PRESENT} for table in tables]
    return [found for found in few if len(found) <= 3]


def test_what_has_an_outline_comes_first(made: Made) -> None:
    _, corpus, _, _, _ = made
    first, second = corpus.studies[0], corpus.studies[1]
    shown = replace(first, patient="a", labels={"x": PRESENT}, masks={"x": Path("x.png")})
    told = replace(second, patient="b", labels={"y": PRESENT, "z": PRESENT}, masks={})
    for studies in ([shown, told], [told, shown]):
        two = replace(corpus, studies=studies, rows={"test": np.arange(2)})
        assert choose_gallery_rows(two, count=1, seed=0).tolist() == [studies.index(shown)]


def test_without_labels_it_still_chooses(made: Made) -> None:
    _, corpus, _, _, _ = made
    bare = replace(
        corpus, studies=[replace(study, labels={}, masks={}) for study in corpus.studies]
    )
    assert len(choose_gallery_rows(bare, count=4, seed=0, split="train")) == 4
    few = replace(corpus, rows={"train": corpus.rows["train"][:1]})
    assert len(choose_gallery_rows(few, count=4, seed=0, split="train")) == 1
    with pytest.raises(PlaceError, match="PL-D224"):
        choose_gallery_rows(few, count=4, seed=0)


def test_heat_is_what_pointing_shows(made: Made) -> None:
    config, corpus, model, _, _ = made
    processor = Processor(
        corpus.tokenizer, config.views, config.data.pack_size, config.model.text.max_tokens, 6
    )
    text, image = "There is a large left pleural effusion.", corpus.studies[0].image
    view = processor(images=[image])
    with torch.no_grad():
        out = model(Views(view, view), processor(text=[text]))
    (sentence,) = _describe_sentences(out, text, model.image_encoder.spec.grid)
    grid = torch.tensor(sentence["heat"]).view(model.image_encoder.spec.grid)
    expected = ground(model, processor, image, text).array
    box = processor.letterbox(to_gray(image))
    assert np.allclose(heat_to_original(grid, processor, box), expected, atol=5e-3)


def test_each_sentence_has_its_own_heat(made: Made) -> None:
    """Four queries that look at one place each; the sentences pick queries 2, 0 and 3, and the last
    one did not fit.
    """
    report = (
        "Findings: Small left effusion. Dr. Smith was called at 3 pm. No pneumothorax. Normal "
        "heart. Clear lungs."
    )
    said = read_report(report)
    assert said.is_observation == (True, False, True, True, True)
    queries = torch.eye(4)[None]
    text = torch.stack([torch.eye(4)[k] for k in (2, 0, 3, 1)])[None]
    out = SimpleNamespace(
        visual=Observations(queries, torch.ones(1, 4, dtype=torch.bool)),
        attention=torch.eye(4)[None, :, [3, 2, 1, 0]],
        patches=torch.eye(4)[None, [3, 2, 1, 0]],
        textual=Observations(text, torch.tensor([[True, True, True, False]])),
    )
    found = _describe_sentences(out, report, (2, 2))
    assert [f["text"] for f in found] == list(said.sentences)
    hot = [None if f["heat"] is None else int(np.argmax(f["heat"])) for f in found]
    assert hot == [1, None, 3, 0, None]
    assert [f["match"] is None for f in found] == [False, True, False, False, True]
    assert found[0]["match"] > 0.99


def test_numbers_per_study(made: Made) -> None:
    _, corpus, _, run, gallery = made
    rows = choose_gallery_rows(corpus, count=COUNT, seed=0, split="train")
    for row, study in zip(rows, gallery["studies"], strict=True):
        similarity = np.array(study["similarity"])
        assert similarity.shape == (4, 4)
        assert np.allclose(np.diag(similarity), 1, atol=1e-3) and np.allclose(
            similarity, similarity.T, atol=1e-3
        )
        about = study["correlation"]
        assert about["target"][about["patch"]] == pytest.approx(1, abs=1e-3)
        assert -1 <= about["agreement"] <= 1
        for sentence in study["sentences"]:
            assert sentence["heat"] is None or len(sentence["heat"]) == np.prod(study["grid"])
        with Image.open(run / "gallery" / study["image"]) as picture:
            assert picture.size == (study["width"], study["height"]) and picture.mode == "L"
        present = {name for name, label in corpus.studies[row].labels.items() if label == PRESENT}
        assert set(study["findings"]) == present
        assert {outline["finding"] for outline in study["outlines"]} <= present
        for outline in study["outlines"]:
            points = np.concatenate([np.array(path) for path in outline["paths"]])
            assert points.min() >= -0.5 and points.max() <= 320.5


def test_view_is_where_the_model_looked(made: Made) -> None:
    """Pack 64, view 48 of a square picture: the middle three quarters."""
    assert made[4]["studies"][0]["view"] == [40.0, 40.0, 240.0, 240.0]


def test_marked_patch_lies_in_the_finding(made: Made) -> None:
    _, corpus, _, _, _ = made
    row = next(
        row for row in corpus.rows["train"] if "Pleural Effusion" in corpus.studies[row].masks
    )
    study = replace(corpus.studies[row], labels={"Pleural Effusion": PRESENT})
    with Image.open(study.masks["Pleural Effusion"]) as picture:
        mask = np.asarray(picture) > 0
    patch = _outlined_patch(study, Letterbox(64, 64, 64), (8, 8, 48), (6, 6))
    y, x = divmod(patch, 6)
    cover = mask[8:56, 8:56].reshape(6, 8, 6, 8).mean((1, 3))
    assert cover[y, x] == pytest.approx(cover.max(), abs=0.02)
    assert (
        _outlined_patch(replace(study, masks={}), Letterbox(64, 64, 64), (8, 8, 48), (6, 6)) == 21
    )


def test_nobody_is_named(made: Made) -> None:
    _, corpus, _, run, _ = made
    text = (run / "gallery" / "gallery.json").read_text()
    for study in corpus.studies:
        assert study.id not in text and study.patient not in text
        assert str(study.image) not in text
    assert (run / "gallery").stat().st_mode & 0o077 == 0


def test_the_page_shows_it(made: Made) -> None:
    _, corpus, _, run, gallery = made
    write_data_card(corpus, run)
    (run / "config.yaml").write_text("name: phantom\n")
    html = write_page(run, task_texts()).read_text(encoding="utf-8")
    assert html.count('<article class="study">') == COUNT
    assert "gallery:" not in html
    card = json.loads((run / "data_card.json").read_text())["findings"]["Cardiomegaly"]
    expected = [corpus.studies[row].labels["Cardiomegaly"] for row in corpus.rows["train"]]
    assert card["train"]["present"] == expected.count(1.0)
    assert sum(card["train"].values()) == len(expected)
    assert f"{expected.count(1.0)} <span class" in html
    assert len(gallery["example"]) > 20
