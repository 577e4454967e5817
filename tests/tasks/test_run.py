"""The whole evaluation: a seeing model scores high, a blind one at chance, and both say so in result.json."""

import dataclasses

import numpy as np
import pytest

from place_cxr.errors import PlaceError
from place_cxr.tasks import grounding
from place_cxr.tasks.embed import embed, embed_phrases, tokens_of
from place_cxr.tasks.result import NOTICE, Result
from place_cxr.tasks.run import evaluate

from .conftest import FINDINGS, PROMPTS, VIEW, Seer, tokenize, view


@pytest.fixture(scope="module")
def seen(data):
    return {result.task: result for result in evaluate(Seer(), data, PROMPTS)}


@pytest.fixture(scope="module")
def blind(data):
    return {result.task: result for result in evaluate(Seer(blind=True), data, PROMPTS)}


@pytest.fixture(scope="module")
def embedded(data):
    return embed(Seer(), data.pack.pixels, data.reports, data.rows["test"], data.studies, view=view, batch_size=17)


def value(result, name):
    return result.metrics[name].value


def test_a_seeing_model_scores_high_and_a_blind_one_at_chance(seen, blind):
    for name in ("observation/auroc/macro", "mix/auroc/macro"):
        assert value(seen["zero-shot"], name) > 0.99
        assert abs(value(blind["zero-shot"], name) - 0.5) < 0.15
    assert value(seen["linear-probe"], "100%/auroc/macro") > 0.99
    assert abs(value(blind["linear-probe"], "100%/auroc/macro") - 0.5) < 0.15
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
            assert metric.n > 0


def test_trivial_answers_stand_beside_grounding(seen):
    metrics = seen["grounding"].metrics
    assert metrics["uniform/pointing game/macro"].value == pytest.approx((8 / 40) ** 2 * (40 / 32) ** 2, rel=0.02)
    assert metrics["uniform/pointing game/macro"].value < metrics["observation/pointing game/macro"].low
    assert metrics["centre/IoU/macro"].value < metrics["observation/IoU/macro"].low


def test_result_survives_json(seen, tmp_path):
    for result in seen.values():
        path = result.write(tmp_path / result.task)
        assert NOTICE in path.read_text("utf-8")
        assert Result.read(tmp_path / result.task) == result == Result.read(path)
        assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_same_seed_same_numbers_another_seed_other_intervals(data, seen):
    again, other = evaluate(Seer(), data, PROMPTS), evaluate(Seer(), data, PROMPTS, seed=7)
    assert {r.task: r.metrics for r in again} == {r.task: r.metrics for r in seen.values()}
    name = "centre/IoU/macro"
    moved, before = (next(r for r in results if r.task == "grounding").metrics[name] for results in (other, again))
    assert moved.value == before.value and (moved.low, moved.high) != (before.low, before.high)


def test_batches_do_not_change_what_is_embedded(data, embedded):
    whole = embed(Seer(), data.pack.pixels, data.reports, data.rows["test"], data.studies, view=view)
    for field in dataclasses.fields(whole):
        first, second = getattr(whole, field.name), getattr(embedded, field.name)
        assert np.allclose(first, second) if isinstance(first, np.ndarray) else first == second


def test_padding_is_cut_to_the_longest_report(data):
    tokens = tokens_of(tokenize(["upper", "upper left.none"]), [0, 1])
    assert tokens.ids.shape == (2, 3) and tokens.mask.tolist() == [[True, False, False], [True, True, True]]


@pytest.mark.fault("E4")
def test_findings_are_met_by_name_and_not_by_position(data, seen):
    turned = [dataclasses.replace(study, labels=dict(reversed(study.labels.items()))) for study in data.studies]
    prompts = dict(reversed(PROMPTS.items()))
    result = evaluate(Seer(), dataclasses.replace(data, studies=turned), prompts)[0]
    for finding in FINDINGS:
        name = f"mix/auroc/{finding}"
        assert result.metrics[name].value == pytest.approx(seen["zero-shot"].metrics[name].value)


@pytest.mark.fault("E2")
def test_a_finding_nobody_has_is_null(data):
    studies = [dataclasses.replace(s, labels=s.labels | {"lower": 0.0}) for s in data.studies]
    results = {r.task: r for r in evaluate(Seer(), dataclasses.replace(data, studies=studies), PROMPTS)}
    assert value(results["zero-shot"], "mix/auroc/lower") is None
    assert "without lower" in results["zero-shot"].metrics["mix/auroc/macro"].reason
    assert value(results["linear-probe"], "10%/auroc/lower") is None
    assert "lower" in results["linear-probe"].metrics["10%/auroc/macro"].reason


def test_an_empty_split_is_refused(data):
    with pytest.raises(PlaceError, match="PL-D224"):
        evaluate(Seer(), data, PROMPTS, split="nowhere")


def test_heat_follows_the_side_that_was_asked_for(data, embedded):
    """Two bright cells of one finding: both light up; another finding's cell does not."""
    target = next(t for t in grounding.targets(embedded, PROMPTS) if t.finding == "middle")
    phrases = embed_phrases(Seer(), tokenize, ["middle"])
    heat = grounding.heat_maps(embedded, np.array([target.index]), phrases)["observation"][0]
    assert heat.argmax() // 4 == 1  # row by row
    view_map = grounding.to_view(heat[None], VIEW)[0]
    original = grounding.to_original(view_map, data.pack.letterbox(0))
    assert original.shape == (80, 80) and original[:7].max() == 0
    assert target.mask[np.unravel_index(original.argmax(), original.shape)]


def test_side_is_the_patients():
    mask = np.zeros((4, 10), bool)
    mask[:, 6:] = True
    assert grounding.side_of(mask) == "left"
    assert grounding.side_of(mask[:, ::-1]) == "right"
    assert grounding.side_of(mask | mask[:, ::-1]) == "bilateral"
