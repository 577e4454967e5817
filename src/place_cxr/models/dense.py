"""Segmentation heads: U-Net on the maps of a CNN, SETR-PUP on the one map of a ViT."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from place_cxr.models.image import ImagePyramid, PyramidSpec

_UNET_CHANNELS = (256, 128, 64, 32, 16)  # channels, coarse to fine [segmentation-models-pytorch]
_SETR_CHANNELS = (512, 256, 128, 64)  # [MGCA]
_INITIAL_LOGIT = -3.0  # bias of the last layer: most pixels belong to no mask


def dense_head(spec: PyramidSpec, outputs: int) -> nn.Module:
    """The head that fits an encoder: from `ImagePyramid` to logits [B, outputs, size, size]."""
    return SetrPup(spec, outputs) if len(spec.strides) == 1 else UNet(spec, outputs)


class UNet(nn.Module):
    """The U-Net decoder of segmentation-models-pytorch on all maps.

    A stage has the library's width, but is no wider than the map that it joins: a small encoder
    gets a small head.
    """

    def __init__(self, spec: PyramidSpec, outputs: int) -> None:
        super().__init__()
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

        # The library expects a map at each power of 2. Where the encoder has none, the decoder gets
        # one without channels.
        self._strides = [2**power for power in range(1, max(spec.strides).bit_length())]
        channels_by_stride = dict(zip(spec.strides, spec.channels, strict=True))
        self._map_index = {stride: index for index, stride in enumerate(spec.strides)}
        skips = [channels_by_stride.get(stride, 0) for stride in self._strides]
        joined = [*reversed(skips[:-1]), skips[0] // 2]
        default = (
            _UNET_CHANNELS[-len(skips) :]
            if len(skips) <= len(_UNET_CHANNELS)
            else (_UNET_CHANNELS[0],) * (len(skips) - 5) + _UNET_CHANNELS
        )
        widths = [
            min(width, max(8, skip or width)) for width, skip in zip(default, joined, strict=True)
        ]
        self.decoder = UnetDecoder(
            encoder_channels=[1, *skips], decoder_channels=widths, n_blocks=len(skips)
        )
        self.last = nn.Conv2d(widths[-1], outputs, 3, padding=1)
        nn.init.constant_(_bias(self.last), _INITIAL_LOGIT)
        self._size = spec.size
        # A step takes 3/4 of the time where weights and maps are both in this layout.
        self.to(memory_format=torch.channels_last)

    def forward(self, pyramid: ImagePyramid) -> Float[Tensor, "B M V V"]:
        """Logits at the size of the view."""
        maps = [
            feature_map.contiguous(memory_format=torch.channels_last)
            for feature_map in pyramid.maps
        ]
        first = maps[0]
        levels = [first.new_zeros(len(first), 0, self._size, self._size)]

        for stride in self._strides:
            side = -(-self._size // stride)
            empty = first.new_zeros(len(first), 0, side, side)
            levels.append(maps[self._map_index[stride]] if stride in self._map_index else empty)

        return self.last(self.decoder(levels))


class SetrPup(nn.Module):
    """Progressive up-sampling [SETR]: convolution and doubling, four times.

    A linear layer first, then 512, 256, 128 and 64 channels [MGCA], but no more than the tokens'
    width divided by 1, 2, 4 and 8.
    """

    def __init__(self, spec: PyramidSpec, outputs: int) -> None:
        super().__init__()
        width = spec.channels[0]
        widths = [
            width,
            *(min(most, max(8, width >> step)) for step, most in enumerate(_SETR_CHANNELS)),
        ]
        self.dense = nn.Conv2d(width, width, 1)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            )
            for before, after in pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], outputs, 1)
        nn.init.constant_(_bias(self.last), _INITIAL_LOGIT)
        self._size = spec.size

    def forward(self, pyramid: ImagePyramid) -> Float[Tensor, "B M V V"]:
        """Logits at the size of the view."""
        grown = self.dense(pyramid.maps[0])
        for stage in self.stages:
            grown = functional.interpolate(stage(grown), scale_factor=2, mode="bilinear")
        size = (self._size, self._size)

        # Only patches of 16 pixels give the size of the view after four doublings.
        if grown.shape[-2:] != size:
            grown = functional.interpolate(grown, size, mode="bilinear")

        return self.last(grown)


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def soft_dice(
    probability: Float[Tensor, "B M H W"], target: Float[Tensor, "B M H W"], smooth: float
) -> Float[Tensor, "M"]:
    """Dice of probabilities and targets for each class, over all pixels of the batch."""
    both = (probability * target).sum((0, 2, 3))
    total = probability.sum((0, 2, 3)) + target.sum((0, 2, 3))

    return (2 * both + smooth) / (total + smooth)


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss of each element: cross-entropy times (1 - probability of the target) ** gamma.

    A target between 0 and 1 is treated as in MGCA: a half covered pixel always has the weight
    (1 / 2) ** gamma.
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")

    # The weight in logarithms: its gradient is finite where the probability rounds to 1.
    return cross_entropy * torch.exp(gamma * functional.logsigmoid(-logits * (2 * target - 1)))
