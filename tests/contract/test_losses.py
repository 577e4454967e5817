"""Every entry of LOSSES: a finite scalar that teaches, and does not care how the batch is laid
out.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from place_cxr.core.tensors import Observations, PlaceOutputs, TokenOutputs
from place_cxr.losses import LOSSES, LossTerm, total_loss
from tests.losses.outputs import normal, outputs, unit

QUIRKS = {
    "mgca_token"
}  # padded words are negatives in MGCA's code; tests/losses/test_token.py holds it to that


def _tensors(record: Any) -> list[Tensor]:
    if isinstance(record, Tensor):
        return [record]
    return (
        [t for f in fields(record) for t in _tensors(getattr(record, f.name))]
        if is_dataclass(record)
        else []
    )


def _ordered(record: Any, order: Tensor) -> Any:
    """The record with the batch's rows in another order; scalars and prototypes stay."""
    if isinstance(record, Tensor):
        return record[order] if record.ndim and len(record) == len(order) else record
    if not is_dataclass(record):
        return record
    return type(record)(
        **{f.name: _ordered(getattr(record, f.name), order) for f in fields(record)}
    )  # type: ignore[arg-type]


def _padded(out: PlaceOutputs) -> PlaceOutputs:
    """The same reports with two more empty slots for sentences and words: noise that must not be
    looked at.
    """
    rows = len(out.image)
    noise = unit(rows, 2, out.textual.vectors.shape[-1], seed=99).detach()
    absent = torch.zeros(rows, 2, dtype=torch.bool)
    textual = Observations(
        torch.cat([out.textual.vectors, noise], 1), torch.cat([out.textual.mask, absent], 1)
    )
    key = torch.cat([out.sentence_key, absent.long()], 1)
    tokens = out.tokens
    assert tokens is not None
    longer = TokenOutputs(
        tokens.patches,
        torch.cat([tokens.words, normal(rows, 2, tokens.words.shape[-1], seed=98).detach()], 1),
        torch.cat([tokens.mask, absent], 1),
        torch.cat([tokens.word_attention, absent.to(tokens.word_attention.dtype)], 1),
        tokens.patch_attention,
    )
    changed = {"textual": textual, "sentence_key": key, "tokens": longer}
    return PlaceOutputs(**{f.name: getattr(out, f.name) for f in fields(out)} | changed)


@pytest.mark.parametrize("name", LOSSES)
def test_finite_scalar_with_gradient(name: str) -> None:
    out = outputs()
    loss = LOSSES[name].function(out)
    assert loss.shape == ()
    assert torch.isfinite(loss)
    leaves = [tensor for tensor in _tensors(out) if tensor.requires_grad]
    grads = [g for g in torch.autograd.grad(loss, leaves, allow_unused=True) if g is not None]
    assert all(torch.isfinite(g).all() for g in grads)
    assert sum(float(g.abs().sum()) for g in grads) > 0


@pytest.mark.parametrize("name", LOSSES)
def test_it_teaches_through_the_fields_that_are_listed(name: str) -> None:
    out = outputs()
    leaves = {
        f.name: [t for t in _tensors(getattr(out, f.name)) if t.requires_grad] for f in fields(out)
    }
    found = [name for name, some in leaves.items() for _ in some]
    grads = torch.autograd.grad(
        LOSSES[name].function(out), [t for some in leaves.values() for t in some], allow_unused=True
    )
    read = {
        field for field, g in zip(found, grads, strict=True) if g is not None and g.abs().sum() > 0
    }
    assert read == LOSSES[name].reads


@pytest.mark.parametrize("name", LOSSES)
def test_order_of_the_batch_does_not_matter(name: str) -> None:
    out = outputs(b=6)
    shuffled = _ordered(out, torch.tensor([3, 0, 5, 1, 4, 2]))
    torch.testing.assert_close(LOSSES[name].function(shuffled), LOSSES[name].function(out))


@pytest.mark.fault("R6")
@pytest.mark.parametrize("name", [name for name in LOSSES if name not in QUIRKS])
def test_padding_does_not_matter(name: str) -> None:
    out = outputs()
    torch.testing.assert_close(LOSSES[name].function(_padded(out)), LOSSES[name].function(out))


@pytest.mark.fault("R6")
@pytest.mark.parametrize("name", LOSSES)
def test_batch_without_any_sentence_is_finite(name: str) -> None:
    out = outputs()
    empty = Observations(out.textual.vectors, torch.zeros_like(out.textual.mask))
    loss = LOSSES[name].function(
        outputs(textual=empty, sentence_key=torch.zeros_like(out.sentence_key))
    )
    assert torch.isfinite(loss)


@pytest.mark.parametrize("name", LOSSES)
def test_total_is_weight_times_part(name: str) -> None:
    out = outputs()
    total, parts = total_loss(out, {name: LossTerm(weight=0.5)})
    torch.testing.assert_close(total, 0.5 * parts[name])
    torch.testing.assert_close(parts[name], LOSSES[name].function(out))
