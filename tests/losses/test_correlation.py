"""CCE: what is perfect, what a constant gets, and NumPy's own correlation as the twin."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from place_cxr.core.tensors import Correlation
from place_cxr.losses.correlation import correlation_exploration, gram, gram_distance
from place_cxr.losses.monitors import compute_monitors
from place_cxr.models.correlation import correlation_vectors
from tests.losses.outputs import outputs


def test_copy_is_perfect_and_constant_gets_one() -> None:
    out = outputs()
    assert out.correlation is not None
    target = out.correlation.target
    copy = dataclasses.replace(out, correlation=Correlation(target, target))
    assert correlation_exploration(copy).item() == pytest.approx(0, abs=1e-6)
    matrix = gram(target)
    constant = gram_distance(torch.full_like(matrix, 0.3), matrix)
    torch.testing.assert_close(
        constant, torch.ones(len(matrix), dtype=matrix.dtype), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(
        gram_distance(-matrix, matrix), torch.full((len(matrix),), 2.0, dtype=matrix.dtype)
    )


def test_numpy_twin_and_scale_invariance() -> None:
    out = outputs()
    assert out.correlation is not None
    a, b = gram(out.correlation.predicted).detach().numpy(), gram(out.correlation.target).numpy()
    off = ~np.eye(a.shape[1], dtype=bool)
    twin = np.mean([1 - np.corrcoef(x[off], y[off])[0, 1] for x, y in zip(a, b, strict=True)])
    assert correlation_exploration(out).item() == pytest.approx(twin, abs=1e-9)
    assert gram_distance(torch.tensor(3 * a + 1), torch.tensor(b)).mean().item() == pytest.approx(
        twin, abs=1e-9
    )


def test_vectors_give_pearson_correlations() -> None:
    tokens = torch.randn(2, 6, 50, generator=torch.Generator().manual_seed(0))
    matrix = gram(correlation_vectors(tokens))
    centred = tokens - tokens.mean(1, keepdim=True)
    cosine = torch.nn.functional.cosine_similarity(centred[:, :, None], centred[:, None], dim=-1)
    torch.testing.assert_close(matrix, cosine, rtol=0, atol=1e-5)


@pytest.mark.fault("R6")
def test_equal_patches_are_finite() -> None:
    vectors = correlation_vectors(torch.ones(1, 4, 3, requires_grad=True))
    gram_distance(gram(vectors), gram(vectors)).sum().backward()
    assert torch.isfinite(vectors).all()


def test_monitors_see_collapse() -> None:
    fine = compute_monitors(outputs(k=4))
    one = outputs(k=4)
    collapsed = dataclasses.replace(
        one,
        visual=dataclasses.replace(one.visual, vectors=one.visual.vectors[:, :1].expand(-1, 4, -1)),
    )
    assert compute_monitors(collapsed)["query_similarity"].item() == pytest.approx(1, abs=1e-6)
    assert fine["query_similarity"].item() < 0.5
    assert compute_monitors(collapsed)["query_usage"].item() == pytest.approx(
        1, abs=1e-6
    )  # equal queries share equally
    assert fine["attention_spread"].item() == pytest.approx(1, abs=1e-6)
    assert fine["shared_reports"].item() == 0 and fine["shared_sentences"].item() == 0
    twice = compute_monitors(dataclasses.replace(one, report_key=torch.tensor([1, 1, 2, 3, 4])))
    assert twice["shared_reports"].item() == pytest.approx(2 / 20)
