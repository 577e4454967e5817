"""Detection heads: FCOS on a feature pyramid, and the YOLOv3-style head of MGCA with its loss."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork, batched_nms

from place_cxr.models.image import ImagePyramid, PyramidSpec

# Strides 8, 16 and 32 of a CNN [YOLOv3]; half, the same and double the patch of a ViT.
YOLO_LEVELS = 3
FCOS_LEVELS = 4  # one finer level, for boxes of a few pixels
# Channels of the pyramid, a multiple of the groups of FCOS's head [ours; 256 as published].
PYRAMID_WIDTH = 64
_GROUPS = 32  # as in torchvision's FCOS head
BRANCH_CONVOLUTIONS = 2  # of each branch [ours; 4 as published]
# COCO's anchors at 416 pixels, fine to coarse [YOLOv3]; scaled to the view [MGCA].
YOLO_ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
_IGNORE_OVERLAP = 0.5  # overlap of an anchor with a true box above which it is no background [MGCA]
# MGCA counts widths and heights of overlaps in whole pixels and so adds 1, also where the unit is a
# cell.
_PIXEL_OFFSET = 1.0


@dataclass(frozen=True, slots=True)
class PredictedBoxes:
    """Boxes of one image in pixels of the view, the surest first."""

    boxes: Float[Tensor, "N 4"]
    scores: Float[Tensor, "N"]
    labels: Int[Tensor, "N"]


@runtime_checkable
class DetectionOutput(Protocol):
    """What a detection head predicts of a batch."""

    def loss(self, boxes: Float[Tensor, "B M 4"], labels: Int[Tensor, "B M"]) -> Float[Tensor, ""]:
        """The loss against true boxes in pixels of the view. A label of -1 is padding."""

    def boxes(self, threshold: float, overlap: float, max_boxes: int) -> list[PredictedBoxes]:
        """One record for each image: boxes that score above ``threshold``, after non-maximum
        suppression at ``overlap``, at most ``max_boxes``.
        """


class DetectionPyramid(nn.Module):
    """``count`` maps for detection, with their ``channels`` and ``strides``, fine to coarse.

    The last maps of a CNN as they are. Of a ViT's one map: upsampled, as it is, and pooled
    [ViTDet].
    """

    def __init__(self, spec: PyramidSpec, count: int) -> None:
        super().__init__()
        self._count, self._uses_encoder_maps = count, len(spec.strides) >= count
        self.strides, self.channels = spec.strides[-count:], spec.channels[-count:]
        if not self._uses_encoder_maps:
            # One map is pooled, one is as it is, and the others are doubled one from another.
            stride, width, doublings = spec.strides[-1], spec.channels[-1], count - 2
            self.strides = tuple(2 * stride >> level for level in reversed(range(count)))
            self.channels = (width,) * count
            self.grow = nn.ModuleList(
                nn.ConvTranspose2d(width, width, 2, stride=2) for _ in range(doublings)
            )

    def forward(self, pyramid: ImagePyramid) -> list[Tensor]:
        """The maps, fine to coarse."""
        if self._uses_encoder_maps:
            return list(pyramid.maps[-self._count :])

        maps = [pyramid.maps[-1], functional.max_pool2d(pyramid.maps[-1], 2, ceil_mode=True)]
        for grow in self.grow:
            maps.insert(0, grow(maps[0]))

        return maps


class Fcos(nn.Module):
    """torchvision's FCOS on a feature pyramid of the encoder's maps."""

    def __init__(self, spec: PyramidSpec, classes: int) -> None:
        super().__init__()
        self.levels = DetectionPyramid(spec, FCOS_LEVELS)
        # Normalized, because a frozen encoder's maps have any scale and the head has few steps.
        self.pyramid = FeaturePyramidNetwork(
            list(self.levels.channels), PYRAMID_WIDTH, norm_layer=partial(nn.GroupNorm, _GROUPS)
        )
        # FCOS only reads the number of channels of its backbone, which is not called here.
        body = nn.Identity()
        body.out_channels = PYRAMID_WIDTH  # type: ignore[assignment]
        strides = self.levels.strides
        grid = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * FCOS_LEVELS)
        # The library's points are the corners of cells, and a small box would hold none of them.
        # Here they are the middles.
        grid.cell_anchors = [
            cell + stride / 2 for cell, stride in zip(grid.cell_anchors, strides, strict=True)
        ]
        self.fcos = FCOS(
            body,
            classes,
            anchor_generator=grid,
            head=FCOSHead(PYRAMID_WIDTH, 1, classes, BRANCH_CONVOLUTIONS),
        )
        # The library clamps distances at 0 and starts there. After one step below 0 they would have
        # no gradient any more.
        nn.init.constant_(self.fcos.head.regression_head.bbox_reg.bias, 1.0)
        self._size = spec.size

    def forward(self, pyramid: ImagePyramid) -> DetectionOutput:
        """Class, box and centerness at each point."""
        named_maps = OrderedDict()
        for level, feature_map in enumerate(self.levels(pyramid)):
            named_maps[str(level)] = feature_map

        maps = list(self.pyramid(named_maps).values())
        sizes = [(self._size, self._size)] * len(maps[0])
        anchors = self.fcos.anchor_generator(
            ImageList(maps[0].new_empty(len(maps[0]), 1, *sizes[0]), sizes), maps
        )

        return _FcosOutput(
            self.fcos,
            self.fcos.head(maps),
            anchors,
            [m.shape[-2] * m.shape[-1] for m in maps],
            sizes,
        )


@dataclass(frozen=True)
class _FcosOutput:
    fcos: FCOS
    heads: dict[str, Tensor]
    anchors: list[Tensor]
    places: list[int]  # number of points of each level
    sizes: list[tuple[int, int]]

    def loss(self, boxes: Tensor, labels: Tensor) -> Tensor:
        """Focal loss, generalized overlap and centerness with equal weights [FCOS]."""
        targets = [
            {"boxes": box[label >= 0], "labels": label[label >= 0]}
            for box, label in zip(boxes, labels, strict=True)
        ]
        parts = self.fcos.compute_loss(targets, self.heads, self.anchors, self.places)
        return torch.stack(list(parts.values())).sum()

    def boxes(self, threshold: float, overlap: float, max_boxes: int) -> list[PredictedBoxes]:
        """The score is the square root of class probability times centerness [FCOS]."""
        self.fcos.score_thresh, self.fcos.nms_thresh = threshold, overlap
        self.fcos.detections_per_img = max_boxes

        heads = {name: list(value.split(self.places, dim=1)) for name, value in self.heads.items()}
        anchors = [list(item.split(self.places)) for item in self.anchors]
        detections = self.fcos.postprocess_detections(heads, anchors, self.sizes)

        return [
            PredictedBoxes(item["boxes"], item["scores"], item["labels"]) for item in detections
        ]


class Yolo(nn.Module):
    """YOLOv3-style head with three anchors in each cell. Each level is joined with the upsampled
    coarser one.

    Loss and decoding are those of MGCA, for comparison with papers. FCOS is the default.
    """

    def __init__(self, spec: PyramidSpec, classes: int) -> None:
        super().__init__()
        self.levels = DetectionPyramid(spec, YOLO_LEVELS)
        # YOLOv3 has 256, 512 and 1,024 channels. No more than the encoder's map, so that a small
        # encoder gets a small head.
        widths = [
            max(16, min(256 << level, self.levels.channels[level]) // 2)
            for level in range(YOLO_LEVELS)
        ]
        joined = [widths[level + 1] // 2 for level in range(YOLO_LEVELS - 1)] + [0]
        self.blocks = nn.ModuleList(
            _block(channels + extra, width)
            for channels, extra, width in zip(self.levels.channels, joined, widths, strict=True)
        )
        self.grown = nn.ModuleList(
            _convolution(widths[level + 1], joined[level], 1) for level in range(YOLO_LEVELS - 1)
        )
        self.last = nn.ModuleList(nn.Conv2d(width, 3 * (5 + classes), 1) for width in widths)
        self._size, self._classes = spec.size, classes

    def forward(self, pyramid: ImagePyramid) -> DetectionOutput:
        """Raw predictions of every level."""
        maps, coarser = self.levels(pyramid), None
        answers: list[Tensor] = []
        for level in reversed(range(YOLO_LEVELS)):
            joined = maps[level]
            if coarser is not None:
                grown = functional.interpolate(self.grown[level](coarser), joined.shape[-2:])
                joined = torch.cat([grown, joined], dim=1)

            coarser = self.blocks[level](joined)
            answers.insert(0, self.last[level](coarser))

        return _YoloOutput(answers, self._size, self._classes)


@dataclass(frozen=True)
class _YoloOutput:
    answers: list[Tensor]  # fine to coarse, [B, 3 * (5 + M), H, W]
    size: int
    classes: int

    def loss(self, boxes: Tensor, labels: Tensor) -> Tensor:
        """2.5 (center + extent) + objectness + class + half of background, means over all anchors
        [MGCA].

        An anchor with an object is background too unless it overlaps by more than a half [MGCA].
        """
        parts = [self._level_loss(level, boxes, labels) for level in range(YOLO_LEVELS)]

        return torch.stack(parts).sum()

    def boxes(self, threshold: float, overlap: float, max_boxes: int) -> list[PredictedBoxes]:
        """The score is the objectness alone, and the label the likeliest class [MGCA]. Boxes are
        clipped to the view.
        """
        decoded = [self._decoded(level) for level in range(YOLO_LEVELS)]
        image_corners, objectness, class_probabilities = (
            torch.cat(parts, dim=1) for parts in zip(*decoded, strict=True)
        )
        detections = []

        for corners, score, probabilities in zip(
            image_corners, objectness, class_probabilities, strict=True
        ):
            selected = (score >= threshold).nonzero()[:, 0]
            corners, score = corners[selected], score[selected]
            label = probabilities[selected].argmax(1)

            # Whole pixels, as MGCA counts them in overlaps.
            extended = corners + corners.new_tensor([0, 0, _PIXEL_OFFSET, _PIXEL_OFFSET])
            kept = batched_nms(extended, score, label, overlap)[:max_boxes]
            clipped = corners[kept].clamp(0, self.size)
            detections.append(PredictedBoxes(clipped, score[kept], label[kept]))

        return detections

    def _raw(self, level: int) -> Tensor:
        """Predictions of three anchors at each cell [B, 3, H, W, 5 + M].

        The last axis: offset of the center (2), extent (2), objectness, M classes.
        """
        answer = self.answers[level]
        by_anchor = answer.view(len(answer), 3, 5 + self.classes, *answer.shape[-2:])

        return by_anchor.permute(0, 1, 3, 4, 2)

    def _anchors(self, level: int, like: Tensor) -> Tensor:
        """Widths and heights of the anchors [3, 2] in pixels of the view."""
        anchors = torch.tensor(YOLO_ANCHORS[level], dtype=like.dtype, device=like.device)

        return anchors * (self.size / 416)

    def _decoded(self, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """Corners [B, N, 4] in pixels, objectness [B, N] and class probabilities [B, N, M]."""
        raw = self._raw(level)
        rows, columns = raw.shape[2:4]
        step = raw.new_tensor([self.size / columns, self.size / rows])  # pixels of a cell
        down, across = torch.meshgrid(
            torch.arange(rows, device=raw.device),
            torch.arange(columns, device=raw.device),
            indexing="ij",
        )
        middle = (raw[..., :2].sigmoid() + torch.stack([across, down], dim=-1)) * step

        # The clamp keeps boxes finite.
        extent = raw[..., 2:4].clamp(max=6).exp() * self._anchors(level, raw)[:, None, None]
        corners = torch.cat([middle - extent / 2, middle + extent / 2], dim=-1)

        return (
            corners.flatten(1, 3),
            raw[..., 4].sigmoid().flatten(1),
            raw[..., 5:].sigmoid().flatten(1, 3),
        )

    def _level_loss(self, level: int, boxes: Tensor, labels: Tensor) -> Tensor:
        """The loss of one level, see `loss`."""
        raw = self._raw(level)
        target, on, off = self._targets(level, raw, boxes, labels)
        cross_entropy = functional.binary_cross_entropy_with_logits
        center_loss = cross_entropy(raw[..., :2], target[..., :2], reduction="none").sum(-1)
        extent_loss = ((raw[..., 2:4] - target[..., 2:4]) ** 2).sum(-1)
        object_loss = cross_entropy(raw[..., 4], on, reduction="none")
        background_loss = cross_entropy(raw[..., 4], torch.zeros_like(on), reduction="none")
        class_loss = cross_entropy(raw[..., 5:], target[..., 5:], reduction="none").mean(-1)

        object_part = on * (2.5 * (center_loss + extent_loss) + object_loss + class_loss)

        return (object_part + 0.5 * off * background_loss).mean()

    @torch.no_grad()
    def _targets(
        self, level: int, raw: Tensor, boxes: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Targets [B, 3, H, W, 5 + M]; 1 where an anchor has an object; 1 where it is background,
        both [B, 3, H, W].
        """
        target = torch.zeros_like(raw)
        on, off = torch.zeros_like(raw[..., 0]), torch.ones_like(raw[..., 0])
        rows, columns = raw.shape[2:4]
        anchors = self._anchors(level, raw)
        step = raw.new_tensor([self.size / columns, self.size / rows])

        for image, slot in (labels >= 0).nonzero().tolist():
            # The cell that holds the middle of the box.
            x0, y0, x1, y1 = boxes[image, slot].tolist()
            across, down = (x0 + x1) / 2 * columns / self.size, (y0 + y1) / 2 * rows / self.size
            i, j = min(int(across), columns - 1), min(int(down), rows - 1)

            # Its most similar anchor is the object's. Other similar ones are no background.
            extent = raw.new_tensor([x1 - x0, y1 - y0])
            overlap = _overlap(anchors / step, extent / step)
            best = int(overlap.argmax())
            off[image, overlap > _IGNORE_OVERLAP, j, i] = 0
            on[image, best, j, i] = 1
            target[image, best, j, i, :2] = raw.new_tensor([across - i, down - j])
            target[image, best, j, i, 2:4] = torch.log(extent / anchors[best])
            target[image, best, j, i, 5 + int(labels[image, slot])] = 1

        return target, on, off


def _overlap(anchors: Float[Tensor, "A 2"], extent: Float[Tensor, "2"]) -> Float[Tensor, "A"]:
    """Intersection over union of boxes with one corner in common, in cells [MGCA]."""
    intersection = (torch.minimum(anchors, extent) + _PIXEL_OFFSET).prod(1)
    sizes = (anchors + _PIXEL_OFFSET).prod(1) + (extent + _PIXEL_OFFSET).prod()

    return intersection / (sizes - intersection)


DETECTION_HEADS: dict[str, Any] = {"fcos": Fcos, "yolo": Yolo}


def _block(channels: int, width: int) -> nn.Module:
    return nn.Sequential(_convolution(channels, width, 1), _convolution(width, width, 3))


def _convolution(channels: int, width: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.LeakyReLU(0.1),
    )
