"""Heads that answer pixel by pixel: U-Net on the maps of a CNN, SETR-PUP on the one map of a ViT."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from place_cxr.models.image import PyramidSpec, Seen

_UNET = (256, 128, 64, 32, 16)  # channels, coarse to fine [segmentation-models-pytorch]
_SETR = (512, 256, 128, 64)  # [MGCA]
_RARE = -3.0  # first logit: most pixels show nothing


def dense_head(spec: PyramidSpec, outputs: int) -> nn.Module:
    """The head that fits an encoder: from `Seen` to logits [B, outputs, size, size]."""
    return SetrPup(spec, outputs) if len(spec.strides) == 1 else UNet(spec, outputs)


class UNet(nn.Module):
    """The U-Net decoder of segmentation-models-pytorch on all maps.

    A stage is as wide as the library makes it, but no wider than the map it joins: a small encoder gets a small head.
    """

    def __init__(self, spec: PyramidSpec, outputs: int) -> None:
        super().__init__()
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

        self._strides = [2**power for power in range(1, max(spec.strides).bit_length())]
        have = dict(zip(spec.strides, spec.channels, strict=True))
        self._from = {stride: place for place, stride in enumerate(spec.strides)}
        skips = [have.get(stride, 0) for stride in self._strides]
        joined = [*reversed(skips[:-1]), skips[0] // 2]
        default = _UNET[-len(skips) :] if len(skips) <= len(_UNET) else (_UNET[0],) * (len(skips) - 5) + _UNET
        widths = [min(width, max(8, skip or width)) for width, skip in zip(default, joined, strict=True)]
        self.decoder = UnetDecoder(encoder_channels=[1, *skips], decoder_channels=widths, n_blocks=len(skips))
        self.last = nn.Conv2d(widths[-1], outputs, 3, padding=1)
        nn.init.constant_(_bias(self.last), _RARE)
        self._size = spec.size
        self.to(memory_format=torch.channels_last)  # a step in 3/4 of the time, with maps that lie so too

    def forward(self, seen: Seen) -> Float[Tensor, "B M V V"]:
        """Logits at the size of the view."""
        maps = [found.contiguous(memory_format=torch.channels_last) for found in seen.maps]
        first = maps[0]
        levels = [first.new_zeros(len(first), 0, self._size, self._size)]
        for stride in self._strides:
            side = -(-self._size // stride)
            empty = first.new_zeros(len(first), 0, side, side)
            levels.append(maps[self._from[stride]] if stride in self._from else empty)
        return self.last(self.decoder(levels))


class SetrPup(nn.Module):
    """Progressive up-sampling [SETR]: convolution and doubling until the view's size is reached.

    A linear layer first, then 512, 256, 128 and 64 channels [MGCA], no more than the tokens' width over 1, 2, 4 and 8.
    """

    def __init__(self, spec: PyramidSpec, outputs: int) -> None:
        super().__init__()
        width = spec.channels[0]
        widths = [width, *(min(most, max(8, width >> step)) for step, most in enumerate(_SETR))]
        self.dense = nn.Conv2d(width, width, 1)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], outputs, 1)
        nn.init.constant_(_bias(self.last), _RARE)
        self._size = spec.size

    def forward(self, seen: Seen) -> Float[Tensor, "B M V V"]:
        """Logits at the size of the view."""
        grown = self.dense(seen.maps[0])
        for stage in self.stages:
            grown = functional.interpolate(stage(grown), scale_factor=2, mode="bilinear")
        size = (self._size, self._size)
        return self.last(grown if grown.shape[-2:] == size else functional.interpolate(grown, size, mode="bilinear"))


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def soft_dice(chance: Float[Tensor, "B M H W"], truth: Float[Tensor, "B M H W"], smooth: float) -> Float[Tensor, "M"]:
    """Dice of probabilities and truth, over the whole batch, for each name."""
    both = (chance * truth).sum((0, 2, 3))
    return (2 * both + smooth) / (chance.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + smooth)


def focal(logits: Tensor, truth: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss, element by element: cross-entropy times (1 - chance of the truth) ** gamma.

    Between 0 and 1 a truth turns the chance as MGCA does: a half covered pixel weighs (1 / 2) ** gamma always.
    """
    each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return each * torch.exp(gamma * functional.logsigmoid(-logits * (2 * truth - 1)))
