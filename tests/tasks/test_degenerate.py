"""Answers that know nothing, and the true answer, put to every task: nothing earns a reward by
saying nothing.

Under ``strict`` an empty answer scores 0 or has no value and a reason; ``mgca`` scores as it was
published.
"""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from place_cxr.metrics import text
from place_cxr.metrics.overlap import heat_overlap, pointing_game
from place_cxr.tasks import TASKS
from place_cxr.tasks.classification import Classification
from place_cxr.tasks.detection import Detection
from place_cxr.tasks.grounding import GROUNDING_VARIANTS, Grounding
from place_cxr.tasks.masks import run_lengths
from place_cxr.tasks.predictions import Predictions, list_column, matrix_column
from place_cxr.tasks.report_baselines import label_reports
from place_cxr.tasks.report_generation import REPORT_WRITERS, ReportGeneration
from place_cxr.tasks.retrieval import Retrieval
from place_cxr.tasks.segmentation import Segmentation
from place_cxr.tasks.zero_shot import ZeroShotClassification

N = 40  # studies; every fourth has the finding
THERE = np.arange(N) % 4 == 3


def scored(kind, profile, names, splits=("test",), **columns):
    one = {"fraction": [1.0] * N, "seed": [0] * N, "row": range(N), "patient": range(N)}
    one |= {name: [""] * N for name in ("sex", "age", "view", "site")} | columns
    table = pa.concat_tables([pa.table({**one, "split": [split] * N}) for split in splits])
    return kind(kind.Settings(), names, profile).score(Predictions({"left_out": {}}, table))


def classification(answer, profile, truth=THERE):
    said = {
        "constant": np.full(N, 0.25),
        "random": np.random.default_rng(1).random(N),
        "truth": truth.astype(float),
    }[answer]
    columns = {"truth.A": truth.astype(float), "score.A": said}
    return scored(Classification, profile, ("A",), ("val", "test"), **columns)


def zero_shot(answer, profile):
    said = {
        "constant": np.zeros(N),
        "random": np.random.default_rng(1).random(N),
        "truth": THERE.astype(float),
    }[answer]
    said = {f"{variant}.A": said for variant in ("instance", "observation", "mix")}
    return scored(
        ZeroShotClassification, profile, ("A",), **{"truth.A": THERE.astype(float), **said}
    )


def retrieval(answer, profile):
    scores = {
        "constant": np.zeros((N, N)),
        "random": np.random.default_rng(1).random((N, N)),
        "truth": np.eye(N),
    }[answer]
    table = matrix_column(scores.astype(np.float32))
    columns = {
        "instance": table,
        "observation": table,
        "report": np.arange(N),
        "class": THERE.astype(int),
    }
    return scored(Retrieval, profile, ("A", "B"), **columns)


def segmentation(answer, profile, truth=THERE):
    square, nothing, everything = (
        np.zeros((8, 8), bool),
        np.zeros((8, 8), bool),
        np.ones((8, 8), bool),
    )
    square[:4, :4] = True
    there = [square if has else nothing for has in truth]
    said = {"empty masks": [nothing] * N, "full masks": [everything] * N, "truth": there}[answer]
    columns = {f"{what}.A": list_column([run_lengths(m) for m in masks], integers=True)
               for what, masks in (("mask", said), ("truth", there))}  # fmt: skip
    return scored(Segmentation, profile, ("A",), **columns, height=[8] * N, width=[8] * N)


def grounding(answer, profile):
    square = np.zeros((8, 8), bool)
    square[:4, :4] = True
    heat = {
        "uniform": np.ones((1, 8, 8)),
        "nothing": np.zeros((1, 8, 8)),
        "truth": square[None].astype(float),
    }[answer]
    hit, overlap = pointing_game(heat, square[None])[0], heat_overlap(heat, square[None]).iou[0]
    columns = {f"hit.{variant}.A": np.where(THERE, hit, np.nan) for variant in GROUNDING_VARIANTS}
    columns |= {
        f"IoU.{variant}.A": np.where(THERE, overlap, np.nan) for variant in GROUNDING_VARIANTS
    }
    return scored(Grounding, profile, ("A",), **columns)


def detection(answer, profile, truth=THERE):
    one = [[10.0, 10, 30, 30]]
    every = [
        [float(x), float(y), x + 20.0, y + 20.0] for x in range(0, 80, 10) for y in range(0, 80, 10)
    ]
    there = [one if has else [] for has in truth]
    said = {
        "no boxes": [[]] * N,
        "all boxes": [every] * N,
        "truth": there,
        "faint boxes": there,
        "sure where nothing is": [one] * N,
    }[answer]
    sure = 0.4 if answer == "faint boxes" else 0.9
    columns = {}
    for name, boxes in (("", said), ("true ", there)):
        columns[f"{name}boxes"] = list_column([np.ravel(found).tolist() for found in boxes])
        columns[f"{name}labels"] = list_column([[0] * len(found) for found in boxes], integers=True)
    return scored(
        Detection,
        profile,
        ("A",),
        **columns,
        scores=list_column([[sure] * len(found) for found in said]),
    )


def report_generation(answer, profile):
    """Three quarters of the reports are one normal report."""
    normal, ill = (
        "The heart is normal. The lungs are clear.",
        "There is a large left pleural effusion number {}.",
    )
    truth = [ill.format(n) if has else normal for n, has in enumerate(THERE)]
    said = {"nothing": [""] * N, "most frequent": [normal] * N, "truth": truth}[answer]
    names, columns = ReportGeneration.names_in(()), {}
    columns["truth.labels"] = list_column(label_reports(truth, names))
    for who in REPORT_WRITERS:
        columns[f"{who}.measures"] = list_column(text.measure_reports(said, truth).tolist())
        columns[f"{who}.labels"] = list_column(label_reports(said, names))
        columns[f"{who}.meteor"] = pa.array([None] * N, pa.float64())
    return scored(ReportGeneration, profile, names, **columns)


ASKED = {
    "classification": classification,
    "zero-shot": zero_shot,
    "retrieval": retrieval,
    "grounding": grounding,
    "segmentation": segmentation,
    "detection": detection,
    "report-generation": report_generation,
}
SHARE = 0.25
FULL = 2 * 16 / (64 + 16)  # Dice of everything against a square of 16 of 64 pixels
# Task, answer, metric -> values under strict and under mgca: a number, a range, or None where there
# is none.
TABLE = [
    ("classification", "constant", "100%/auroc/A", 0.5, 0.5),
    ("classification", "constant", "100%/average precision/A", SHARE, SHARE),
    ("classification", "constant", "100%/f1/A", 2 * SHARE / (1 + SHARE), 2 * SHARE / (1 + SHARE)),
    ("classification", "random", "100%/auroc/A", (0.2, 0.8), (0.2, 0.8)),
    ("classification", "truth", "100%/auroc/A", 1, 1),
    ("zero-shot", "constant", "mix/auroc/A", 0.5, 0.5),
    ("zero-shot", "constant", "mix/average precision/A", SHARE, SHARE),
    ("zero-shot", "random", "mix/auroc/A", (0.2, 0.8), (0.2, 0.8)),
    ("zero-shot", "truth", "mix/auroc/A", 1, 1),
    *(
        ("retrieval", "constant", f"{variant}/{direction}/{metric}", value, value)
        for variant in ("instance", "observation", "mix", "rerank")
        for direction in ("image to report", "report to image")
        for metric, value in (("R@1", 1 / N), ("R@10", 10 / N), ("median rank", (N + 1) / 2))
    ),
    (
        "retrieval",
        "constant",
        "mix/image to report, class/P@10",
        (SHARE**2 + 0.75**2,) * 2,
        (SHARE**2 + 0.75**2,) * 2,
    ),
    ("retrieval", "random", "mix/image to report/R@10", (0.05, 0.5), (0.05, 0.5)),
    ("retrieval", "random", "mix/image to report/median rank", (10, 30), (10, 30)),
    ("retrieval", "truth", "mix/image to report/R@1", 1, 1),
    # The same everywhere: what the square has of the picture.
    ("grounding", "uniform", f"{GROUNDING_VARIANTS[0]}/pointing game/A", SHARE, SHARE),
    ("grounding", "uniform", f"{GROUNDING_VARIANTS[0]}/IoU/A", SHARE, SHARE),
    ("grounding", "nothing", f"{GROUNDING_VARIANTS[0]}/pointing game/A", SHARE, SHARE),
    ("grounding", "nothing", f"{GROUNDING_VARIANTS[0]}/IoU/A", 0, 0),
    ("grounding", "truth", f"{GROUNDING_VARIANTS[0]}/pointing game/A", 1, 1),
    ("grounding", "truth", f"{GROUNDING_VARIANTS[0]}/IoU/A", 1, 1),
    ("segmentation", "empty masks", "100%/dice/A", 0, 0.75),
    ("segmentation", "empty masks", "100%/IoU/A", 0, 0.75),
    ("segmentation", "full masks", "100%/dice/A", FULL, SHARE * FULL),
    ("segmentation", "truth", "100%/dice/A", 1, 1),
    ("detection", "no boxes", "100%/AP 40-75/A", 0, None),
    ("detection", "all boxes", "100%/AP 50/A", (0, 0.05), (0, 0.05)),
    ("detection", "faint boxes", "100%/AP 50/A", 1, None),
    ("detection", "sure where nothing is", "100%/AP 50/A", (0.2, 0.3), 1),
    ("detection", "truth", "100%/AP 50-95/A", 1, 1),
    *(
        ("report-generation", "nothing", f"100%/{metric}/decoder", value, value)
        for metric, value in (
            ("BLEU-1", 0),
            ("BLEU-4", 0),
            ("ROUGE-L", 0),
            ("CIDEr", 0),
            ("micro F1", 0),
            ("micro recall", 0),
            ("micro precision", None),
            ("example F1", 0),
        )
    ),
    ("report-generation", "most frequent", "100%/BLEU-4/decoder", (0.3, 0.9), (0.3, 0.9)),
    ("report-generation", "most frequent", "100%/Pleural Effusion F1/decoder", 0, 0),
    ("report-generation", "truth", "100%/BLEU-4/decoder", 1, 1),
    ("report-generation", "truth", "100%/micro F1/decoder", 1, 1),
]


@pytest.mark.parametrize("profile", ["strict", "mgca"])
def test_every_answer_scores_as_it_should(profile):
    for task, rows in itertools.groupby(TABLE, key=lambda row: row[:2]):
        metrics = ASKED[task[0]](task[1], profile)
        for *_, metric, strict, published in rows:
            found, expected = metrics[metric], strict if profile == "strict" else published
            if expected is None:
                assert found.value is None and found.reason, (task, metric)
                continue
            low, high = expected if isinstance(expected, tuple) else (expected, expected)
            assert low - 1e-9 <= found.value <= high + 1e-9, (task, metric, found.value)


def test_every_task_is_in_the_table_with_a_trivial_answer_and_the_true_one():
    answers = {task: {row[1] for row in TABLE if row[0] == task} for task in TASKS}
    assert all("truth" in found and len(found) > 1 for found in answers.values()), answers


@pytest.mark.parametrize(
    ("ask", "answer", "own"),
    [
        (
            segmentation,
            "empty masks",
            {"empty kept empty"},
        ),  # says by its name that it is about nothing
        (detection, "no boxes", {"sure boxes where nothing is"}),
        (report_generation, "nothing", set()),
    ],
)
def test_under_strict_no_score_rewards_an_empty_answer(ask, answer, own):
    for name, metric in ask(answer, "strict").items():
        if name.split("/")[1] not in own:
            assert metric.value == 0 or (metric.value is None and metric.reason), name


@pytest.mark.parametrize(
    ("ask", "answer", "metric"),
    [
        (classification, "constant", "100%/auroc/A"),
        (classification, "truth", "100%/auroc/A"),
        (segmentation, "empty masks", "100%/dice/A"),
        (detection, "no boxes", "100%/AP 50/A"),
    ],
)
def test_where_nobody_has_it_there_is_no_score(ask, answer, metric):
    found = ask(answer, "strict", np.zeros(N, bool))[metric]
    assert found.value is None and found.reason
