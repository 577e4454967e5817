"""Image encoders: any timm backbone that yields a pooled vector and a patch grid."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor, nn

from place_cxr.core.errors import PlaceError
from place_cxr.core.registry import did_you_mean
from place_cxr.core.settings import Settings
from place_cxr.core.tensors import Features

# What is passed to `timm.create_model`: numbers that decide a shape or a rate. A configuration may
# come with a stranger's checkpoint, so nothing is passed that names a file, a model of the Hub or
# code (`checkpoint_path` opens a pickle).
_NUMBER_OPTIONS = frozenset(
    (
        *("channels", "layers", "stem_width", "base_width", "cardinality", "block_reduce_first"),
        *("down_kernel_size", "avg_down", "replace_stem_pool", "zero_init_last", "output_stride"),
        *("depth", "depths", "dims", "embed_dim", "num_heads", "mlp_ratio", "patch_size"),
        *("img_size", "window_size", "kernel_sizes", "qkv_bias", "qk_norm", "proj_bias"),
        *("init_values", "ls_init_value", "class_token", "no_embed_class", "reg_tokens"),
        *("pre_norm", "final_norm", "fc_norm", "dynamic_img_size", "norm_eps", "use_grn"),
        *("conv_mlp", "conv_bias", "drop_rate", "pos_drop_rate", "patch_drop_rate"),
        *("proj_drop_rate", "attn_drop_rate", "drop_path_rate", "drop_block_rate"),
    )
)
_WORD_OPTIONS = {
    "global_pool": ("", "avg", "max", "avgmax", "token", "map"),
    "stem_type": ("", "deep", "deep_tiered", "patch", "overlap", "overlap_tiered"),
}
_LARGEST_OPTION = 8192  # twice the widest layer of timm's networks
_MOST_LAYERS = 200
_LONGEST_OPTION = 8  # stages of a network


class ImageSettings(Settings):
    """Which backbone, and which of its maps are the patches."""

    name: str = "vit_base_patch16_224"  # any timm name [MGCA: DeiT-base = ViT-B/16, or resnet50]
    size: int = Field(224, ge=1, le=4096)  # pixels of the square view [MGCA]
    # ViT patch size; layer3 of ResNet-50 [MGCA]. Several maps are joined on the grid of the first.
    local_strides: tuple[int, ...] = (16,)
    options: dict[str, Any] = {}  # shape and rates, passed to timm.create_model
    weights: str = ""  # path of a safetensors file with timm's names; empty = random
    pretrained: bool = False  # fetch timm's weights from the Hub: uses the network

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name, value in options.items():
            if name in _WORD_OPTIONS:
                if value not in _WORD_OPTIONS[name]:
                    raise ValueError(f"{name} must be one of {', '.join(_WORD_OPTIONS[name])}")
            elif name not in _NUMBER_OPTIONS:
                raise ValueError("holds an option that is none of a network's shape")
            else:
                _check_number_option(name, value)

        return options


def _check_number_option(name: str, value: Any) -> None:
    """Raises ValueError unless ``value`` is a number of a network's size, or a short list of
    such.
    """
    limit = _MOST_LAYERS if name in ("depth", "depths", "layers") else _LARGEST_OPTION
    numbers = value if isinstance(value, (list, tuple)) else [value]
    are_numbers = all(n is None or isinstance(n, (bool, int, float)) for n in numbers)

    if not are_numbers or len(numbers) > _LONGEST_OPTION:
        raise ValueError(f"{name} must be a number, or at most {_LONGEST_OPTION} of them")
    if not all(n is None or 0 <= n <= limit for n in numbers):
        raise ValueError(f"{name} must lie between 0 and {limit}")


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Widths and grid that heads are built for."""

    pooled: int
    local: int
    grid: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PyramidSpec:
    """Sizes that dense heads are built for: channels and strides of the maps, finest first, for
    views of ``size`` pixels.

    A network of one stride (a ViT) has one map.
    """

    pooled: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    size: int

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of one image's maps."""
        # Rounded up, as strided convolutions with padding do.
        sides = [-(-self.size // stride) for stride in self.strides]
        return tuple((c, side, side) for c, side in zip(self.channels, sides, strict=True))


@dataclass(frozen=True, slots=True)
class ImagePyramid:
    """What a head reads of B images: the pooled vector, and the feature maps where it asks for
    them.

    ``maps`` are [B, C, H, W], from the finest to the coarsest.
    """

    pooled: Float[Tensor, "B C"]
    maps: tuple[Tensor, ...] = ()

    @property
    def levels(self) -> tuple[Tensor, ...]:
        """All but the pooled vector, in the order of `PyramidSpec.shapes`."""
        return self.maps

    @classmethod
    def from_levels(cls, pooled: Tensor, levels: Sequence[Tensor]) -> ImagePyramid:
        """The record of which these are the parts."""
        return cls(pooled, tuple(levels))


class ImageEncoder(nn.Module):
    """One grey channel in, pooled vector and patch tokens out."""

    def __init__(self, settings: ImageSettings) -> None:
        super().__init__()
        self.settings = settings
        self.body = _create(settings)
        self.use_fast_layout()

        # The maps whose positions are the patches.
        info = self.body.feature_info
        reductions = [stage["reduction"] for stage in info]
        self.stages = [
            _last_stage(settings, reductions, stride) for stride in settings.local_strides
        ]
        channels = [info[stage]["num_chs"] for stage in self.stages]
        side = -(-settings.size // settings.local_strides[0])
        self.spec = FeatureSpec(self.body.head_hidden_size, sum(channels), (side, side))

        # For dense heads: one map for each stride, the last of that stride.
        self._levels = [
            len(reductions) - 1 - reductions[::-1].index(stride)
            for stride in sorted(set(reductions))
        ]
        self.head_spec = PyramidSpec(
            self.spec.pooled,
            tuple(info[level]["num_chs"] for level in self._levels),
            tuple(reductions[level] for level in self._levels),
            settings.size,
        )

    def use_fast_layout(self) -> None:
        """Store convolution weights in channels-last layout: 0.7x time in fp32, 0.6x in bf16."""
        # Not where a strided 1 x 1 convolution has fewer than 16 input channels: its gradient in
        # this layout ends the process on AVX-512 processors of AMD (torch 2.14 and 2.15, several
        # threads).
        convolutions = [m for m in self.body.modules() if isinstance(m, nn.Conv2d)]
        is_unsafe = any(
            m.in_channels < 16 and m.kernel_size == (1, 1) and m.stride != (1, 1)
            for m in convolutions
        )
        if not is_unsafe:
            self.body.to(memory_format=torch.channels_last)

    def freeze_beyond_maps(self) -> None:
        """Freeze the stages that only the pooled vector needs."""
        for stage in self.body.feature_info[max(self.stages) + 1 :]:
            self.body.get_submodule(stage["module"]).requires_grad_(False)

    def forward(self, image: Float[Tensor, "B 1 H W"], attend: bool = False) -> Features:
        """Pooled [B, C] and patch tokens [B, P, C2] of the chosen maps, joined on the grid of the
        first.

        ``attend`` adds the class token's attention to each patch in the last block. Encoders that
        do not pool by a class token have none.
        """
        if not attend or getattr(self.body, "global_pool", None) != "token":
            return self._features(
                *self.body.forward_intermediates(image, indices=self.stages, norm=True)
            )

        # timm's blocks do not return attention. A hook reads the projection of the last block, from
        # which attention is computed again for the class token alone.
        last, captured = self.body.blocks[-1].attn, []
        hook = last.qkv.register_forward_hook(lambda *call: captured.append(call[-1].detach()))
        try:
            features = self(image)
        finally:
            hook.remove()

        return replace(
            features, attention=_class_attention(last, captured[0])[:, -features.local.shape[1] :]
        )

    def local(self, image: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B P C2"]:
        """The patch tokens alone. Later stages are not run."""
        maps = self.body.forward_intermediates(
            image, indices=self.stages, norm=True, stop_early=True, intermediates_only=True
        )
        return _join_maps(maps)

    def head_features(self, image: Float[Tensor, "B 1 H W"]) -> ImagePyramid:
        """Pooled vector and one map [B, C, H / stride, W / stride] for each stride of
        ``head_spec``.
        """
        final, maps = self.body.forward_intermediates(image, indices=self._levels, norm=True)
        return ImagePyramid(self.body.forward_head(final, pre_logits=True), tuple(maps))

    def shallow(self, image: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H2 W2"]:
        """The first map of the backbone."""
        maps: list[Tensor] = self.body.forward_intermediates(
            image, indices=[0], stop_early=True, intermediates_only=True
        )
        return maps[0]

    def forward_with_positions(
        self, image: Float[Tensor, "B 1 H W"]
    ) -> tuple[Features, Float[Tensor, "B N C"], tuple[int, int]]:
        """As ``forward``, with the last map position by position in the space of ``pooled``, and
        the grid of that map.
        """
        final, maps = self.body.forward_intermediates(image, indices=self.stages, norm=True)
        features = self._features(final, maps)
        if final.ndim == 3:  # a transformer: drop class and register tokens
            side = image.shape[-1] // self.settings.local_strides[0]
            return features, final[:, -side * side :], (side, side)

        # Each position of a CNN's last map passes through the pooling head as a map of one pixel.
        rows, columns = final.shape[-2:]
        positions = final.flatten(2).transpose(1, 2).flatten(0, 1)[:, :, None, None]
        pooled = self.body.forward_head(positions, pre_logits=True)

        return features, pooled.unflatten(0, (len(final), -1)), (rows, columns)

    def _features(self, final: Tensor, maps: list[Tensor]) -> Features:
        rows, columns = maps[0].shape[-2:]
        return Features(
            self.body.forward_head(final, pre_logits=True), _join_maps(maps), (rows, columns)
        )


def _join_maps(maps: list[Tensor]) -> Float[Tensor, "B P C"]:
    """Patch tokens: maps joined along channels on the grid of the first."""
    grid = maps[0].shape[-2:]
    maps = [m if m.shape[-2:] == grid else F.interpolate(m, grid, mode="bilinear") for m in maps]
    return torch.cat(maps, dim=1).flatten(2).transpose(1, 2)


@torch.no_grad()
def _class_attention(layer: Any, projected: Float[Tensor, "B N A"]) -> Float[Tensor, "B N"]:
    """The first token's attention in a timm layer, averaged over heads, from its queries, keys and
    values.
    """
    query, key, _ = projected.unflatten(-1, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
    query, key = layer.q_norm(query[:, :, :1]), layer.k_norm(key)
    return (layer.scale * query @ key.transpose(-2, -1)).float().softmax(-1).mean(1).squeeze(1)


def _create(settings: ImageSettings) -> Any:
    options: dict[str, Any] = dict(settings.options)
    # A name with a colon or slash would be a model of the Hub or a folder.
    if not re.fullmatch(r"\w+(\.\w+)?", settings.name) or not timm.is_model(settings.name):
        near = did_you_mean(settings.name, timm.list_models())
        raise PlaceError(
            f"unknown image encoder '{settings.name[:60]}'{near}",
            code="PL-C002",
            fix="use a timm model name",
        )

    if "vit" in settings.name or "deit" in settings.name:
        options.setdefault("img_size", settings.size)
    create = _fetch if settings.pretrained else _build
    body = create(settings, options)
    if settings.weights:
        _load_weights(body, Path(settings.weights))

    return body


def _build(settings: ImageSettings, options: dict[str, Any]) -> Any:
    """The network with random weights. Raises PlaceError PL-C003 for options it does not have."""
    try:
        return timm.create_model(
            settings.name, pretrained=False, in_chans=1, num_classes=0, **options
        )
    except Exception as error:  # timm checks little: any kind may come out of a constructor
        names = ", ".join(settings.options) or "its settings"
        raise PlaceError(
            f"{settings.name} cannot be built with {names}",
            code="PL-C003",
            fix="correct model.image.options",
        ) from error


def _fetch(settings: ImageSettings, options: dict[str, Any]) -> Any:
    """The network with timm's weights, from the local cache unless the network is allowed.

    Raises PlaceError PL-C003 as `_build`, PL-E013 where the weights cannot be had.
    """
    _build(settings, options)  # so that what goes wrong below is the weights' fault
    fix = (
        "allow the download with HF_HUB_OFFLINE=0, or set model.image.weights to a .safetensors "
        "file"
    )
    problem = f"timm's weights of {settings.name} cannot be had"

    offline = not allows_downloads()
    config = timm.models.get_pretrained_cfg(settings.name)
    if config is None or (offline and not config.hf_hub_id):
        raise PlaceError(problem, code="PL-E013", fix=fix)

    try:
        with _hub_offline() if offline else nullcontext():
            return timm.create_model(
                settings.name, pretrained=True, in_chans=1, num_classes=0, **options
            )
    except Exception as error:  # of the Hub, of the network, of tensors that do not fit
        raise PlaceError(problem, code="PL-E013", fix=fix) from error


def allows_downloads() -> bool:
    """Whether the user asked for the network with ``HF_HUB_OFFLINE=0``."""
    return os.environ.get("HF_HUB_OFFLINE", "1").upper() in ("0", "OFF", "NO", "FALSE", "")


@contextmanager
def _hub_offline() -> Iterator[None]:
    """The Hub's library reads its variable when it is imported, which may have been before ours."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _load_weights(body: nn.Module, path: Path) -> None:
    """Fill ``body`` from a safetensors file of timm's names. The classifier is ignored.

    Raises PlaceError PL-R101 without the file, PL-R106 for a file of another form, PL-R109 where
    tensors do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise PlaceError(
            "no such weights file",
            code="PL-R101",
            file=path,
            fix="set model.image.weights to a .safetensors file",
        )

    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError):
        raise PlaceError(
            "is no safetensors file that can be read, and pickled weights (.pth, .bin) are not",
            code="PL-R106",
            file=path,
            fix="save the state dict again with safetensors.torch.save_file",
        ) from None

    expected = body.state_dict()

    # A grey image equals an RGB image with three equal channels, so the stem's weights are summed.
    for name, value in weights.items():
        is_rgb = value.ndim == 4 and value.shape[1] == 3
        if is_rgb and name in expected and expected[name].shape[1] == 1:
            weights[name] = value.sum(1, keepdim=True)

    missing = [n for n in expected if n not in weights or weights[n].shape != expected[n].shape]
    if missing:
        raise PlaceError(
            f"{len(missing)} of {len(expected)} tensors are missing or differ in shape, first "
            f"{', '.join(missing[:5])}",
            code="PL-R109",
            file=path,
            fix="use weights of the same timm architecture",
        )

    body.load_state_dict({n: weights[n] for n in expected})


def _last_stage(settings: ImageSettings, reductions: list[int], stride: int) -> int:
    if stride not in reductions:
        choices = ", ".join(map(str, sorted(set(reductions))))
        raise PlaceError(
            f"{settings.name} has no map of stride {stride}",
            code="PL-C004",
            fix=f"use one of {choices}",
        )
    return len(reductions) - 1 - reductions[::-1].index(stride)
