"""Instance alignment: closed form, invariance, slow twin, published peers."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from place_cxr.losses.contrast import contrast, symmetric_contrast
from place_cxr.losses.instance import instance_alignment
from tests.losses.outputs import outputs


def test_equal_logits_give_ln_n() -> None:
    value = contrast(torch.zeros(6, 6), torch.eye(6, dtype=torch.bool))
    assert value.item() == pytest.approx(math.log(6), abs=1e-6)


def test_slow_twin_with_several_positives() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    positive = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    rows = []
    for i in (0, 1, 3):  # row 2 has no positive and must not count
        probability = torch.softmax(logits[i], 0)
        rows.append(-sum(torch.log(probability[j]) for j in range(5) if positive[i, j]) / positive[i].sum())
    assert contrast(logits, positive).item() == pytest.approx((sum(rows) / 3).item(), abs=1e-12)


@pytest.mark.fault("R6")
def test_no_valid_row_gives_zero_and_finite_gradient() -> None:
    logits = torch.randn(3, 3, requires_grad=True)
    value = symmetric_contrast(logits, torch.eye(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool))
    value.backward()
    assert value.item() == 0 and torch.isfinite(logits.grad).all()


def test_order_of_the_batch_does_not_matter() -> None:
    out, order = outputs(), torch.tensor([3, 0, 4, 1, 2])
    shuffled = dataclasses.replace(out, image=out.image[order], text=out.text[order], report_key=out.report_key[order])
    assert instance_alignment(out).item() == pytest.approx(instance_alignment(shuffled).item(), abs=1e-12)


@pytest.mark.fault("R7")
def test_equal_reports_are_positives() -> None:
    text = F.one_hot(torch.tensor([0, 0, 1, 2]), 4).double()
    same = outputs(b=4, d=4, image=text, text=text, report_key=torch.tensor([7, 7, 1, 2]))
    different = outputs(b=4, d=4, image=text, text=text)
    # The first two images cannot tell their equal texts apart: with InfoNCE that costs ln 2 a row, here what is ideal.
    assert instance_alignment(different).item() > 0.34
    assert instance_alignment(same).item() == pytest.approx(math.log(2) / 2, abs=1e-4)


@pytest.mark.parametrize(
    "name,factor",
    [("open_clip_clip_loss", 1), ("convirt_info_nce_loss", 2), ("mgca_ita", 2), ("gloria_global_loss", 1)],
)
def test_published_peers(test_data: Path, name: str, factor: int) -> None:
    oracle = np.load(test_data / "oracles" / f"{name}.npz")
    text_name = "report_global" if "report_global" in oracle else "text_global"
    image, text = (torch.tensor(oracle[n], dtype=torch.float64) for n in ("image_global", text_name))
    if name == "mgca_ita":  # the file keeps the float64 run's own normalised rows
        image, text = (torch.tensor(oracle[f"{n}__float64"]) for n in ("image_global", text_name))
    image.requires_grad_()
    scale = {
        "open_clip_clip_loss": lambda: float(oracle["logit_scale"]),
        "convirt_info_nce_loss": lambda: 1 / float(oracle["temperature"]),
        "mgca_ita": lambda: 1 / float(oracle["softmax_temperature"]),
        "gloria_global_loss": lambda: float(oracle["temp3"]),
    }[name]()
    rows = [F.normalize(x, dim=-1) if name == "gloria_global_loss" else x for x in (image, text)]
    b = len(image)
    out = outputs(b=b, d=rows[0].shape[1], image=rows[0], text=rows[1], scale=torch.tensor(scale, dtype=torch.float64))
    loss = factor * instance_alignment(out)
    if name == "gloria_global_loss":
        loss = 2 * loss  # GLoRIA adds the two directions
    (gradient,) = torch.autograd.grad(loss, image)
    assert loss.item() == pytest.approx(float(oracle["loss__float64"]), rel=1e-6)
    np.testing.assert_allclose(gradient, oracle["grad_image_global__float64"], rtol=1e-5, atol=1e-7)
