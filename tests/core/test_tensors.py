"""Unit rows against PyTorch's own, and what outputs keep for the losses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from place_cxr.core.tensors import l2_normalize


@pytest.mark.parametrize("eps", [1e-12, 1e-2])
def test_unit_rows_and_their_gradient_equal_those_of_torch(eps: float) -> None:
    start = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start[0, 0] = 0  # no direction: stays zero, and its gradient is finite
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    one, other = l2_normalize(ours, eps=eps), F.normalize(theirs, dim=-1, eps=eps)
    torch.testing.assert_close(one, other)
    for value in (one, other):
        (value * torch.linspace(-1, 2, 60, dtype=torch.float64).view_as(value)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
