"""Report generation: degenerate answers, the trivial answers beside it, what is kept, and what
V-PORs tell.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from place_cxr.models.report_features import (
    ReportFeatureEncoder,
    ReportFeatures,
    ReportFeatureSpec,
)
from place_cxr.tasks.features import HeadModel, load_images
from place_cxr.tasks.predictions import Predictions, add_columns, list_column, stack_cells
from place_cxr.tasks.report_baselines import (
    most_frequent_report,
    nearest_reports,
    reference_report,
)
from place_cxr.tasks.report_generation import ReportGeneration
from place_cxr.tasks.train_head import HeadDataset, predict_batches, train_head
from tests import heads


def make(*names, **settings):
    settings = ReportGeneration.Settings.model_validate(settings)
    return ReportGeneration(settings, names or ReportGeneration.names_in(()))


@pytest.fixture(scope="module")
def data(phantom):
    """Phantoms whose token numbers are rows: one number stands for the whole report of that row."""
    found = heads.corpus(phantom)
    said = [reference_report(study) for study in found.studies]
    return dataclasses.replace(found, decode=lambda ids: " ".join(said[row] for row in ids))


def judged(data, written, pooled=None):
    rows = data.rows["test"]
    columns = {
        "row": rows,
        "patient": list(range(len(rows))),
        "ids": list_column(written, integers=True),
    }
    told = stack_cells([({"fraction": 1.0, "seed": 0, "split": "test"}, columns)])
    pooled = pooled or (lambda rows: torch.ones(len(rows), 2))
    more = make().baseline_columns(told, data, data.rows["train"], pooled)
    return Predictions({"left_out": {}}, add_columns(told, more))


def scores(found, who="decoder"):
    metrics = make().score(found)
    return {
        name.split("/")[1]: value for name, value in metrics.items() if name.endswith(f"/{who}")
    }


def test_the_reports_themselves_are_perfect_and_nothing_scores_nothing(data):
    perfect = scores(judged(data, [[row] for row in data.rows["test"].tolist()]))
    for name in (
        "BLEU-1",
        "BLEU-4",
        "ROUGE-L",
        "micro precision",
        "micro F1",
        "macro recall",
        "example F1",
    ):
        assert perfect[name].value == pytest.approx(1), name
    silent = scores(judged(data, [[]] * len(data.rows["test"])))
    for name in (
        "BLEU-1",
        "BLEU-4",
        "ROUGE-L",
        "CIDEr",
        "micro recall",
        "micro F1",
        "macro F1",
        "example F1",
    ):
        assert silent[name].value == 0, name
    assert silent["micro precision"].value is None and silent["micro precision"].reason
    assert silent["METEOR"].value is None and "meteor=true" in silent["METEOR"].reason


def test_a_decoder_that_repeats_the_most_frequent_report_scores_as_that_does(data):
    keys = np.array(data.reports.report_key)
    train = data.rows["train"]
    keys[train[[3, 5, 7]]], keys[train[[2, 4]]] = 11, 12
    data = dataclasses.replace(data, reports=dataclasses.replace(data.reports, report_key=keys))
    row = most_frequent_report(data.reports, train)
    assert row == train[3]
    found = judged(data, [[row]] * len(data.rows["test"]))
    assert set(found.values("frequent.row")) == {row}
    assert scores(found) == scores(found, "frequent")
    best = scores(judged(data, [[row] for row in data.rows["test"].tolist()]))
    assert all(
        scores(found)[name].value < best[name].value for name in ("BLEU-4", "CIDEr", "micro F1")
    )


def test_the_nearest_is_of_the_training_rows_and_its_report_is_what_is_scored(data):
    train, test = data.rows["train"], data.rows["test"]
    vectors = torch.eye(len(data.studies))
    likes = train[(5 * np.arange(len(test))) % len(train)]
    vectors[test] = (
        0.8 * vectors[likes] + 0.6 * vectors[test[::-1].copy()]
    )  # other test rows are no answer

    def pooled(rows):
        return vectors[torch.from_numpy(rows)]

    assert nearest_reports(test, train, pooled).tolist() == likes.tolist()
    found = judged(data, [[row] for row in likes.tolist()], pooled)
    assert scores(found) == scores(found, "nearest") != scores(found, "frequent")


def test_what_is_kept_has_no_reference_in_it(data):
    table = judged(data, [[0]] * len(data.rows["test"])).table
    answers = {
        f"{who}.{what}"
        for who in ("decoder", "frequent", "nearest")
        for what in ("measures", "labels", "meteor")
    }
    own = {
        "fraction",
        "seed",
        "split",
        "row",
        "patient",
        "ids",
        "frequent.row",
        "nearest.row",
        "truth.labels",
    }
    assert set(table.column_names) == own | answers
    assert {len(row) for row in table["decoder.measures"].to_pylist()} == {12}
    assert {len(row) for row in table["truth.labels"].to_pylist()} == {14}


@pytest.mark.parametrize("kind", heads.IMAGES)
def test_a_reader_sees_what_the_model_describes(data, kind):
    model = heads.model(kind)
    images = load_images(data, data.rows["test"][:2])
    reader = ReportFeatureEncoder(model)
    seen, described = reader.head_features(images), model.describe_image(images)
    torch.testing.assert_close(seen.pooled, described.vector)
    torch.testing.assert_close(reader(images).pooled, described.vector)
    torch.testing.assert_close(seen.observations, described.observations.vectors)
    torch.testing.assert_close(seen.attention, described.attention)
    assert tuple(tuple(level.shape[1:]) for level in seen.levels) == reader.head_spec.shapes


def test_a_decoder_learns_what_vpors_tell_where_it_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=120)
    ids = np.stack([np.array([[1, 4, 5, 6, 2, 0], [1, 7, 8, 2, 0, 0]])[k] for k in kind])
    data = SimpleNamespace(reports=SimpleNamespace(ids=ids, pad_id=0))
    patches = torch.from_numpy(rng.normal(size=(120, 4, 8))).float()
    vpors = torch.from_numpy(rng.normal(size=(120, 3, 4))).float() * 0.1
    vpors[:, 0, 0] += torch.from_numpy(2.0 * kind - 1).float()

    def inputs(rows):
        attention = torch.full((len(rows), 3, 4), 0.25)
        return ReportFeatures(torch.zeros(len(rows), 4), patches[rows], vpors[rows], attention)

    def right(reads):
        small = {"width": 16, "heads": 2, "layers": 1, "dropout": 0.0, "max_tokens": 8}
        task = make(vpors=reads, steps=120, lr=1e-2, checks=1, batch_size=32, decoder=small)
        torch.manual_seed(0)
        spec = ReportFeatureSpec(4, ((4, 8), (3, 4), (3, 4)), (2, 2), 10)
        learner = HeadModel(task.head(spec), "report")
        train, val = (
            HeadDataset(rows, inputs, task.targets(data))
            for rows in (np.arange(64), np.arange(64, 90))
        )
        train_head(task, learner, train, val, seed=0, device=torch.device("cpu"), folder=tmp_path)
        [(rows, said)] = predict_batches(learner, inputs, np.arange(90, 120), torch.device("cpu"))
        written = task.predict(said, data, rows)["ids"].to_pylist()
        return np.mean(
            [one == [t for t in ids[row] if t > 2] for one, row in zip(written, rows, strict=True)]
        )

    assert right(True) > 0.85 and right(False) < 0.75  # half is guessing
