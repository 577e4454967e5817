"""The peers' token losses: closed forms, invariances, slow twins. Against published code:
tests/oracles.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from place_cxr.core.tensors import PlaceOutputs, TokenOutputs
from place_cxr.losses.token import (
    clip_to_percentiles,
    gloria_local,
    mgca_token,
    word_attention,
    word_similarity,
)
from tests.losses.outputs import normal, outputs


def _tokens(out: PlaceOutputs) -> TokenOutputs:
    assert out.tokens is not None
    return out.tokens


def _changed(out: PlaceOutputs, **changes: object) -> PlaceOutputs:
    return dataclasses.replace(out, tokens=dataclasses.replace(_tokens(out), **changes))


def _gradients(loss: Tensor, tokens: TokenOutputs) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [tokens.patches, tokens.words], retain_graph=True))


def gloria_loop(tokens: TokenOutputs) -> Tensor:
    """Image by image, report by report, word by word."""
    table = []
    for patches in tokens.patches:
        row = []
        for words, mask in zip(tokens.words, tokens.mask, strict=True):
            said = words[: int(mask.sum()) - 1]  # without [SEP]
            share = torch.softmax(said @ patches.T, 0)
            score = torch.zeros((), dtype=words.dtype)
            for word, looked in zip(said, share, strict=True):
                context = (torch.softmax(4.0 * looked, 0)[:, None] * patches).sum(0)
                score = score + torch.exp(5.0 * F.cosine_similarity(word, context, dim=0))
            row.append(10.0 * torch.log(score))
        table.append(torch.stack(row))
    logits = torch.stack(table)
    own = torch.arange(len(logits))
    return F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)


def mgca_loop(tokens: TokenOutputs) -> Tensor:
    """Pair by pair and token by token; padded words ask and are negatives, as in the original."""
    total = torch.zeros((), dtype=tokens.words.dtype)
    assert tokens.patch_attention is not None
    for i in range(len(tokens.words)):
        words, patches = (
            F.normalize(tokens.words[i, 1:], dim=-1),
            F.normalize(tokens.patches[i], dim=-1),
        )
        mask, looked = tokens.mask[i, 1:], tokens.word_attention[i, 1:]
        seen = [F.normalize(torch.softmax(patches @ w / 0.1, 0) @ patches, dim=0) for w in words]
        read = [torch.softmax(words[mask] @ p / 0.1, 0) @ words[mask] for p in patches]
        for asking, answers, weight in (
            (words, seen, _clipped_by_numpy(looked)),
            (patches, read, _clipped_by_numpy(tokens.patch_attention[i])),
        ):
            for j in range(len(asking)):
                along = torch.stack([asking[j] @ a / 0.1 for a in answers])
                across = torch.stack([x @ answers[j] / 0.1 for x in asking])
                cost = along.logsumexp(0) + across.logsumexp(0) - 2 * along[j]
                total = total + weight[j] * cost / 2
    return total / len(tokens.words)


def _clipped_by_numpy(weight: Tensor) -> np.ndarray:
    values = weight.numpy().copy()
    there = values != 0
    values[there] = np.clip(values[there], *np.percentile(values[there], [10, 90]))
    return values / values.sum()


def test_slow_twins_in_value_and_gradient() -> None:
    out = outputs()
    for loss, slow in (
        (gloria_local(out), gloria_loop(_tokens(out))),
        (mgca_token(out), mgca_loop(_tokens(out))),
    ):
        assert loss.item() == pytest.approx(slow.item(), abs=1e-10)
        for fast, twin in zip(
            _gradients(loss, _tokens(out)), _gradients(slow, _tokens(out)), strict=True
        ):
            torch.testing.assert_close(fast, twin, rtol=0, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 2, 5, 9])
def test_chunked_equals_unchunked(chunk: int) -> None:
    out = outputs()
    whole, cut = gloria_local(out), gloria_local(out, chunk=chunk)
    assert whole.item() == pytest.approx(cut.item(), abs=1e-12)
    for one, other in zip(
        _gradients(whole, _tokens(out)), _gradients(cut, _tokens(out)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_attention_is_over_places_and_hidden_words_have_no_say() -> None:
    patches, words = normal(2, 9, 8, seed=1), normal(3, 5, 8, seed=2)
    mask = torch.arange(5) < torch.tensor([[1], [3], [5]])
    found = word_attention(patches, words, mask, 4.0)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 3, 5, dtype=torch.float64))
    other = torch.where(mask[..., None], words, normal(3, 5, 8, seed=3))
    torch.testing.assert_close(word_attention(patches, other, mask, 4.0)[:, mask], found[:, mask])


def test_equal_tokens_give_logarithms_of_their_number() -> None:
    out = outputs(b=5, p=9)
    row, words = normal(1, 1, 8, seed=4), _tokens(out).words.shape[1]
    same = _changed(out, patches=row.expand(5, 9, 8), words=row.expand(5, words, 8))
    asked, read = math.log(words - 1), math.log(9)
    assert mgca_token(same).item() == pytest.approx(asked + read, abs=1e-9)
    # GLoRIA's average forgets how many words a report has; the published sum does not.
    assert gloria_local(same, average=True).item() == pytest.approx(2 * math.log(5), abs=1e-9)
    assert gloria_local(same).item() > 2 * math.log(5) + 0.1


def test_a_report_of_n_equal_words_gains_ln_n() -> None:
    patches, word = normal(2, 9, 8, seed=1), normal(1, 1, 8, seed=2)
    mask = torch.arange(6) < torch.tensor([[1], [4]])
    one, four = word_similarity(patches, word.expand(2, 6, 8), mask, 0.0, 5.0, False).unbind(1)
    torch.testing.assert_close(four - one, torch.full((2,), math.log(4), dtype=torch.float64))


def test_order_of_words_and_places_does_not_matter() -> None:
    out, places = outputs(), torch.tensor([8, 2, 0, 5, 4, 7, 3, 1, 6])
    tokens = _tokens(out)
    assert tokens.patch_attention is not None
    moved = _changed(
        out, patches=tokens.patches[:, places], patch_attention=tokens.patch_attention[:, places]
    )
    for loss in (gloria_local, mgca_token):
        assert loss(moved).item() == pytest.approx(loss(out).item(), abs=1e-12)
    everything = dataclasses.replace(tokens, mask=torch.ones_like(tokens.mask))
    full, words = (
        dataclasses.replace(out, tokens=everything),
        torch.tensor([0, 3, 1, 4, 2, 5]),
    )  # frame stays
    shuffled = _changed(
        full, words=tokens.words[:, words], word_attention=tokens.word_attention[:, words]
    )
    for loss in (gloria_local, mgca_token):
        assert loss(shuffled).item() == pytest.approx(loss(full).item(), abs=1e-12)


def test_padded_words_are_negatives_of_words_in_mgca_as_published() -> None:
    out, tokens = outputs(), _tokens(outputs())
    far = torch.where(tokens.mask[..., None], tokens.words, 5 + normal(5, 6, 8, seed=80))
    assert mgca_token(_changed(out, words=far)).item() != pytest.approx(
        mgca_token(out).item(), abs=1e-3
    )
    assert gloria_local(_changed(out, words=far)).item() == pytest.approx(
        gloria_local(out).item(), abs=1e-12
    )


def test_frame_tokens_are_left_out_as_published() -> None:
    out, tokens = outputs(), _tokens(outputs())
    last = tokens.mask.sum(1) - 1
    ends = torch.arange(6)[None] == last[:, None]
    other = normal(5, 6, 8, seed=80)
    first_changed = _changed(
        out, words=torch.where(torch.arange(6)[:, None] == 0, other, tokens.words)
    )
    last_changed = _changed(out, words=torch.where(ends[..., None], other, tokens.words))
    assert mgca_token(first_changed).item() == pytest.approx(mgca_token(out).item(), abs=1e-12)
    assert mgca_token(last_changed).item() != pytest.approx(mgca_token(out).item(), abs=1e-3)
    assert gloria_local(first_changed).item() != pytest.approx(gloria_local(out).item(), abs=1e-3)
    assert gloria_local(last_changed).item() == pytest.approx(gloria_local(out).item(), abs=1e-12)


def test_convolutional_patches_weigh_the_same_and_read_unit_vectors() -> None:
    out = outputs()
    tokens = _tokens(out)
    flat = dataclasses.replace(tokens, patch_attention=torch.full((5, 9), 0.1, dtype=torch.float64))
    cnn, vit = (
        mgca_token(dataclasses.replace(out, tokens=t))
        for t in (dataclasses.replace(tokens, patch_attention=None), flat)
    )
    assert (
        abs(cnn.item() - vit.item()) > 1e-3
    )  # equal weights, but what a patch reads has another length


def test_weights_are_clipped_to_their_own_percentiles() -> None:
    weight = torch.tensor([[0.0, 1, 2, 3, 4, 100, 0], [0, 0, 0, 7, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]])
    found = clip_to_percentiles(weight)
    low, high = np.percentile([1, 2, 3, 4, 100], [10, 90])
    expected = torch.tensor([0, low, 2, 3, 4, high, 0], dtype=torch.float32)
    torch.testing.assert_close(found[0], expected / expected.sum())
    assert found[1].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert found[2].tolist() == [0] * 7  # nothing to weigh, nothing to divide by


def test_a_model_without_tokens_is_told() -> None:
    out = outputs(tokens=None)
    for loss in (gloria_local, mgca_token):
        with pytest.raises(ValueError, match="model.tokens"):
            loss(out)
