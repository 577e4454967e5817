"""The peers' instance losses: closed forms, slow twins, scale. Against published code:
tests/oracles.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from place_cxr.core.tensors import PlaceOutputs
from place_cxr.losses.peers import convirt, gloria_global, mgca_instance, two_way_cross_entropy
from tests.losses.outputs import outputs, unit


def _one_and_the_same() -> PlaceOutputs:
    row = unit(1, 8, seed=3)
    return outputs(image=row.expand(5, 8), text=row.expand(5, 8))


def test_equal_vectors_give_ln_b() -> None:
    out = _one_and_the_same()
    assert convirt(out).item() == pytest.approx(math.log(5), abs=1e-12)
    assert gloria_global(out).item() == pytest.approx(2 * math.log(5), abs=1e-12)
    assert mgca_instance(out).item() == pytest.approx(2 * math.log(5), abs=1e-12)


def test_slow_twin_of_both_directions() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = [
        -math.log(math.exp(logits[i, i]) / sum(math.exp(x) for x in logits[i])) for i in range(4)
    ]
    columns = [
        -math.log(math.exp(logits[i, i]) / sum(math.exp(x) for x in logits[:, i])) for i in range(4)
    ]
    along, across = two_way_cross_entropy(logits)
    assert along.item() == pytest.approx(sum(rows) / 4, abs=1e-12)
    assert across.item() == pytest.approx(sum(columns) / 4, abs=1e-12)


def test_convirt_weighs_its_directions() -> None:
    out = outputs()
    along, across = two_way_cross_entropy(out.image @ out.text.T / 0.1)
    assert convirt(out).item() == pytest.approx((0.75 * along + 0.25 * across).item(), abs=1e-12)
    assert convirt(out, image_share=1.0).item() == pytest.approx(along.item(), abs=1e-12)
    assert convirt(out, image_share=0.0).item() == pytest.approx(across.item(), abs=1e-12)


def test_equal_reports_are_negatives_as_published() -> None:
    out = outputs()
    equal = dataclasses.replace(out, report_key=torch.zeros(5, dtype=torch.int64))
    for loss in (convirt, gloria_global, mgca_instance):
        assert loss(equal).item() == loss(out).item()


def test_gloria_looks_at_directions_only() -> None:
    out = outputs()
    longer = dataclasses.replace(
        out, image=3 * out.image, text=torch.arange(1.0, 6.0)[:, None] * out.text
    )
    assert gloria_global(longer).item() == pytest.approx(gloria_global(out).item(), abs=1e-12)
