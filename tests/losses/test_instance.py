"""Instance alignment: closed form, invariance, slow twin. Against published code: tests/oracles."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from place_cxr.losses.contrast import contrastive_loss, symmetric_contrastive_loss
from place_cxr.losses.instance import instance_alignment
from tests.losses.outputs import outputs


def test_equal_logits_give_ln_n() -> None:
    value = contrastive_loss(torch.zeros(6, 6), torch.eye(6, dtype=torch.bool))
    assert value.item() == pytest.approx(math.log(6), abs=1e-6)


def test_slow_twin_with_several_positives() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    positive = torch.tensor(
        [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool
    )
    rows = []
    for i in (0, 1, 3):  # row 2 has no positive and must not count
        probability = torch.softmax(logits[i], 0)
        rows.append(
            -sum(torch.log(probability[j]) for j in range(5) if positive[i, j]) / positive[i].sum()
        )
    assert contrastive_loss(logits, positive).item() == pytest.approx(
        (sum(rows) / 3).item(), abs=1e-12
    )


@pytest.mark.fault("R6")
def test_no_valid_row_gives_zero_and_finite_gradient() -> None:
    logits = torch.randn(3, 3, requires_grad=True)
    value = symmetric_contrastive_loss(
        logits, torch.eye(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    )
    value.backward()
    assert value.item() == 0 and torch.isfinite(logits.grad).all()


def test_order_of_the_batch_does_not_matter() -> None:
    out, order = outputs(), torch.tensor([3, 0, 4, 1, 2])
    shuffled = dataclasses.replace(
        out, image=out.image[order], text=out.text[order], report_key=out.report_key[order]
    )
    assert instance_alignment(out).item() == pytest.approx(
        instance_alignment(shuffled).item(), abs=1e-12
    )


@pytest.mark.fault("R7")
def test_equal_reports_are_positives() -> None:
    text = F.one_hot(torch.tensor([0, 0, 1, 2]), 4).double()
    same = outputs(b=4, image=text, text=text, report_key=torch.tensor([7, 7, 1, 2]))
    different = outputs(b=4, image=text, text=text)
    # The first two images cannot tell their equal texts apart: with InfoNCE that costs ln 2 a row,
    # here what is ideal.
    assert instance_alignment(different).item() > 0.34
    assert instance_alignment(same).item() == pytest.approx(math.log(2) / 2, abs=1e-4)
