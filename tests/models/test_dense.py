"""Dense heads fit every pyramid, and their losses have the values that they should."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from place_cxr.models.dense import SetrPup, UNet, dense_head, focal_loss, soft_dice
from place_cxr.models.image import ImageEncoder, ImageSettings

_VIT = {"embed_dim": 32, "depth": 1, "num_heads": 2}
_BODIES = {
    "resnet": ("resnet10t", [8], {"channels": [16, 16, 32, 32], "stem_width": 8}, UNet),
    "no stride 2": ("convnext_atto", [8], {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}, UNet),
    "vit": ("vit_tiny_patch16_224", [16], _VIT, SetrPup),
    "vit, patches of 8": ("vit_tiny_patch16_224", [8], {**_VIT, "patch_size": 8}, SetrPup),
}


@pytest.mark.parametrize("kind", _BODIES)
@pytest.mark.parametrize("size", [64, 80])
def test_a_head_fits_its_encoder(kind: str, size: int) -> None:
    name, strides, options, head = _BODIES[kind]
    encoder = ImageEncoder(
        ImageSettings(name=name, size=size, local_strides=tuple(strides), options=options)
    )
    made = dense_head(encoder.head_spec, 3)
    assert isinstance(made, head)
    logits = made(encoder.head_features(torch.zeros(2, 1, size, size)))
    assert logits.shape == (2, 3, size, size)
    logits.sum().backward()
    assert all(p.grad is not None for p in made.parameters())


def test_dice_is_over_the_batch_and_empty_agrees_with_empty() -> None:
    truth = torch.zeros(2, 2, 4, 4)
    truth[0, 0, :2] = 1
    assert soft_dice(truth, truth, 1.0).tolist() == [1, 1]
    assert soft_dice(1 - truth, truth, 0.0).tolist() == [0, 0]
    half = torch.full_like(truth, 0.5)
    assert soft_dice(half, truth, 0.0)[0].item() == pytest.approx(2 * 4 / (16 + 8))


def test_focal_is_cross_entropy_weighted() -> None:
    logits, truth = (
        torch.randn(50, generator=torch.Generator().manual_seed(0)),
        torch.arange(50).remainder(2).float(),
    )
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    chance = torch.where(truth == 1, logits.sigmoid(), 1 - logits.sigmoid())
    torch.testing.assert_close(focal_loss(logits, truth), each * (1 - chance) ** 2)
    torch.testing.assert_close(focal_loss(logits, truth, gamma=0.0), each)
