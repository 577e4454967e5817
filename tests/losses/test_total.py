"""What terms of the total loss share: computed once a batch and setting, with the same values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from place_cxr import losses
from place_cxr.losses import LOSSES, LossTerm, total_loss
from tests.losses.outputs import outputs

PAIR, IMAGE = "pathology_pair", "pathology_image"


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the similarity of sentences and images was computed."""
    calls, compute = [], losses.sentence_similarity

    def counted(*arguments: object) -> torch.Tensor:
        calls.append(arguments)
        return compute(*arguments)

    monkeypatch.setattr(losses, "sentence_similarity", counted)
    return lambda: len(calls)


def test_two_terms_with_equal_options_compute_it_once(count: Callable[[], int]) -> None:
    out = outputs()
    _, parts = total_loss(out, {PAIR: LossTerm(), IMAGE: LossTerm()})
    assert count() == 1
    for name in (PAIR, IMAGE):
        torch.testing.assert_close(parts[name], LOSSES[name].function(out))


def test_other_options_and_other_batches_compute_their_own(count: Callable[[], int]) -> None:
    soft = LossTerm(options={"selection_temperature": 0.5})
    _, parts = total_loss(outputs(), {PAIR: LossTerm(), IMAGE: soft})
    assert count() == 2
    expected = LOSSES[IMAGE].function(outputs(), selection_temperature=0.5)
    torch.testing.assert_close(parts[IMAGE], expected)

    total_loss(outputs(), {PAIR: LossTerm()})
    assert count() == 3


def test_chunks_share_nothing(count: Callable[[], int]) -> None:
    total_loss(outputs(), {PAIR: LossTerm(options={"chunk": 2})})
    assert count() == 0
