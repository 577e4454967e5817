"""Patches and words for the token-wise peers: shapes on both kinds of backbone, attention against
the modules' own.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from place_cxr.core.tensors import Tokens, Views
from place_cxr.losses import LOSSES, LossTerm, total_loss
from place_cxr.models.image import ImageEncoder, ImageSettings
from place_cxr.models.observations import ObservationSettings
from place_cxr.models.place import ModelSettings, PlaceModel
from place_cxr.models.text import TextEncoder, TextSettings
from place_cxr.models.tokens import TokenSettings, whole_words, whole_words_mask
from tests.models.test_place import CNN, TEXT, VIT, tokens, views


def _model(image: ImageSettings, hidden: int, **changes: object) -> PlaceModel:
    torch.manual_seed(0)
    settings = ModelSettings(
        image=image,
        text=TEXT,
        shared=16,
        hidden=32,
        observations=ObservationSettings(queries=5, width=32, heads=2),
        correlation=None,
        tokens=TokenSettings(hidden=hidden),
        prototypes=7,
    )
    return PlaceModel(settings.model_copy(update=changes))


@pytest.mark.parametrize("image", [CNN, VIT], ids=["cnn", "vit"])
@pytest.mark.parametrize("hidden", [0, 24])
def test_shapes_losses_and_gradients(image: ImageSettings, hidden: int) -> None:
    net, batch = _model(image, hidden), tokens()
    out = net(views(), batch)
    found = out.tokens
    assert found is not None and out.prototypes is not None
    places = 64 if image is CNN else 16
    assert found.patches.shape == (3, places, 16) and found.words.shape == (
        3,
        batch.ids.shape[1],
        16,
    )
    assert (found.patch_attention is None) == (image is CNN)
    assert not found.word_attention.requires_grad
    assert found.word_attention[~batch.mask].abs().max() == 0
    torch.testing.assert_close(found.word_attention.sum(-1), torch.ones(3))
    torch.testing.assert_close(out.prototypes.norm(dim=-1), torch.ones(7))
    peers = [name for name in LOSSES if name.startswith(("convirt", "gloria", "mgca"))]
    total, _ = total_loss(out, {name: LossTerm() for name in peers})
    total.backward()
    silent = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is None}
    assert silent == {"log_scale", "observer", "sentences"}


def test_asking_for_attention_changes_nothing_else() -> None:
    torch.manual_seed(0)
    for encoder, given in ((ImageEncoder(VIT), views().image), (TextEncoder(TEXT), tokens())):
        plain, attending = encoder.eval()(given), encoder(given, attend=True)
        assert torch.equal(plain.pooled, attending.pooled) and torch.equal(
            plain.local, attending.local
        )
        assert plain.attention is None and attending.attention is not None


def test_attention_of_the_class_token_is_the_blocks_own() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(VIT).eval()
    last, weights = encoder.body.blocks[-1].attn, []
    last.fused_attn = False  # then the weights pass through the module's own dropout
    last.attn_drop.register_forward_hook(lambda *call: weights.append(call[-1]))
    found = encoder(views().image, attend=True).attention
    assert found is not None and found.shape == (3, 16)
    torch.testing.assert_close(found, weights[0].mean(1)[:, 0, 1:])
    assert not last.qkv._forward_hooks


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_attention_to_words_is_that_of_the_padded_run(pool: str) -> None:
    torch.manual_seed(0)
    settings = TextSettings(**{**TEXT.model_dump(), "pool": pool})
    encoder, batch = TextEncoder(settings).eval(), tokens()
    encoder.body.set_attn_implementation("eager")
    run = encoder.body(
        input_ids=batch.ids, attention_mask=batch.mask.long(), output_attentions=True
    )
    last = run.attentions[-1].mean(1)
    count = batch.mask.sum(1, keepdim=True)
    expected = last[:, 0] if pool == "first" else (last * batch.mask[..., None]).sum(1) / count
    found = encoder(batch, attend=True).attention
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_model_without_them_is_as_before() -> None:
    plain = _model(CNN, 0, tokens=None, prototypes=None)
    full = _model(CNN, 0)
    weights = full.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())
    out = plain(views(), tokens())
    assert out.tokens is None and out.prototypes is None


def test_padding_of_reports_does_not_reach_words() -> None:
    net, batch = _model(CNN, 0).eval(), tokens()
    other = dataclasses.replace(batch, ids=torch.where(batch.mask, batch.ids, 7))
    one, two = (net(Views(views().image, views().clean), given).tokens for given in (batch, other))
    assert isinstance(batch, Tokens) and one is not None and two is not None
    assert torch.equal(one.words, two.words) and torch.equal(one.word_attention, two.word_attention)


def test_pieces_of_a_word_are_one_word() -> None:
    values = torch.arange(12.0).view(1, 6, 2)
    continues = torch.tensor([[False, False, True, True, False, False]])
    mask = torch.tensor([[True, True, True, True, True, False]])
    values[0, 5] = 0  # as the text encoder leaves padding
    found = whole_words(values, continues)
    assert found[0].tolist() == [[0, 1], [2 + 4 + 6, 3 + 5 + 7], [8, 9], [0, 0], [0, 0], [0, 0]]
    assert whole_words_mask(mask, continues)[0].tolist() == [True, True, True, False, False, False]


def test_the_model_compares_words_not_pieces() -> None:
    net, batch = _model(CNN, 0).eval(), tokens()
    continues = torch.zeros_like(batch.mask)
    continues[:, 3] = True
    pieces, words = (
        net(views(), dataclasses.replace(batch, continues=c)).tokens for c in (None, continues)
    )
    assert pieces is not None and words is not None
    assert torch.equal(words.mask.sum(1), pieces.mask.sum(1) - 1)
    torch.testing.assert_close(words.words[:, :2], pieces.words[:, :2])
    torch.testing.assert_close(
        words.words[:, 3][pieces.mask[:, 4]], pieces.words[:, 4][pieces.mask[:, 4]]
    )
    joined = pieces.word_attention[:, 2] + pieces.word_attention[:, 3]
    torch.testing.assert_close(words.word_attention[:, 2], joined)
    torch.testing.assert_close(words.word_attention.sum(1), torch.ones(3))
