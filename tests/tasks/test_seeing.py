"""Tasks of words and of classes: a seeing model scores high, a blind one at chance, and both say so
in result.json.
"""

import dataclasses

import numpy as np
import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.core.results import Result
from place_cxr.core.version import RESEARCH_NOTICE
from place_cxr.tasks import grounding
from place_cxr.tasks.descriptions import embed_phrases, embed_studies
from place_cxr.tasks.engine import (
    FractionsAndSeeds,
    ModelOrigin,
    make_task,
    recompute_metrics,
    run_task,
)

from .conftest import FINDINGS, PROMPTS, VIEW, Seer, tokenize, view

PROMPTED = ("zero-shot", "grounding")


@pytest.fixture(scope="session")
def ask(prompt_file, tmp_path_factory):
    """Runs one task on a model; the result, and the folder it is in."""

    def run(name, data, model, file=prompt_file):
        folder = tmp_path_factory.mktemp("tasks")
        task = make_task(name, data.studies, [f"prompts={file}"] if name in PROMPTED else [])
        result = run_task(
            task,
            model,
            data,
            folder,
            FractionsAndSeeds((0.1, 1.0), (0, 1)),
            origin=ModelOrigin("m"),
        )
        return result, folder / name / data.source

    return run


@pytest.fixture(scope="module")
def folders(data, ask):
    return [ask(name, data, Seer()) for name in (*PROMPTED, "retrieval", "classification")]


@pytest.fixture(scope="module")
def seen(folders):
    return {result.task: result for result, _ in folders}


@pytest.fixture(scope="module")
def blind(data, ask):
    return {
        name: ask(name, data, Seer(blind=True))[0]
        for name in (*PROMPTED, "retrieval", "classification")
    }


@pytest.fixture(scope="module")
def embedded(data):
    return embed_studies(
        Seer(),
        data.pack.pixels,
        data.reports,
        data.rows["test"],
        data.studies,
        view=view,
        batch_size=17,
    )


def value(result, name):
    return result.metrics[name].value


def test_a_seeing_model_scores_high_and_a_blind_one_at_chance(seen, blind):
    for name in ("observation/auroc/macro", "mix/auroc/macro"):
        assert value(seen["zero-shot"], name) > 0.99
        assert abs(value(blind["zero-shot"], name) - 0.5) < 0.15
    assert value(seen["classification"], "100%/auroc/macro") > 0.99
    assert abs(value(blind["classification"], "100%/auroc/macro") - 0.5) < 0.15
    assert value(seen["grounding"], "observation/pointing game/macro") > 0.99
    assert value(blind["grounding"], "observation/pointing game/macro") < 0.5
    for direction in ("image to report", "report to image"):
        assert (
            value(seen["retrieval"], f"mix/{direction}/R@10")
            > 0.99
            > value(blind["retrieval"], f"mix/{direction}/R@1") + 0.5
        )
        assert value(seen["retrieval"], f"mix/{direction}/median rank") < 5


def test_every_number_has_an_interval_or_a_reason(seen, blind):
    for result in (*seen.values(), *blind.values()):
        assert result.metrics and result.signature
        for metric in result.metrics.values():
            assert metric.reason or metric.low <= metric.value <= metric.high
            assert metric.n > 0 or metric.reason


def test_trivial_answers_stand_beside_grounding(seen):
    metrics = seen["grounding"].metrics
    assert metrics["uniform/pointing game/macro"].value == pytest.approx(
        (8 / 40) ** 2 * (40 / 32) ** 2, rel=0.02
    )
    assert (
        metrics["uniform/pointing game/macro"].value
        < metrics["observation/pointing game/macro"].low
    )
    assert metrics["centre/IoU/macro"].value < metrics["observation/IoU/macro"].low


def test_results_are_files_that_can_be_scored_again(folders):
    for result, folder in folders:
        assert RESEARCH_NOTICE in (folder / "result.json").read_text("utf-8")
        assert Result.read(folder) == result
        assert recompute_metrics(folder) == result.metrics


def test_batches_do_not_change_what_is_embedded(data, embedded):
    whole = embed_studies(
        Seer(), data.pack.pixels, data.reports, data.rows["test"], data.studies, view=view
    )
    for field in dataclasses.fields(whole):
        first, second = getattr(whole, field.name), getattr(embedded, field.name)
        assert np.allclose(first, second) if isinstance(first, np.ndarray) else first == second


@pytest.mark.fault("E4")
def test_findings_are_met_by_name_and_not_by_position(data, seen, ask):
    turned = [
        dataclasses.replace(study, labels=dict(reversed(study.labels.items())))
        for study in data.studies
    ]
    turned = [
        dataclasses.replace(study, masks=dict(reversed(study.masks.items()))) for study in turned
    ]
    for task, metric in (("zero-shot", "mix/auroc"), ("grounding", "observation/pointing game")):
        result, _ = ask(task, dataclasses.replace(data, studies=turned), Seer())
        for finding in FINDINGS:
            name = f"{metric}/{finding}"
            assert result.metrics[name].value == pytest.approx(seen[task].metrics[name].value)


@pytest.mark.fault("E2")
def test_a_finding_nobody_has_is_null(data, ask):
    studies = [dataclasses.replace(s, labels=s.labels | {"lower": 0.0}) for s in data.studies]
    changed = dataclasses.replace(data, studies=studies)
    for task, metric in (
        ("zero-shot", "mix/auroc"),
        ("classification", "10%/auroc"),
        ("grounding", "centre/IoU"),
    ):
        metrics = ask(task, changed, Seer())[0].metrics
        assert metrics[f"{metric}/lower"].value is None and metrics[f"{metric}/lower"].reason
        assert (
            "without lower" in metrics[f"{metric}/macro"].reason
            and metrics[f"{metric}/macro"].value is not None
        )


def test_nothing_to_point_at_is_refused(data, ask, tmp_path):
    bare = [dataclasses.replace(s, labels=dict.fromkeys(FINDINGS, -1.0)) for s in data.studies]
    with pytest.raises(PlaceError, match="PL-D224"):
        ask("grounding", dataclasses.replace(data, studies=bare), Seer())
    silent = tmp_path / "silent.yaml"
    silent.write_text("upper: {positive: [upper], negative: [none]}\n")
    with pytest.raises(PlaceError, match="PL-C030"):
        ask("grounding", data, Seer(), silent)


def test_a_finding_without_a_pointing_phrase_is_named(data, ask, tmp_path):
    some = tmp_path / "some.yaml"
    some.write_text("upper: {positive: [upper], negative: [none], grounding: '{side} upper'}\n")
    metrics = ask("grounding", data, Seer(), some)[0].metrics
    assert metrics["observation/pointing game/lower"].reason == "no phrase in the set"
    assert (
        metrics["observation/pointing game/macro"].value
        == metrics["observation/pointing game/upper"].value
        > 0.99
    )


def test_a_mask_counts_unless_a_label_denies_it(data):
    study = next(s for s in data.studies if s.masks)
    [name, *_] = study.masks
    for label, there in ((1.0, True), (float("nan"), True), (0.0, False), (-1.0, False)):
        assert (
            grounding.has_outline(dataclasses.replace(study, labels={name: label}), name) == there
        )
    assert grounding.has_outline(dataclasses.replace(study, labels={}), name)
    assert not grounding.has_outline(dataclasses.replace(study, masks={}), name)


def test_heat_follows_the_side_that_was_asked_for(data, embedded):
    """Two bright cells of one finding: both light up; another finding's cell does not."""
    target = next(
        t for t in grounding.grounding_targets(embedded, PROMPTS) if t.finding == "middle"
    )
    phrases = embed_phrases(Seer(), tokenize, ["middle"])
    heat = grounding.heat_maps(embedded, np.array([target.index]), phrases)["observation"][0]
    assert heat.argmax() // 4 == 1  # row by row
    view_map = grounding.patches_to_view(heat[None], VIEW)[0]
    original = grounding.view_to_original(view_map, data.pack.letterbox(0))
    assert original.shape == (80, 80) and original[:7].max() == 0
    assert target.mask[np.unravel_index(original.argmax(), original.shape)]


def test_side_is_the_patients():
    mask = np.zeros((4, 10), bool)
    mask[:, 6:] = True
    assert grounding.mask_side(mask) == "left"
    assert grounding.mask_side(mask[:, ::-1]) == "right"
    assert grounding.mask_side(mask | mask[:, ::-1]) == "bilateral"
