"""Contrast of words with places: GLoRIA's local loss, MGCA's cross-attention (CTA), and how pieces
become words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from place_cxr.core.tensors import TokenOutputs
from place_cxr.losses.token import (
    clip_to_percentiles,
    gloria_local,
    mgca_token,
    patches_to_words,
    word_attention,
    word_similarity,
    words_to_patches,
)
from place_cxr.models.tokens import whole_words, whole_words_mask
from tests.losses.outputs import outputs
from tests.oracles.oracle import Oracle

Read = Callable[[str], Oracle]


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("name", ["sum", "mean", "other_temperatures"])
def test_gloria_local(read: Read, name: str, chunk: int) -> None:
    oracle = read(f"gloria_local_loss_{name}")
    given = {name: oracle.input(name) for name in ("image_local", "word_local")}
    patches, words = (
        given["image_local"].flatten(2).transpose(1, 2),
        given["word_local"].transpose(1, 2),
    )
    count = oracle.raw("cap_lens")
    place, word, scale = (oracle.number(f"temp{i}") for i in (1, 2, 3))
    average = not oracle.number("agg_is_sum")
    mask = torch.arange(words.shape[1]) < count[:, None]

    oracle.check(
        "similarities", scale * word_similarity(patches, words, mask, place, word, average)
    )
    maps = (
        word_attention(patches, words, mask, place).diagonal(dim1=0, dim2=1).permute(2, 0, 1)
    )  # its own image
    oracle.check("attention_maps_concat", maps[mask])

    # The model's sequence has [SEP] behind the words, which GLoRIA does not look at.
    longer, more = (
        F.pad(words, (0, 0, 0, 1), value=3.0),
        torch.arange(words.shape[1] + 1) < count[:, None] + 1,
    )
    out = outputs(
        b=len(words), tokens=TokenOutputs(patches, longer, more, torch.zeros(more.shape), None)
    )
    loss = gloria_local(
        out, place_scale=place, word_scale=word, scale=scale, average=average, chunk=chunk
    )
    oracle.check("loss", loss)
    oracle.check_gradients(loss, given)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_mgca_cross_attention(read: Read, kind: str) -> None:
    oracle = read(f"mgca_cta_{kind}")
    given = {name: oracle.input(name) for name in ("patch_projected", "word_projected")}
    temperature = oracle.number("local_temperature")
    attention, mask = oracle.input("word_attention").detach(), ~oracle.raw("word_is_pad")
    looked = oracle.input("image_cls_attention").detach().mean(1) if kind == "vit" else None
    word_weight, patch_weight = (
        clip_to_percentiles(attention),
        None if looked is None else clip_to_percentiles(looked),
    )
    oracle.check("word_weights", word_weight)
    if patch_weight is not None:
        oracle.check("patch_weights", patch_weight)

    patch, word = (F.normalize(tokens, dim=-1) for tokens in given.values())
    one = words_to_patches(patch, word, word_weight, temperature)
    other = patches_to_words(patch, word, mask, patch_weight, temperature)
    for name, loss in (("word_to_patch", one), ("patch_to_word", other), ("both", one + other)):
        oracle.check(f"loss_{name}", loss)
        leaves = {"patch": patch, "word": word, **given}
        oracle.check_gradients(loss, {f"{leaf}_{name}": tensor for leaf, tensor in leaves.items()})

    # The model's sequence has [CLS] before the words, which MGCA does not look at.
    words, front = (
        F.pad(given["word_projected"], (0, 0, 1, 0), value=3.0),
        F.pad(mask, (1, 0), value=True),
    )
    tokens = TokenOutputs(
        given["patch_projected"], words, front, F.pad(attention, (1, 0), value=0.2), looked
    )
    loss = mgca_token(outputs(b=len(words), tokens=tokens), temperature=temperature)
    oracle.check("loss_both", loss)
    oracle.check_gradients(loss, {f"{name}_both": tensor for name, tensor in given.items()})


def _continues(oracle: Oracle) -> torch.Tensor:
    pieces = oracle.arrays["vocabulary"][oracle.arrays["token_ids"]]
    return torch.tensor(np.char.startswith(pieces, "##"))


def test_gloria_words_of_pieces(read: Read) -> None:
    oracle = read("gloria_word_aggregation")
    continues, states = _continues(oracle), oracle.input("token_features")
    mask = whole_words_mask(oracle.raw("token_ids") != 0, continues)
    words = [
        whole_words(states[:, layer], continues) * mask[..., None]
        for layer in range(states.shape[1])
    ]
    oracle.check("word_features", torch.stack(words, 1))
    assert torch.equal(mask, torch.tensor(oracle.arrays["words"] != "[PAD]"))
    assert torch.equal(mask.sum(1) - 1, oracle.raw("cap_lens"))  # all but [SEP]


def test_mgca_words_of_pieces(read: Read) -> None:
    oracle = read("mgca_word_aggregation")
    continues, states = _continues(oracle), oracle.input("token_features")
    real = oracle.raw("token_ids") != 0
    mask = whole_words_mask(real, continues)
    theirs = torch.tensor(oracle.arrays["words"] != "[PAD]")
    # Theirs loses the last word and [SEP] of a report that fills all places; ours does not.
    full = real.all(1)
    assert torch.equal(mask[~full], theirs[~full]) and torch.equal(
        mask[full].sum(1), theirs[full].sum(1) + 2
    )
    oracle.check("word_features", whole_words(states, continues) * theirs[..., None])
    # Theirs pairs a token with the attention to the next one; ours with its own. Given theirs, the
    # sums agree.
    attention = F.pad(oracle.input("cls_attention"), (0, 1)) * real
    oracle.check(
        "word_attention", whole_words(attention[..., None], continues).squeeze(-1) * theirs
    )
