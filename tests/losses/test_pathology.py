"""PCMA: the Gram form against a loop that forms every context vector, chunks, padding,
duplicates.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from place_cxr.core.tensors import Observations
from place_cxr.losses.pathology import (
    observation_similarity,
    pathology_image,
    pathology_pair,
    pathology_sentence,
    selected_similarity,
    selection_weight,
)
from tests.losses.outputs import outputs, unit


def loop_similarity(
    visual: Tensor, text: Tensor, mask: Tensor, temperature: float, selection: str
) -> Tensor:
    """Image by image, report by report, sentence by sentence, with the context vector formed."""
    table = []
    for v in visual:
        row = []
        for t, m in zip(text, mask, strict=True):
            scores = []
            for s in range(len(t)):
                z = v @ t[s]
                a = (
                    F.one_hot(z.argmax(), len(z)).to(z)
                    if selection == "max"
                    else torch.softmax(z / temperature, 0)
                )
                context = (a[:, None] * v).sum(0)
                scores.append(F.cosine_similarity(context, t[s], dim=0))
            row.append((torch.stack(scores) * m).sum() / m.sum().clamp(min=1))
        table.append(torch.stack(row))
    return torch.stack(table)


@pytest.mark.parametrize("selection", ["soft", "max"])
def test_slow_twin_in_value_and_gradient(selection: str) -> None:
    out = outputs()
    raw = [x.detach().clone().requires_grad_() for x in (out.visual.vectors, out.textual.vectors)]
    args = (
        F.normalize(raw[0], dim=-1),
        F.normalize(raw[1], dim=-1),
        out.textual.mask,
        0.1,
        selection,
    )
    fast, slow = observation_similarity(*args), loop_similarity(*args)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    weight = torch.randn(
        fast.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    # rows before normalisation: along a unit row the two forms may differ, and nothing learns there
    for x in raw:
        (a,) = torch.autograd.grad((fast * weight).sum(), x, retain_graph=True)
        (b,) = torch.autograd.grad((slow * weight).sum(), x, retain_graph=True)
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_one_matching_query_scores_its_cosine() -> None:
    visual = torch.eye(4, dtype=torch.float64)[None]
    text = F.normalize(torch.tensor([[[1.0, 0.2, 0, 0]]], dtype=torch.float64), dim=-1)
    value = selected_similarity(visual, text, 1e-3)
    assert value.item() == pytest.approx(1 / math.sqrt(1.04), abs=1e-9)


@pytest.mark.parametrize("selection", ["soft", "max", "transport"])
@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_chunked_equals_unchunked(selection: str, chunk: int) -> None:
    out = outputs()
    whole, cut = (
        pathology_pair(out, selection=selection),
        pathology_pair(out, selection=selection, chunk=chunk),
    )
    assert whole.item() == pytest.approx(cut.item(), abs=1e-12)
    for x in (out.visual.vectors, out.textual.vectors):
        (a,) = torch.autograd.grad(whole, x, retain_graph=True)
        (b,) = torch.autograd.grad(cut, x, retain_graph=True)
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", [pathology_pair, pathology_image, pathology_sentence])
def test_padding_and_order_do_not_matter(loss) -> None:  # type: ignore[no-untyped-def]
    out = outputs()
    value = loss(out)
    noise = unit(5, 2, 8, seed=9).detach()
    padded = Observations(
        torch.cat(
            [
                torch.where(
                    out.textual.mask[..., None], out.textual.vectors, unit(5, 3, 8, seed=8).detach()
                ),
                noise,
            ],
            1,
        ),
        F.pad(out.textual.mask, (0, 2)),
    )
    longer = dataclasses.replace(out, textual=padded, sentence_key=F.pad(out.sentence_key, (0, 2)))
    assert loss(longer).item() == pytest.approx(value.item(), abs=1e-12)
    order = torch.tensor([4, 2, 0, 1, 3])
    queries = torch.tensor([2, 0, 3, 1])
    shuffled = dataclasses.replace(
        out,
        visual=Observations(out.visual.vectors[order][:, queries], out.visual.mask),
        textual=Observations(out.textual.vectors[order], out.textual.mask[order]),
        sentence_key=out.sentence_key[order],
        report_key=out.report_key[order],
    )
    assert loss(shuffled).item() == pytest.approx(value.item(), abs=1e-12)


def test_identical_observations_give_ln_b() -> None:
    same = Observations(unit(1, 1, 8, seed=1).expand(5, 4, 8), torch.ones(5, 4, dtype=torch.bool))
    text = outputs().textual
    assert pathology_pair(outputs(visual=same)).item() > 0
    flat = Observations(unit(1, 1, 8, seed=2).expand(5, 3, 8), text.mask)
    assert pathology_pair(outputs(visual=same, textual=flat)).item() == pytest.approx(
        math.log(5), abs=1e-9
    )


@pytest.mark.fault("R7")
def test_equal_sentences_are_positives_never_negatives() -> None:
    axes = torch.eye(4, dtype=torch.float64)
    visual = Observations(axes[[0, 0, 1]][:, None], torch.ones(3, 1, dtype=torch.bool))
    textual = Observations(axes[[0, 0, 1]][:, None], torch.ones(3, 1, dtype=torch.bool))
    keys = torch.tensor([[5], [5], [6]])
    equal = outputs(b=3, visual=visual, textual=textual, sentence_key=keys, report_key=keys[:, 0])
    unequal = outputs(
        b=3, visual=visual, textual=textual, sentence_key=torch.tensor([[5], [7], [6]])
    )
    # Two equal statements share their probability: as positives ln 2 is the floor of their rows,
    # and its gradient is 0.
    visual.vectors.requires_grad_()
    loss = pathology_sentence(equal)
    (gradient,) = torch.autograd.grad(loss, visual.vectors)
    assert loss.item() == pytest.approx(2 / 3 * math.log(2), abs=1e-3)
    assert gradient[0].abs().max().item() < 1e-2
    assert pathology_pair(equal).item() == pytest.approx(pathology_pair(unequal).item(), abs=1e-3)


@pytest.mark.fault("R6")
def test_report_without_sentence_is_left_out() -> None:
    out = outputs()
    mask = out.textual.mask.clone()
    mask[2] = False
    empty = dataclasses.replace(
        out, textual=Observations(out.textual.vectors, mask), sentence_key=out.sentence_key * mask
    )
    for loss in (pathology_pair, pathology_image, pathology_sentence):
        value = loss(empty)
        (gradient,) = torch.autograd.grad(value, out.textual.vectors, retain_graph=True)
        assert (
            torch.isfinite(value)
            and torch.isfinite(gradient).all()
            and gradient[2].abs().max() == 0
        )


def test_transport_weights_sum_to_one_and_share_queries_out() -> None:
    z = torch.tensor([[0.9, 0.0], [0.9, 0.1]], dtype=torch.float64)
    soft, shared = selection_weight(z, 0.1, "soft"), selection_weight(z, 0.1, "transport")
    torch.testing.assert_close(shared.sum(-1), torch.ones(2, dtype=torch.float64))
    assert (
        shared[1, 1] > soft[1, 1] + 0.3
    )  # the second sentence is pushed to the query the first leaves free


def test_sentences_against_images_equal_a_loop() -> None:
    out = outputs()
    key = out.sentence_key.clone()
    key[3, 0] = key[0, 0]  # reports 0 and 3 share a statement: both images are right for it
    out = dataclasses.replace(out, sentence_key=key)
    similarity = selected_similarity(
        out.visual.vectors, out.textual.vectors, 0.1
    )  # [images, reports, sentences]
    losses = []
    for j in range(5):
        for s in range(3):
            if out.textual.mask[j, s]:
                chance = torch.log_softmax(similarity[:, j, s] / 0.07, 0)
                right = [i for i in range(5) if key[j, s] in key[i]]
                losses.append(-sum(chance[i] for i in right) / len(right))
    assert pathology_image(out).item() == pytest.approx(
        (sum(losses) / len(losses)).item(), abs=1e-10
    )
    assert len([i for i in range(5) if key[0, 0] in key[i]]) == 2
