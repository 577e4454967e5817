"""Packed uint8 squares to the views that the network sees, a batch at once on the batch's device.

All randomness comes from the argument ``uniform``: a view is a function of (seed, epoch, row), and
is the same in any batch and on any rank. There is no horizontal flip: reports say left and right.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, Shaped, UInt8
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import Settings
from place_cxr.core.tensors import Views

UNIFORMS_PER_ROW = 9  # random numbers that a row needs; the columns of ``uniform`` are:
_TOP, _LEFT, _ANGLE, _SCALE, _BRIGHTNESS, _CONTRAST, _GAMMA, _NOISE, _MASK = range(UNIFORMS_PER_ROW)


class ViewSettings(Settings):
    """How a training view differs from the pack. The defaults are MGCA's random crop alone."""

    size: int = Field(224, ge=16)  # [MGCA] side of a view, pixels
    # [MGCA] fraction of the free margin that the crop may use: 1 anywhere, 0 center
    shift: float = Field(1.0, ge=0, le=1)
    degrees: float = Field(0.0, ge=0, le=180)  # rotation by up to +- this
    # range of the magnification, log-uniform; above 1 the body is larger
    scale: tuple[float, float] = (1.0, 1.0)
    brightness: float = Field(0.0, ge=0, le=1)  # adds up to +- this fraction of the grey range
    contrast: float = Field(0.0, ge=0, lt=1)  # multiplies by 1 +- this around mid grey
    gamma: float = Field(0.0, ge=0, le=2)  # exponent exp(+- this) on grey values in [0, 1]
    noise: float = Field(0.0, ge=0, le=1)  # standard deviation, fraction of the grey range
    mask_ratio: float = Field(0.0, ge=0, le=0.95)  # fraction of cells hidden from the student
    mask_grid: int = Field(14, ge=1, le=64)  # cells per side [ViT-B/16 at 224: one cell, one patch]

    @model_validator(mode="after")
    def _scales_in_order(self) -> ViewSettings:
        low, high = self.scale
        if not 0.1 <= low <= high <= 10:
            raise ValueError("scale must be (low, high) with 0.1 <= low <= high <= 10")

        return self


def view_box(settings: ViewSettings, pack_size: int) -> tuple[int, int, int]:
    """(left, top, side) of the evaluation view in pack pixels, to place maps of a view in the pack.

    Raises PL-C013 where the pack is smaller than the view.
    """
    margin = pack_size - settings.size
    if margin < 0:
        raise PlaceError(
            f"a view of {settings.size} px does not fit into a pack of {pack_size} px",
            code="PL-C013",
            fix=f"set view.size to at most {pack_size}, or pack larger",
        )

    return margin // 2, margin // 2, settings.size


def eval_view(
    pixels: UInt8[Tensor, "B S S"], settings: ViewSettings
) -> Float[Tensor, "B 1 size size"]:
    """The exact center crop, grey 0..255 to -1..1."""
    left, top, side = view_box(settings, pixels.shape[-1])
    return _normalize(pixels[:, None, top : top + side, left : left + side].float())


def train_views(
    pixels: UInt8[Tensor, "B S S"], uniform: Float[Tensor, "B U"], settings: ViewSettings
) -> Views:
    """The student's view and the clean image of the same geometry, both in -1..1.

    ``uniform`` holds at least ``UNIFORMS_PER_ROW`` numbers in [0, 1) a row. Where the settings
    neither rotate nor scale, the crop copies pixels exactly. Otherwise pixels are interpolated
    once, bilinearly, with black outside the pack. Hidden cells of ``image`` are 0, mid grey.
    """
    if uniform.shape[1] < UNIFORMS_PER_ROW:
        raise ValueError(
            f"views need {UNIFORMS_PER_ROW} random numbers a row, got {uniform.shape[1]}"
        )

    top, left = _crop_corner(uniform, settings, pixels.shape[-1])
    if settings.degrees == 0 and settings.scale == (1.0, 1.0):
        cropped = _crop(pixels, top, left, settings.size).float()
    else:
        cropped = _rotate_and_scale(pixels, top, left, uniform, settings)

    clean = _normalize(cropped[:, None])
    image = _mask_cells(_jitter_intensity(clean, uniform, settings), uniform, settings)
    return Views(image=image, clean=clean)


def _normalize(gray: Tensor) -> Tensor:
    """Grey 0..255 to -1..1: mean 0.5, standard deviation 0.5 of the range [MGCA]."""
    return gray.mul(1 / 127.5).sub_(1)


def _crop_corner(uniform: Tensor, settings: ViewSettings, pack_size: int) -> tuple[Tensor, Tensor]:
    """The first row and column of the crops, int64 [B]: whole pixels, so that a crop is exact."""
    view_box(settings, pack_size)  # checks that the view fits
    margin = pack_size - settings.size
    span = round(settings.shift * margin)

    # One of span + 1 corners, in the middle of the margin. The clamp: u close to 1 may round up.
    corner = (uniform[:, [_TOP, _LEFT]] * (span + 1)).long().clamp_(max=span) + (margin - span) // 2
    return corner[:, 0], corner[:, 1]


def _crop(pixels: Tensor, top: Tensor, left: Tensor, side: int) -> UInt8[Tensor, "B side side"]:
    """The window of each row at its corner."""
    windows = pixels.unfold(1, side, 1).unfold(2, side, 1)  # a view, no copy
    return windows[torch.arange(len(pixels), device=pixels.device), top, left]


def _rotate_and_scale(
    pixels: Tensor, top: Tensor, left: Tensor, uniform: Tensor, settings: ViewSettings
) -> Float[Tensor, "B size size"]:
    """The window of each row, rotated and scaled about its own center.

    All operations are elementwise, so that a row does not depend on the rest of its batch.
    """
    side, pack = settings.size, pixels.shape[-1]
    angle = (2 * uniform[:, _ANGLE] - 1) * math.radians(settings.degrees)
    low, high = math.log(settings.scale[0]), math.log(settings.scale[1])
    step = torch.exp(-(low + uniform[:, _SCALE] * (high - low)))  # pack pixels per view pixel

    # For each view pixel, its offset from the center, rotated and scaled to pack pixels [B, h, w].
    cos, sin = (step * angle.cos())[:, None, None], (step * angle.sin())[:, None, None]
    offset = torch.arange(side, device=pixels.device, dtype=torch.float32) - (side - 1) / 2
    across, down = offset[None, None, :], offset[None, :, None]
    center_x = (left + (side - 1) / 2)[:, None, None]
    center_y = (top + (side - 1) / 2)[:, None, None]
    x = center_x + cos * across - sin * down
    y = center_y + sin * across + cos * down

    # grid_sample wants -1 and 1 at the outer edges of the pack (align_corners=False).
    grid = torch.stack([x, y], dim=-1).add_(0.5).mul_(2 / pack).sub_(1)
    return functional.grid_sample(
        pixels[:, None].float(), grid, padding_mode="zeros", align_corners=False
    )[:, 0]


def _jitter_intensity(clean: Tensor, uniform: Tensor, settings: ViewSettings) -> Tensor:
    """Gamma, contrast, brightness, noise, in this order; grey stays within -1..1."""

    def around_zero(column: int) -> Tensor:
        """A column of ``uniform`` in -1..1, as [B, 1, 1, 1]."""
        return (2 * uniform[:, column] - 1)[:, None, None, None]

    image = clean

    # Where a strength is 0, the step is skipped and the image stays the same to the bit.
    if settings.gamma:
        exponent = torch.exp(settings.gamma * around_zero(_GAMMA))
        image = image.add(1).mul_(0.5).pow_(exponent).mul_(2).sub_(1)
    if settings.contrast:
        image = image * (1 + settings.contrast * around_zero(_CONTRAST))
    if settings.brightness:
        image = image + 2 * settings.brightness * around_zero(_BRIGHTNESS)
    if settings.noise:
        count = image.shape[-2] * image.shape[-1]
        noise = _bell_noise(uniform[:, _NOISE], count).view_as(image)
        image = image + (2 * settings.noise) * noise  # the grey range -1..1 has length 2

    return image if image is clean else image.clamp(-1, 1)


def _mask_cells(image: Tensor, uniform: Tensor, settings: ViewSettings) -> Tensor:
    """Set exactly round(mask_ratio * mask_grid^2) cells of each row to 0, another choice a row."""
    cells = settings.mask_grid**2
    hidden_count = round(settings.mask_ratio * cells)
    if not hidden_count:
        return image

    # Rank the cells by random bits: the lowest ranks are hidden.
    rank = _hash_bits(uniform[:, _MASK], cells).argsort(dim=1, stable=True).argsort(dim=1)
    visible = (rank >= hidden_count).to(image.dtype)
    visible = visible.view(-1, 1, settings.mask_grid, settings.mask_grid)

    # The cell of each pixel along a side; a grid that does not divide the view is allowed.
    cell = torch.arange(settings.size, device=image.device) * settings.mask_grid // settings.size
    return image * visible[..., cell, :][..., cell]


def _bell_noise(uniform: Float[Tensor, "B"], count: int) -> Float[Tensor, "B count"]:
    """Noise of mean 0 and standard deviation 1, bell-shaped within +-3.5.

    It is the sum of the four bytes of a hash. A byte is uniform on 0..255, so the sum has mean
    4 * 127.5 = 510 and variance 4 * (256^2 - 1) / 12.
    """
    bits = _hash_bits(uniform, count)
    total = bits & 255
    for shift in (8, 16, 24):
        total += (bits >> shift) & 255

    return total.float().sub_(510).mul_(1 / math.sqrt(4 * (256**2 - 1) / 12))


def _hash_bits(uniform: Float[Tensor, "B"], count: int) -> Int[Tensor, "B count"]:
    """32 random bits for each (number of a row, index): the finalizer of MurmurHash3, int32.

    A generator is not used: it would need its seed on the host, and its numbers would depend on
    the batch.
    """
    # 0x9E3779B1 is a prime near 2^32 / golden ratio: its multiples spread consecutive indices.
    index = torch.arange(count, dtype=torch.int32, device=uniform.device) * _to_int32(0x9E3779B1)
    seed = _mix_bits((uniform * 2**24).int()[:, None] + 1)
    return _mix_bits(seed ^ index)


def _mix_bits(bits: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The finalizer of MurmurHash3 (fmix32) on int32, whose products wrap around."""
    # int32 shifts copy the sign bit; the masks make them the unsigned shifts of the original.
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ ((bits >> shift) & ((1 << (32 - shift)) - 1))) * _to_int32(factor)

    return bits ^ ((bits >> 16) & 0xFFFF)


def _to_int32(value: int) -> int:
    """The int32 with the bits of an unsigned 32-bit number."""
    return value - 2**32 if value >= 2**31 else value
