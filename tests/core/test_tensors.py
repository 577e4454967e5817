"""Unit rows against PyTorch's own, and what outputs keep for the losses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from place_cxr.core.tensors import l2_normalize
from place_cxr.losses import LOSSES
from tests.losses.outputs import outputs


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


def test_what_losses_share_belongs_to_one_batch_and_one_setting() -> None:
    out = outputs()
    pair, image = LOSSES["pathology_pair"], LOSSES["pathology_image"]
    alone = image(outputs())
    pair(out)
    assert len(out.shared) == 1
    torch.testing.assert_close(image(out), alone)  # what pair left there is what image needs
    assert len(out.shared) == 1
    image(out, selection_temperature=0.5)
    assert len(out.shared) == 2
    turned = dataclasses.replace(
        out, visual=dataclasses.replace(out.visual, vectors=out.visual.vectors.flip(0))
    )
    assert not turned.shared and not torch.isclose(image(turned), image(out))
