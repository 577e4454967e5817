"""MGCA's prototypes: closed forms, balance, slow twin. Against published code: tests/oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from place_cxr.losses.prototype import mgca_prototype, sinkhorn
from tests.losses.outputs import normal, outputs, unit


def test_equal_prototypes_give_ln_n() -> None:
    out = outputs(prototypes=unit(1, 8, seed=1).expand(12, 8))
    assert mgca_prototype(out).item() == pytest.approx(math.log(12), abs=1e-12)


def test_rows_sum_to_one_and_prototypes_share_the_batch() -> None:
    scores = normal(6, 4, seed=2).detach().tanh()
    codes = sinkhorn(scores, 0.05, 200)
    torch.testing.assert_close(codes.sum(1), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(
        codes.sum(0), torch.full((4,), 6 / 4, dtype=torch.float64), rtol=0, atol=1e-3
    )
    torch.testing.assert_close(sinkhorn(scores, 0.05, 0), (scores / 0.05).softmax(-1))


def test_slow_twin() -> None:
    out = outputs()
    prototypes = out.prototypes
    assert prototypes is not None
    image, text = (x @ prototypes.T for x in (out.image, out.text))

    def codes(scores: torch.Tensor) -> np.ndarray:
        table = np.exp(scores.detach().numpy() / 0.05)
        table /= table.sum()
        for _ in range(3):
            for j in range(table.shape[1]):
                table[:, j] /= table[:, j].sum() * table.shape[1]
            for i in range(len(table)):
                table[i] /= table[i].sum() * len(table)
        return table / table.sum(1, keepdims=True)

    total = 0.0
    for asked, read in ((image, text), (text, image)):
        said = torch.log_softmax(read / 0.2, -1).detach().numpy()
        total -= sum(float(codes(asked)[i] @ said[i]) for i in range(len(said))) / len(said) / 2
    assert mgca_prototype(out).item() == pytest.approx(total, abs=1e-9)


def test_large_scores_do_not_overflow() -> None:
    scores = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    codes = sinkhorn(50 * scores, 0.05 * 50, 3)
    torch.testing.assert_close(codes, sinkhorn(scores, 0.05, 3))
    assert torch.isfinite(sinkhorn(scores.half(), 0.05, 3)).all()


def test_no_gradient_flows_through_codes() -> None:
    scores = normal(3, 4, seed=1)
    assert not sinkhorn(scores, 0.05, 3).requires_grad


def test_a_model_without_prototypes_is_told() -> None:
    with pytest.raises(ValueError, match="model.prototypes"):
        mgca_prototype(outputs(prototypes=None))
