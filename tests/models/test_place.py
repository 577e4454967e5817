"""The network: shapes on every kind of backbone, unpadded text, teacher, what must not depend on
what.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import BertConfig, BertModel

from place_cxr.core.errors import PlaceError
from place_cxr.core.tensors import Tokens, Views
from place_cxr.losses import LOSSES, LossTerm, total_loss
from place_cxr.models.attention import Attention, grid_positions
from place_cxr.models.correlation import CorrelationSettings, pixel_patches
from place_cxr.models.image import ImageEncoder, ImageSettings
from place_cxr.models.meta_init import init_on_meta_device
from place_cxr.models.observations import ObservationSettings, SubtractRunningMean
from place_cxr.models.place import ModelSettings, PlaceModel
from place_cxr.models.text import TextEncoder, TextSettings, complete_text_settings
from place_cxr.models.tokens import TokenSettings

CNN = ImageSettings(
    name="resnet18",
    size=64,
    local_strides=(8, 16),
    options={"channels": (8, 16, 16, 32), "zero_init_last": False},
)
VIT = ImageSettings(name="vit_tiny_patch16_224", size=64, options={"depth": 2})
TEXT = TextSettings(width=32, layers=2, heads=2, vocab_size=50, max_tokens=24)


def tokens(batch: int = 3, length: int = 24, sentences: int = 4, seed: int = 0) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    used = torch.randint(9, length, (batch, 1), generator=generator)
    place = torch.arange(length)[None]
    mask = place < used
    sentence = ((place - 1) // 4).clamp(max=sentences - 1).where(mask & (place > 0), -1)
    stated = torch.stack([(sentence == s).any(1) for s in range(sentences)], 1)
    key = torch.arange(1, batch * sentences + 1).view(batch, sentences) * stated
    ids = torch.randint(5, 50, (batch, length), generator=generator) * mask
    return Tokens(ids, mask, sentence, key, torch.arange(batch))


def model(image: ImageSettings = CNN, target: str = "teacher") -> PlaceModel:
    torch.manual_seed(0)
    return PlaceModel(
        ModelSettings(
            image=image,
            text=TEXT,
            shared=16,
            hidden=32,
            observations=ObservationSettings(queries=5, width=32, heads=2),
            correlation=CorrelationSettings(width=32, heads=2, out=8, target=target),
        )
    )


def views(batch: int = 3) -> Views:
    picture = torch.randn(batch, 1, 64, 64, generator=torch.Generator().manual_seed(5))
    return Views(picture, picture)


@pytest.mark.parametrize("image", [CNN, VIT], ids=["cnn", "vit"])
@pytest.mark.parametrize("target", ["teacher", "pixels", "shallow"])
def test_shapes_losses_and_gradients(image: ImageSettings, target: str) -> None:
    net = model(image, target)
    out = net(views(), tokens(), monitor=True)
    rows = 8 if image is CNN else 4
    assert net.image_encoder.spec.grid == (rows, rows)
    assert out.attention.shape == (3, 5, rows * rows) and out.visual.vectors.shape == (3, 5, 16)
    torch.testing.assert_close(out.attention.sum(-1), torch.ones(3, 5))
    for unit in (out.image, out.text, out.visual.vectors, out.textual.vectors):
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(unit.shape[:-1]))
    names = ("instance", "pathology_pair", "pathology_sentence", "correlation")
    total, parts = total_loss(out, {name: LossTerm(weight=2.0) for name in names})
    assert total.item() == pytest.approx(2 * sum(p.item() for p in parts.values()), rel=1e-6)
    total.backward()
    without = [
        n
        for n, p in net.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().sum())
    ]
    # A key's bias shifts all scores alike, position 0 rows and such: only what softmax cannot see
    # may stay silent.
    assert all(
        "key" in n or "position" in n or "token_type" in n or n.endswith("score.bias")
        for n in without
    ), without


def test_unpadded_text_equals_the_padded_run() -> None:
    torch.manual_seed(0)
    encoder, batch = TextEncoder(TEXT).eval(), tokens()
    padded = encoder.body(input_ids=batch.ids, attention_mask=batch.mask.long()).last_hidden_state
    ours = encoder(batch)
    torch.testing.assert_close(ours.local[batch.mask], padded[batch.mask], rtol=0, atol=1e-5)
    assert ours.local[~batch.mask].abs().max() == 0
    torch.testing.assert_close(ours.pooled, padded[:, 0], rtol=0, atol=1e-5)
    flat = dataclasses.replace(batch, flat=batch.mask.flatten().nonzero().squeeze(1))
    torch.testing.assert_close(encoder(flat).local, ours.local)


def test_a_sentence_is_read_in_its_report_and_padding_is_not() -> None:
    net, batch = model().eval(), tokens()
    seen = net.describe_text(batch).observations.vectors
    longer = Tokens(
        torch.nn.functional.pad(batch.ids, (0, 0), value=0),
        batch.mask,
        batch.sentence,
        batch.sentence_key,
        batch.report_key,
    )
    longer.ids[~batch.mask] = 7  # what stands in the padding must not matter
    torch.testing.assert_close(net.describe_text(longer).observations.vectors, seen)
    changed = dataclasses.replace(batch, ids=batch.ids.clone())
    changed.ids[0, 2] = 40 if batch.ids[0, 2] != 40 else 41  # a word of the first sentence
    moved = (net.describe_text(changed).observations.vectors - seen).abs().amax(-1)[0]
    assert moved[0] > 1e-4 and moved[1] > 1e-6  # the second sentence hears of it
    assert (net.describe_text(changed).observations.vectors - seen)[
        1:
    ].abs().max() == 0  # other reports do not


@pytest.mark.parametrize("image", [CNN, VIT], ids=["cnn", "vit"])
def test_places_live_in_the_space_of_the_pooled_vector(image: ImageSettings) -> None:
    encoder = ImageEncoder(image).eval()
    picture = views().image
    features, places, grid = encoder.forward_with_positions(picture)
    assert torch.equal(features.pooled, encoder(picture).pooled)
    assert torch.equal(encoder.local(picture), encoder(picture).local) and torch.equal(
        features.local, encoder.local(picture)
    )
    assert places.shape == (3, grid[0] * grid[1], encoder.spec.pooled)
    if image is CNN:  # average pooling: the mean over places is the pooled vector
        torch.testing.assert_close(places.mean(1), encoder(picture).pooled, rtol=1e-4, atol=1e-5)


def test_teacher_follows_slowly_and_takes_no_gradient() -> None:
    net = model()
    assert net.teacher is not None and not any(p.requires_grad for p in net.teacher.parameters())
    with torch.no_grad():
        for p in net.image_encoder.parameters():
            p.add_(1.0)
    before = [p.clone() for p in net.teacher.parameters()]
    net.train()
    net.update_teacher()
    assert not net.teacher.training
    for old, new in zip(before, net.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.01, rtol=0, atol=1e-5)


def test_pixel_patches_cut_the_picture() -> None:
    picture = torch.arange(64.0).view(1, 1, 8, 8)
    patches = pixel_patches(picture, (2, 2))
    assert patches.shape == (1, 4, 16)
    torch.testing.assert_close(patches[0, 1], picture[0, 0, :4, 4:].flatten())


def test_positions_are_distinct() -> None:
    code = grid_positions(7, 7, 64)
    distance = torch.cdist(code, code) + 10 * torch.eye(49)
    assert distance.min() > 0.1


@pytest.mark.parametrize("image", [CNN, VIT], ids=["cnn", "vit"])
def test_an_observation_is_the_sum_of_what_patches_say(image: ImageSettings) -> None:
    net = model(image).eval()
    seen = net.describe_image(views().image)
    torch.testing.assert_close(
        torch.nn.functional.normalize(seen.attention @ seen.patches, dim=-1),
        seen.observations.vectors,
    )


def test_the_running_mean_follows_and_is_taken_away_place_by_place() -> None:
    usual = SubtractRunningMean(4, 2, momentum=0.25)
    first, second = torch.randn(3, 4, 2), torch.randn(5, 4, 2)
    torch.testing.assert_close(usual(first), first)  # nothing was seen before
    after = 0.25 * first.mean(0)
    torch.testing.assert_close(
        usual(second), second - after
    )  # an image's answer does not depend on its batch
    after = after.lerp(second.mean(0), 0.25)
    torch.testing.assert_close(usual.running_mean, after)
    usual.eval()
    torch.testing.assert_close(usual(first), first - after)
    torch.testing.assert_close(usual.running_mean, after)  # standing still


def test_attention_equals_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
    theirs.out_proj = ours.out
    x, memory, mask = (
        torch.randn(2, 3, 16),
        torch.randn(2, 7, 16),
        torch.tensor([[True] * 7, [True] * 4 + [False] * 3]),
    )
    rows = (x.flatten(0, 1), memory.flatten(0, 1), 2)
    expected, _ = theirs(x, memory, memory)
    torch.testing.assert_close(ours(*rows).unflatten(0, (2, 3)), expected)
    hidden, _ = theirs(x, memory, memory, key_padding_mask=~mask)
    torch.testing.assert_close(ours(*rows, mask).unflatten(0, (2, 3)), hidden)


@pytest.mark.parametrize(
    "wrong", [{"name": "resnet81"}, {"local_strides": (5,)}, {"weights": "nowhere.safetensors"}]
)
def test_wrong_names_are_told_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(PlaceError, match="Fix:"):
        ImageEncoder(CNN.model_copy(update=wrong))


def test_weights_of_an_rgb_model_load_into_the_grey_one(tmp_path) -> None:
    import timm
    from safetensors.torch import save_file

    donor = timm.create_model("resnet18", in_chans=3, num_classes=7, channels=(8, 16, 16, 32))
    save_file(
        {k: v.contiguous() for k, v in donor.state_dict().items()}, tmp_path / "w.safetensors"
    )
    encoder = ImageEncoder(
        CNN.model_copy(update={"weights": str(tmp_path / "w.safetensors")})
    ).eval()
    grey = torch.randn(1, 1, 64, 64)
    donor.eval()
    expected = donor.forward_head(
        donor.forward_features(grey.expand(-1, 3, -1, -1)), pre_logits=True
    )
    torch.testing.assert_close(encoder(grey).pooled, expected, rtol=1e-4, atol=1e-4)
    wrong = CNN.model_copy(
        update={"weights": str(tmp_path / "w.safetensors"), "options": {"channels": (4, 8, 8, 16)}}
    )
    with pytest.raises(PlaceError, match="PL-R109"):
        ImageEncoder(wrong)


@pytest.mark.parametrize("image", [CNN, VIT], ids=["cnn", "vit"])
def test_built_without_weights_it_computes_with_those_it_is_given(image: ImageSettings) -> None:
    from place_cxr.training.checkpoint import load_weights

    trained = model(image).eval()
    with init_on_meta_device():
        empty = model(image)
        assert torch.zeros(3).fill_(2).sum() == 6  # tensors that have memory are filled as ever
    assert all(p.is_meta for p in empty.parameters()) and not any(
        b.is_meta for b in empty.buffers()
    )
    if empty.teacher is not None:
        assert not any(p.requires_grad for p in empty.teacher.parameters())
    load_weights(
        empty,
        {name: value.contiguous() for name, value in trained.state_dict().items()},
        assign=True,
    )
    empty.image_encoder.use_fast_layout()
    assert not any(x.is_meta for x in (*empty.parameters(), *empty.buffers()))
    one, two = trained(views(), tokens()), empty.eval()(views(), tokens())
    assert torch.equal(one.image, two.image) and torch.equal(one.visual.vectors, two.visual.vectors)
    assert torch.equal(one.text, two.text)


# ---- what a stranger's configuration may say -----------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"checkpoint_path": "evil.pth"},
        {"pretrained_cfg": {"file": "evil.pth"}},
        {"pretrained_cfg_overlay": {"hf_hub_id": "someone/evil"}},
        {"cache_dir": "/somewhere"},
        {"block_fn": "builtins.eval"},
        {"norm_layer": "evil"},
        {"depth": 10**9},
        {"channels": [[8]]},
        {"channels": ["8"]},
        {"global_pool": "evil"},
        {"embed_dim": float("nan")},
    ],
)
def test_options_of_an_image_encoder_are_shapes(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ImageSettings(name="resnet18", options=options)


@pytest.mark.parametrize("name", ["hf-hub:someone/evil", "local-dir:/evil", "resnet18.a/b", ""])
def test_an_image_encoder_is_never_a_path_or_a_hub_name(name: str) -> None:
    with pytest.raises(PlaceError) as caught:
        ImageEncoder(ImageSettings(name=name))
    assert caught.value.code == "PL-C002"


@pytest.mark.parametrize(
    "bert",
    [
        {"_attn_implementation": "kernels-community/evil"},
        {"attn_implementation": "kernels-community/evil"},
        {"auto_map": {"AutoModel": "evil.py"}},
        {"hidden_act": "evil"},
        {"hidden_size": 10**12},
        {"num_hidden_layers": True},
        {"vocab_size": "5"},
    ],
)
def test_a_bert_of_a_checkpoint_is_a_shape(bert: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TextSettings(bert=bert)


def test_options_that_a_network_lacks_are_one_coded_line() -> None:
    settings = ImageSettings(name="resnet18", size=64, options={"embed_dim": 8})
    with pytest.raises(PlaceError) as caught:
        ImageEncoder(settings)
    assert caught.value.code == "PL-C003"


@pytest.mark.parametrize("content", [b"\x80\x04evil", b"PK\x03\x04", b"", b"\xff" * 64])
def test_pickled_image_weights_are_one_coded_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "resnet.pth"
    path.write_bytes(content)
    with pytest.raises(PlaceError) as caught:
        ImageEncoder(ImageSettings(name="resnet18", size=64, weights=str(path)))
    assert caught.value.code == "PL-R106"


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_pretrained_weights_without_network_are_one_coded_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # imported before us
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    with pytest.raises(PlaceError) as caught:
        ImageEncoder(ImageSettings(name=name, size=64, pretrained=True))
    assert caught.value.code == "PL-E013"


def test_of_a_berts_folder_only_shape_and_tensors_are_read(tmp_path: Path) -> None:
    shape = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    body = BertModel(BertConfig(**shape, intermediate_size=16), add_pooling_layer=False)
    body.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    foreign = {"_attn_implementation": "someone/evil", "auto_map": {"AutoModel": "evil.Evil"}}
    (tmp_path / "config.json").write_text(json.dumps(config | foreign))
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/evil"}')

    settings = complete_text_settings(TextSettings(weights=str(tmp_path), layers=1), 30)
    loaded = TextEncoder(settings).body
    assert settings.bert["num_hidden_layers"] == 1
    assert loaded.config._attn_implementation == "sdpa"
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, body.state_dict()[name])


@pytest.mark.parametrize("name", LOSSES)
def test_what_no_loss_reads_is_frozen_and_the_rest_gets_a_gradient(name: str) -> None:
    """A parameter that waits for a gradient which never comes would stop training on many GPUs."""
    settings = model().settings.model_copy(update={"tokens": TokenSettings(), "prototypes": 7})
    net = PlaceModel(settings).train()
    net.freeze_unread(LOSSES[name].reads)
    image = torch.rand(3, 1, 64, 64)
    total, _ = total_loss(net(Views(image, image), tokens()), {name: LossTerm()})
    total.backward()

    learning = {key for key, p in net.named_parameters() if p.requires_grad}
    reached = {key for key, p in net.named_parameters() if p.grad is not None}
    assert learning and learning == reached
