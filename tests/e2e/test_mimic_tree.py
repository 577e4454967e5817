"""The paper's recipes read MIMIC-CXR as its owners publish it: a made-up tree, from tables and
reports to two steps.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from place_cxr import pretrain
from place_cxr.core.errors import PlaceError
from place_cxr.data.corpus import prepare_corpus
from place_cxr.data.sources import SOURCES
from place_cxr.data.sources.mimic_cxr import read
from place_cxr.pretrain import load_recipe
from tests.data.sources.trees import mimic_tree

# The recipe with its data settings as they are and a model of almost no size.
TINY = (
    "data.pack_size=64",
    "data.vocab_size=400",
    "data.max_sentences=6",
    "views.size=48",
    "model.image.name=resnet18",
    "model.image.size=48",
    "model.image.options={channels: [16, 16, 16, 32]}",
    "model.text.width=32",
    "model.text.layers=1",
    "model.text.heads=2",
    "model.shared=16",
    "model.hidden=32",
    "model.observations.queries=4",
    "model.observations.width=32",
    "model.observations.heads=2",
    "model.correlation.width=32",
    "model.correlation.heads=2",
    "model.correlation.out=8",
    "train.batch_size=8",
    "train.precision=fp32",
    "train.steps=3",
)


@pytest.fixture(scope="module")
def mimic(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    return mimic_tree(tmp_path_factory.mktemp("mimic"), SOURCES["manifest"](phantom))


@pytest.mark.parametrize("recipe", ["mimic-vitb16", "mimic-r50"])
def test_the_recipe_names_the_set_its_views_and_its_text(mimic: Path, recipe: str) -> None:
    settings = load_recipe(recipe, [f"data.manifest={mimic}", *TINY]).data
    assert (settings.source, settings.options) == (
        "mimic_cxr",
        {"views": ["PA", "AP"], "text": "mgca"},
    )
    corpus = prepare_corpus(settings, max_tokens=64)
    expected = [study for study in read(mimic, views=["PA", "AP"], text="mgca") if study.report]
    assert [study.id for study in corpus.studies] == [study.id for study in expected]
    assert len(expected) == 39, "lateral pictures and the report without sections are left out"
    assert all(
        study.report == study.report.lower().replace("findings:", "FINDINGS:", 1)
        for study in corpus.studies
    )
    assert {name: len(rows) for name, rows in corpus.rows.items() if len(rows)}.keys() == {
        "train",
        "val",
        "test",
    }


def test_dry_run_then_a_run_that_is_resumed(mimic: Path, tmp_path: Path) -> None:
    overrides = [f"data.manifest={mimic}", *TINY]
    said = pretrain.run_recipe(
        "mimic-vitb16", overrides, out=tmp_path / "run", dry=True, device="cpu"
    )
    assert len(said["losses"]) == 2 and all(0 < loss < 20 for loss in said["losses"])
    config = load_recipe("mimic-vitb16", overrides)
    pretrain.run_pretraining(config, tmp_path / "run", device="cpu", stop_at=2)
    assert pretrain.run_pretraining(config, tmp_path / "run", device="cpu", resume="auto").finished


def test_the_text_rule_is_one_word_of_the_recipe(mimic: Path) -> None:
    settings = load_recipe(
        "mimic-vitb16", [f"data.manifest={mimic}", "data.options.text=sections", *TINY]
    ).data
    assert settings.options == {"views": ["PA", "AP"], "text": "sections"}
    assert any(
        study.report[10:11].isupper() for study in prepare_corpus(settings, max_tokens=64).studies
    )


@pytest.mark.parametrize(
    ("override", "code", "says"),
    [
        ("data.options.view=[PA]", "PL-C001", "Did you mean 'views'?"),
        ("data.split=mcga", "PL-C002", "Did you mean 'mgca'?"),
        ("data.columns.image=x", "PL-C001", "no option 'columns'"),
        ("data.source=mimic", "PL-C002", "Did you mean 'mimic_cxr'?"),
    ],
)
def test_wrong_words_are_named_before_any_work(
    mimic: Path, override: str, code: str, says: str
) -> None:
    settings = load_recipe("mimic-vitb16", [f"data.manifest={mimic}", override, *TINY]).data
    with pytest.raises(PlaceError) as refused:
        prepare_corpus(settings, max_tokens=64)
    assert refused.value.code == code and says in str(refused.value)


def test_published_lists_make_the_split(mimic: Path, tmp_path: Path) -> None:
    names = [study.image.stem for study in read(mimic, views=["PA"], text="none")]
    for part, chosen in (("train", names[:20]), ("val", names[20:25]), ("test", names[25:30])):
        (tmp_path / f"{part}.txt").write_text("\n".join(chosen))
    lists = [f"data.split_lists.{part}={tmp_path}/{part}.txt" for part in ("train", "val", "test")]
    corpus = prepare_corpus(
        load_recipe("mimic-vitb16", [f"data.manifest={mimic}", *lists, *TINY]).data, max_tokens=64
    )
    assert {name: len(rows) for name, rows in corpus.rows.items()} == {
        "train": 20,
        "val": 5,
        "test": 5,
    }
