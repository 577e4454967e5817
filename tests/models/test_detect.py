"""Detection heads: they fit every pyramid, learn one box by heart, and decode what they were given
as targets.
"""

from __future__ import annotations

import pytest
import torch

from place_cxr.models.detect import DETECTION_HEADS, Yolo, _YoloOutput
from place_cxr.models.image import ImageEncoder, ImagePyramid, ImageSettings, PyramidSpec

_BODIES = {
    "CNN": ("resnet18", [8], {"channels": [16, 16, 16, 32]}),
    "ViT": ("vit_tiny_patch16_224", [16], {"embed_dim": 32, "depth": 1, "num_heads": 2}),
}
BOXES = torch.tensor(
    [[[8.0, 8, 40, 48], [0, 0, 0, 0]], [[20, 30, 60, 60], [2, 2, 20, 22]], [[0, 0, 0, 0]] * 2]
)
LABELS = torch.tensor([[0, -1], [1, 0], [-1, -1]])


@pytest.mark.parametrize("kind", _BODIES)
@pytest.mark.parametrize("head", DETECTION_HEADS)
def test_a_head_fits_its_encoder_and_learns(head: str, kind: str) -> None:
    torch.manual_seed(0)
    name, strides, options = _BODIES[kind]
    encoder = ImageEncoder(
        ImageSettings(name=name, size=64, local_strides=tuple(strides), options=options)
    ).eval()
    with torch.no_grad():
        seen = encoder.head_features(torch.randn(3, 1, 64, 64))
    made = DETECTION_HEADS[head](encoder.head_spec, 2).train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = made(seen).loss(BOXES, LABELS)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    found = made.eval()(seen).boxes(0.0, 0.5, 7)
    assert len(found) == 3
    for one in found:
        assert one.boxes.shape == (len(one.scores), 4) and len(one.scores) <= 7
        assert (one.boxes >= 0).all() and (one.boxes <= 64).all()
        assert (one.scores.diff() <= 0).all() and set(one.labels.tolist()) <= {0, 1}


@pytest.mark.parametrize("head", DETECTION_HEADS)
def test_no_true_boxes_is_no_fault(head: str) -> None:
    torch.manual_seed(0)
    spec = PyramidSpec(8, (8, 8, 8, 8), (4, 8, 16, 32), 64)
    seen = ImagePyramid(
        torch.zeros(1, 8), tuple(torch.randn(1, 8, 64 // s, 64 // s) for s in spec.strides)
    )
    loss = DETECTION_HEADS[head](spec, 1)(seen).loss(torch.zeros(1, 1, 4), torch.tensor([[-1]]))
    assert torch.isfinite(loss) and loss > 0


def test_no_map_of_fcos_is_louder_than_another() -> None:
    torch.manual_seed(0)
    spec = PyramidSpec(8, (8, 8, 8, 8), (4, 8, 16, 32), 64)
    maps = [torch.randn(3, 8, 64 // s, 64 // s) for s in spec.strides]
    scaled = tuple(k * m for k, m in zip((1, 30, 0.3, 5), maps, strict=True))
    head = DETECTION_HEADS["fcos"](spec, 2)
    plain, loud = (
        head(ImagePyramid(torch.zeros(3, 8), tuple(seen))).loss(BOXES, LABELS)
        for seen in (maps, scaled)
    )
    torch.testing.assert_close(loud, plain, rtol=1e-3, atol=0)


def test_every_place_of_fcos_can_learn_its_box() -> None:
    """What is cut at 0 has no gradient: at the start no extent is."""
    torch.manual_seed(0)
    spec = PyramidSpec(8, (8, 8, 8, 8), (4, 8, 16, 32), 64)
    head = DETECTION_HEADS["fcos"](spec, 2)
    says = head(
        ImagePyramid(
            torch.zeros(3, 8), tuple(torch.randn(3, 8, 64 // s, 64 // s) for s in spec.strides)
        )
    )
    assert (says.heads["bbox_regression"] > 0).all()


def test_yolo_decodes_its_own_targets() -> None:
    """Answers made from the targets give the boxes back, on every level."""
    empty = [torch.zeros(3, 3 * 7, 64 // s, 64 // s) for s in (8, 16, 32)]
    says = _YoloOutput(empty, 64, 2)
    for level in range(3):
        raw = says._raw(level)
        target, on, off = says._targets(level, raw, BOXES, LABELS)
        assert on.sum() == 3
        answer = torch.full_like(raw, -20.0)
        place = target[..., :2].clamp(1e-6, 1 - 1e-6)
        answer[..., :2] = torch.log(place / (1 - place))
        answer[..., 2:4] = target[..., 2:4]
        answer[..., 4] = torch.where(on == 1, 20.0, -20.0)
        answer[..., 5:] = torch.where(target[..., 5:] == 1, 20.0, -20.0)
        flat = answer.permute(0, 1, 4, 2, 3).flatten(1, 2)
        given = [
            flat if other == level else torch.full_like(e, -20.0) for other, e in enumerate(empty)
        ]
        found = _YoloOutput(given, 64, 2).boxes(0.5, 0.9, 10)
        for one, boxes, labels in zip(found, BOXES, LABELS, strict=True):
            expected = boxes[labels >= 0]
            assert len(one.boxes) == len(expected)
            for box, label in zip(one.boxes, one.labels, strict=True):
                near = (expected - box).abs().amax(1)
                assert near.min() < 1e-2 and labels[labels >= 0][near.argmin()] == label


def test_yolo_weighs_as_published() -> None:
    """One cell, one anchor on an object: every part of the loss by hand."""
    head = _YoloOutput([torch.zeros(1, 18, 2, 2)] * 3, 416, 1)
    size = torch.tensor(
        [[[100.0, 100.0, 110.0, 113.0]]]
    )  # the first anchor exactly, in the first cell
    target, on, off = head._targets(0, head._raw(0), size, torch.tensor([[0]]))
    assert on.nonzero().tolist() == [[0, 0, 0, 0]] and target[0, 0, 0, 0, 2:4].tolist() == [0, 0]
    ln2, cells = torch.tensor(2.0).log(), on.numel()
    place = torch.nn.functional.binary_cross_entropy(
        torch.full((2,), 0.5), target[0, 0, 0, 0, :2], reduction="sum"
    )
    expected = (2.5 * place + ln2 + 0.5 * off.sum() * ln2 + ln2) / cells
    assert head._level_loss(0, size, torch.tensor([[0]])).item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    assert isinstance(Yolo(PyramidSpec(8, (8, 8, 8), (8, 16, 32), 64), 1), torch.nn.Module)
