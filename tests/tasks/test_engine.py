"""The engine: frozen means frozen, shares, folds, names that cannot be taught, and numbers from the
file alone.
"""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.metrics.intervals import mean_statistic
from place_cxr.models.image import ImagePyramid
from place_cxr.tasks import engine
from place_cxr.tasks.aggregate import seed_mean_statistic
from place_cxr.tasks.classification import Classification
from place_cxr.tasks.engine import (
    FractionsAndSeeds,
    ModelOrigin,
    _usable_splits,
    default_seeds,
    make_task,
    recompute_metrics,
    run_task,
)
from place_cxr.tasks.feature_cache import FeatureCache
from place_cxr.tasks.features import FrozenFeatures, HeadModel, load_images
from place_cxr.tasks.fractions import FOLD_COUNT, fold_splits
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.train_head import HeadDataset, predict_batches, train_head
from tests import heads


@pytest.fixture(scope="module")
def studies(phantom):
    return heads.corpus(phantom)


@pytest.fixture(scope="module")
def seen(studies, tmp_path_factory):
    """Classification on all 40 phantoms, and the folder it is in."""
    folder = tmp_path_factory.mktemp("tasks")
    task = make_task("classification", studies.studies)
    result = run_task(
        task,
        heads.model("CNN"),
        studies,
        folder,
        FractionsAndSeeds((0.5, 1.0), (0, 1)),
        origin=ModelOrigin("m"),
    )
    return result, folder / "classification" / "phantom"


def row(number, **labels):
    return Study(f"s{number}", "x", "", f"p{number}", labels=labels)


@pytest.mark.parametrize("kind", heads.IMAGES)
def test_frozen_features_are_those_of_evaluation_and_computed_once(studies, kind, monkeypatch):
    encoder = heads.model(kind).image_encoder.train()
    features = FrozenFeatures(encoder, studies, "maps", torch.device("cpu"))
    assert not encoder.training
    rows = studies.rows["test"][[2, 0, 2]]
    first = features(rows)
    spec = encoder.head_spec
    assert [m.shape[1] for m in first.maps] == list(spec.channels)
    assert [64 // m.shape[-1] for m in first.maps] == list(spec.strides)
    whole = encoder.head_features(load_images(studies, rows))
    torch.testing.assert_close(first.pooled, whole.pooled)
    torch.testing.assert_close(first.pooled, encoder(load_images(studies, rows)).pooled)
    for stored, fresh in zip(first.maps, whole.maps, strict=True):
        torch.testing.assert_close(stored, fresh, rtol=1e-3, atol=1e-3)  # half precision
    monkeypatch.setattr(encoder, "head_features", None)
    assert torch.equal(features(rows).maps[0], first.maps[0])


def test_tasks_of_one_model_share_its_maps(studies, tmp_path, monkeypatch):
    """No picture goes through the encoder twice, and nothing is computed whole where there is
    nothing to solve.
    """
    model, known, seen = heads.model("CNN"), FeatureCache(), []
    compute = model.image_encoder.head_features

    def counted(images):
        seen.append(len(images))
        return compute(images)

    monkeypatch.setattr(model.image_encoder, "head_features", counted)
    monkeypatch.setattr(HeadDataset, "whole", lambda self: pytest.fail("not asked for"))

    def run(name, fraction, **more):
        task = make_task(name, studies.studies, ["steps=2", "batch_size=4", "checks=1"])
        return run_task(
            task,
            model,
            studies,
            tmp_path,
            FractionsAndSeeds((fraction,), (0,)),
            origin=ModelOrigin("m"),
            **more,
        ).metrics

    shared = [
        run(name, fraction, feature_cache=known)
        for name in ("segmentation", "detection")
        for fraction in (0.5, 1.0)
    ]
    assert list(known.features) == ["ImageEncoder maps"] and sum(seen) <= len(studies.studies)
    seen.clear()
    assert run("segmentation", 0.5, feature_cache=known) == shared[0] and not seen
    assert run("segmentation", 0.5) == shared[0] and seen


def test_tasks_of_words_share_what_the_model_says(studies, tmp_path, monkeypatch):
    """Pictures and reports are described once; a task of fewer rows takes its part, and numbers
    stay as they were.
    """
    model, known, calls = heads.model("CNN"), FeatureCache(), []
    look = model.describe_image
    monkeypatch.setattr(
        model, "describe_image", lambda image: (calls.append(len(image)), look(image))[1]
    )

    def run(name, **more):
        task = make_task(name, studies.studies)
        return run_task(
            task,
            model,
            studies,
            tmp_path,
            FractionsAndSeeds((1.0,), (0,)),
            origin=ModelOrigin("m"),
            **more,
        ).metrics

    names = ("zero-shot", "grounding", "retrieval")
    shared = [run(name, feature_cache=known) for name in names]
    assert sum(calls) == len(studies.rows["test"]) and len(known.embeddings) == 1
    assert [run(name) for name in names] == shared


def test_a_part_of_what_was_described_is_as_described_alone(studies):
    model, rows = heads.model("CNN"), studies.rows["test"][[4, 0, 2]]
    known = FeatureCache()
    known.embed(model, studies, studies.rows["test"])
    part, alone = known.embed(model, studies, rows), FeatureCache().embed(model, studies, rows)
    assert part.studies == alone.studies and part.rows.tolist() == rows.tolist()
    for name in ("pooled", "instance_text", "visual", "patches", "textual", "report_key"):
        np.testing.assert_allclose(
            getattr(part, name), getattr(alone, name), rtol=1e-3, atol=1e-5, err_msg=name
        )
    assert (part.grid, part.places_grid) == (alone.grid, alone.places_grid)


def test_features_that_are_not_kept_are_the_same(studies, monkeypatch):
    encoder = heads.model("CNN").image_encoder
    kept = FrozenFeatures(encoder, studies, "pooled", torch.device("cpu"))
    monkeypatch.setattr("place_cxr.tasks.features.MAX_CACHED_BYTES", 0)
    anew = FrozenFeatures(encoder, studies, "pooled", torch.device("cpu"))
    rows = studies.rows["val"]
    assert torch.equal(kept(rows).pooled, anew(rows).pooled)


def test_only_fine_tuning_moves_weights_and_an_encoder_of_its_own(studies):
    model = heads.model("CNN")
    for trains in (False, True):
        learner = HeadModel(torch.nn.Identity(), "pooled", model.image_encoder, trains).train()
        assert any(p.requires_grad for p in learner.parameters()) == trains
        before = model.image_encoder.body.bn1.running_mean.clone()
        learner(load_images(studies, studies.rows["train"]))
        assert torch.equal(model.image_encoder.body.bn1.running_mean, before)
        assert not torch.equal(
            learner.encoder.body.bn1.running_mean, before
        )  # batch statistics move: the quirk


def known_features(count, seed=0):
    """Studies whose pooled features tell the labels A and B, and nothing else."""
    rng = np.random.default_rng(seed)
    studies = [
        row(i, A=float(rng.random() < 0.4), B=float(rng.random() < 0.4)) for i in range(count)
    ]
    table = np.array([[s.labels["A"], s.labels["B"]] for s in studies])
    pooled = np.concatenate(
        [2 * table - 1, rng.normal(size=(count, 6))], axis=1
    ) + 0.3 * rng.normal(size=(count, 8))
    return SimpleNamespace(studies=studies), torch.from_numpy(pooled).float()


@pytest.mark.parametrize("kind", ["multi-label", "multi-class"])
def test_the_loop_teaches_a_head_and_keeps_the_best(kind, tmp_path):
    data, pooled = known_features(300)
    if kind == "multi-class":
        data.studies = [
            dataclasses.replace(s, labels={"A": s.labels["A"], "B": 1 - s.labels["A"]})
            for s in data.studies
        ]
    settings = Classification.Settings.model_validate({"kind": kind, "steps": 60, "lr": 0.05})
    task = Classification(settings, ("A", "B"))

    def inputs(rows):
        return ImagePyramid(pooled[torch.from_numpy(rows)])

    truth = task.targets(data)
    train, val = (
        HeadDataset(np.arange(200), inputs, truth),
        HeadDataset(np.arange(200, 250), inputs, truth),
    )
    learner = HeadModel(task.head(SimpleNamespace(pooled=8)), "pooled")
    train_head(task, learner, train, val, seed=0, device=torch.device("cpu"), folder=tmp_path)
    assert list(tmp_path.iterdir()) == [] and not learner.training
    [(rows, logits)] = predict_batches(learner, inputs, np.arange(250, 300), torch.device("cpu"))
    labels = truth(rows)["labels"]
    right = (
        (logits > 0).float() == labels
        if kind == "multi-label"
        else logits.argmax(1) == labels.argmax(1)
    )
    assert right.float().mean() > 0.93


def test_batches_are_functions_of_the_seed_and_pass_over_all(studies):
    material = HeadDataset(np.arange(10, 17), lambda rows: torch.zeros(len(rows)), lambda rows: {})
    stream = material.batches(3, 5)(0)
    rows = torch.cat([next(stream).row for _ in range(7)])
    assert sorted(rows[:7].tolist()) == sorted(rows[7:14].tolist()) == list(range(10, 17))
    later = material.batches(3, 5)(4)
    assert torch.equal(next(later).row, rows[12:15])


@pytest.mark.fault("S8")
def test_every_patient_is_tested_once_in_five_folds():
    people = [dataclasses.replace(row(i), patient=f"p{i // 2}") for i in range(60)]
    rounds = [fold_splits(people, seed) for seed in range(FOLD_COUNT)]
    assert sorted(np.concatenate([r["test"] for r in rounds]).tolist()) == list(range(60))
    for found in rounds:
        assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(60))
        owners = [{people[i].patient for i in found[split]} for split in found]
        assert not (owners[0] & owners[1] or owners[0] & owners[2] or owners[1] & owners[2])
        assert len(found["test"]) == 12


@pytest.mark.fault("S8")
def test_folds_test_every_patient_once_and_only_what_others_taught(studies, tmp_path):
    few = [row for split in ("train", "val", "test") for row in studies.rows[split].tolist()][:25]
    data = heads.with_rows(studies, train=few, val=[], test=[])  # whose splits folds do not need
    task = make_task("classification", data.studies, ["findings=[Cardiomegaly]"], profile="folds")
    assert default_seeds("folds") == default_seeds("prior") == (0, 1, 2, 3, 4) and default_seeds(
        "strict"
    ) == (0, 1, 2)
    result = run_task(
        task,
        heads.model("CNN"),
        data,
        tmp_path,
        FractionsAndSeeds((1.0,), default_seeds("folds")),
        origin=ModelOrigin("m"),
    )
    folder = tmp_path / "classification-folds" / "phantom"
    assert (
        result.task == "classification-folds"
        and "interval over all tested patients" in result.signature
    )
    assert recompute_metrics(folder) == dict(result.metrics)
    predicted = Predictions.read(folder)
    tested, chosen = predicted.subset("test"), predicted.subset("val")
    assert sorted(tested.values("row")) == sorted(chosen.values("row")) == sorted(few)
    for seed in range(FOLD_COUNT):
        owners = [
            {
                studies.studies[row].patient
                for row, s in zip(part.values("row"), part.seeds, strict=True)
                if s == seed
            }
            for part in (tested, chosen)
        ]
        assert all(owners) and not owners[0] & owners[1]
    numbers = dict(zip(predicted.values("row"), predicted.patients, strict=True))
    owners = {
        patient: number
        for number, patient in enumerate(
            dict.fromkeys(studies.studies[r].patient for r in sorted(few))
        )
    }
    assert numbers == {
        row: str(owners[studies.studies[row].patient]) for row in few
    }  # those of any other division
    wrong = (tested.numbers("score.Cardiomegaly") - tested.numbers("truth.Cardiomegaly"))[:, 0] ** 2
    each = [wrong[tested.seeds == seed].mean() for seed in range(FOLD_COUNT)]
    brier = result.metrics["100%/brier/Cardiomegaly"]
    assert brier.value == pytest.approx(np.mean(each)) and brier.n == len(few)


def test_a_second_round_of_folds_is_drawn_anew():
    people = [row(i) for i in range(50)]
    again = [fold_splits(people, seed) for seed in range(FOLD_COUNT, 2 * FOLD_COUNT)]
    assert sorted(np.concatenate([r["test"] for r in again]).tolist()) == list(range(50))
    assert again[0]["test"].tolist() != fold_splits(people, 0)["test"].tolist()


def test_folds_are_shared_out_among_those_who_take_part():
    """Seven of a hundred patients have a mask: every fold still tests one of them."""
    people = [
        dataclasses.replace(row(i), masks={"Mass": "m"} if i % 15 == 0 else {}) for i in range(100)
    ]
    task = make_task("segmentation", people, profile="folds")
    data = SimpleNamespace(studies=people, rows={"train": np.arange(100)}, source="s")
    parts = [_usable_splits(task, data, seed) for seed in range(FOLD_COUNT)]
    assert sorted(np.concatenate([p["test"] for p in parts]).tolist()) == list(range(0, 100, 15))
    assert all(not set(p["test"]) & set(p["train"]) for p in parts)


def test_a_fold_without_a_value_stays_out_of_the_mean():
    seeds = np.array([0, 0, 1, 1])
    values = np.array([0.2, 0.4, np.nan, np.nan])
    statistic = seed_mean_statistic(seeds, lambda rows: mean_statistic(values[rows]))
    found = statistic(np.array([[1.0, 1, 1, 1], [2, 0, 1, 1], [0, 0, 1, 1]]))
    np.testing.assert_allclose(found, [0.3, 0.2, np.nan])


def test_scores_come_from_the_file_alone(seen):
    result, folder = seen
    assert (
        recompute_metrics(folder)
        == dict(result.metrics)
        == recompute_metrics(folder / "predictions.parquet")
    )
    table = pq.read_table(folder / "predictions.parquet")
    scores = [name for name in table.column_names if name.startswith("score.")]
    assert scores and table.num_rows == 2 * 2 * 16  # shares, seeds, val and test
    metadata = json.loads(table.schema.metadata[b"place"])
    assert metadata["task"] == "classification" and metadata["profile"] == "strict"


def test_no_predictions_are_refused(tmp_path):
    for content in (b"", b"PAR1"):
        (tmp_path / "predictions.parquet").write_bytes(content)
        with pytest.raises(PlaceError, match="PL-R021"):
            recompute_metrics(tmp_path)
    with pytest.raises(PlaceError, match="PL-R021"):
        Predictions.read(tmp_path / "none")


@pytest.mark.fault("E2")
def test_a_class_without_positives_is_named_and_never_0(studies, tmp_path):
    test = set(studies.rows["test"].tolist())
    changed = [
        dataclasses.replace(s, labels=s.labels | {"Rare": float(i in test), "Never": 0.0})
        for i, s in enumerate(studies.studies)
    ]
    data = dataclasses.replace(studies, studies=changed)
    task = make_task(
        "classification", changed, ["findings=['Rare', 'Never', 'Cardiomegaly']".replace("'", '"')]
    )
    metrics = run_task(
        task,
        heads.model("CNN"),
        data,
        tmp_path,
        FractionsAndSeeds((1.0,), (0,)),
        origin=ModelOrigin("m"),
    ).metrics
    for name in ("Rare", "Never"):
        for metric in ("auroc", "average precision", "f1", "brier"):
            value = metrics[f"100%/{metric}/{name}"]
            assert value.value is None and "no present rows among" in value.reason
    macro = metrics["100%/auroc/macro"]
    assert "without Rare, Never" in macro.reason
    if metrics["100%/auroc/Cardiomegaly"].value is not None:
        assert macro.value == metrics["100%/auroc/Cardiomegaly"].value


def test_what_a_source_lacks_is_said_before_anything_runs(studies, tmp_path):
    bare = [row(1), row(2)]
    with pytest.raises(PlaceError, match="PL-D225"):
        make_task("classification", bare)
    with pytest.raises(PlaceError, match="PL-D225"):  # a column of labels in which nothing stands
        make_task("classification", [row(1, Nodule=float("nan"))])
    with pytest.raises(PlaceError, match="PL-C002"):
        make_task("classificatoin", studies.studies)
    with pytest.raises(PlaceError, match="PL-C001"):
        make_task("classification", studies.studies, ["stepps=3"])
    with pytest.raises(PlaceError, match="Did you mean 'Cardiomegaly'"):
        make_task("classification", studies.studies, ["findings=[Cardiomegally]"])
    for bad in (
        {"fractions": (0.0,)},
        {"fractions": (1.1,)},
        {"fractions": ()},
        {"seeds": ()},
        {"seeds": (-1,)},
    ):
        with pytest.raises(PlaceError, match="PL-C040"):
            FractionsAndSeeds(**bad)
    empty = heads.with_rows(studies, val=[])
    task = make_task("classification", studies.studies)
    with pytest.raises(PlaceError, match="PL-D224"):
        run_task(task, heads.model("CNN"), empty, tmp_path, origin=ModelOrigin("m"))


def test_a_name_that_first_rows_do_not_teach_is_looked_for_in_all(studies, tmp_path, monkeypatch):
    """The masks of few rows are read first; what these lack, later rows may have."""
    monkeypatch.setattr(engine, "_FIRST_ROWS", 1)
    result = run_task(
        make_task("classification", studies.studies),
        heads.model("CNN"),
        studies,
        tmp_path,
        FractionsAndSeeds((1.0,), (0,)),
        origin=ModelOrigin("m"),
    )
    monkeypatch.undo()
    whole = run_task(
        make_task("classification", studies.studies),
        heads.model("CNN"),
        studies,
        tmp_path,
        FractionsAndSeeds((1.0,), (0,)),
        origin=ModelOrigin("m"),
    )
    assert result.metrics == whole.metrics
    assert any(metric.value is not None for metric in whole.metrics.values())


def test_fine_tuning_never_solves_a_head_on_features(studies, tmp_path, monkeypatch):
    """The optimum on the features of before is not that of an encoder which learns too."""
    monkeypatch.setattr(Classification, "fit_closed_form", lambda *_: pytest.fail("was solved"))
    task = make_task(
        "classification", studies.studies, ["steps=2", "checks=1", "batch_size=4"], mode="finetune"
    )
    result = run_task(
        task,
        heads.model("CNN"),
        studies,
        tmp_path,
        FractionsAndSeeds((1.0,), (0,)),
        origin=ModelOrigin("m"),
    )
    assert result.task == "classification-finetune"
