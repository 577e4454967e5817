"""Report decoder: cached equals uncached, beams equal a slow search, padding and order of a batch
change nothing.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from place_cxr.core.errors import PlaceError
from place_cxr.models.decoder import DecoderSettings, GeneratedReports, ReportDecoder

START, STOP, PAD, VOCAB = 1, 2, 0, 12
ENDS = {"start": START, "pad": PAD}
SMALL = DecoderSettings(width=16, heads=2, layers=2, max_tokens=9)


def decoder(
    seed: int = 0, settings: DecoderSettings = SMALL, grid: tuple[int, int] | None = (2, 3)
) -> ReportDecoder:
    """Random weights, spread out so that choices are far from ties, and leaning to stop so that
    lengths differ.
    """
    torch.manual_seed(seed)
    net = ReportDecoder(settings, (6, 5), VOCAB, grid)
    with torch.no_grad():
        net.word.weight.mul_(3)
        net.norm.bias.copy_(0.6 * torch.nn.functional.normalize(net.word.weight[STOP], dim=0))
    return net.eval()


def memory(batch: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 6, 6, generator=generator), torch.randn(
        batch, 4, 5, generator=generator
    )


def generate(
    net: ReportDecoder, seen: tuple[Tensor, ...], mask: Tensor | None = None, **options: object
) -> GeneratedReports:
    return net.generate(seen, mask, start=START, stop=STOP, pad=PAD, **options)


def log_probabilities(net: ReportDecoder, seen: tuple[Tensor, ...], words: list[int]) -> Tensor:
    """Of the next word of one report, by a whole run without any cache."""
    logits = net(seen, torch.tensor([[START, *words]]))[0, -1]
    logits[[START, PAD]] = -torch.inf
    return logits.log_softmax(-1)


def slow_search(
    net: ReportDecoder, seen: tuple[Tensor, ...], beams: int, limit: int, penalty: float
) -> tuple[list[int], float]:
    """Beam search of one report with lists and loops."""
    pool = [([], 0.0)]
    for _ in range(limit):
        longer = []
        for words, total in pool:
            if words[-1:] == [STOP]:
                longer.append((words, total))
                continue
            gain = log_probabilities(net, seen, words)
            longer += [
                ([*words, token], total + gain[token].item())
                for token in range(VOCAB)
                if gain[token].isfinite()
            ]
        pool = sorted(longer, key=lambda one: -one[1] / len(one[0]) ** penalty)[:beams]
    words, total = pool[0]
    return words, total / len(words) ** penalty


@torch.no_grad()
@pytest.mark.parametrize(("beams", "penalty"), [(1, 1.0), (3, 1.0), (3, 0.0), (4, 2.0)])
def test_search_equals_a_slow_one_report_by_report(beams: int, penalty: float) -> None:
    stopped = 0
    for seed in range(3):
        net, seen = decoder(seed), memory(seed=seed)
        found = generate(net, seen, beams=beams, max_tokens=7, length_penalty=penalty)
        for row in range(3):
            words, score = slow_search(
                net, tuple(part[row : row + 1] for part in seen), beams, 7, penalty
            )
            assert [token for token in found.ids[row].tolist() if token != PAD] == words
            assert found.scores[row].item() == pytest.approx(score, abs=1e-4)
            stopped += words[-1] == STOP
    assert 0 < stopped < 9  # the comparison saw reports that end and reports that do not


@torch.no_grad()
def test_one_beam_takes_the_likeliest_word_each_time() -> None:
    net, seen = decoder(3), memory()
    found = generate(net, seen, beams=1)
    for row in range(3):
        one, words = tuple(part[row : row + 1] for part in seen), []
        while len(words) < SMALL.max_tokens and words[-1:] != [STOP]:
            words.append(int(log_probabilities(net, one, words).argmax()))
        assert [token for token in found.ids[row].tolist() if token != PAD] == words


@torch.no_grad()
def test_cached_steps_equal_one_whole_run() -> None:
    net, seen = decoder(), memory()
    ids = torch.randint(3, VOCAB, (3, 8), generator=torch.Generator().manual_seed(2))
    reads, past, steps = net._memory_key_values(seen), None, []
    for place in range(8):
        states, past, _ = net._run(net._embed(ids[:, place : place + 1], place), reads, None, past)
        steps.append(net._logits(states))
    torch.testing.assert_close(torch.cat(steps, 1), net(seen, ids))


def test_the_loss_is_that_of_all_logits_without_padding() -> None:
    net, seen = decoder(), memory()
    ids = torch.tensor(
        [[START, 5, 6, 7, STOP], [START, 8, STOP, PAD, PAD], [START, 4, 5, STOP, PAD]]
    )
    slow = torch.nn.functional.cross_entropy(
        net(seen, ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD
    )
    torch.testing.assert_close(net.loss(seen, ids, ids != PAD), slow)


@torch.no_grad()
def test_padded_memory_equals_unpadded() -> None:
    net, (patches, observations) = decoder(grid=None), memory(1)
    ids = torch.tensor([[START, 5, 6, 7]])
    wide = (
        torch.cat([patches, torch.full((1, 3, 6), 50.0)], 1),
        torch.cat([observations, torch.ones(1, 2, 5)], 1),
    )
    mask = torch.tensor([[True] * 6 + [False] * 3 + [True] * 4 + [False] * 2])
    torch.testing.assert_close(net(wide, ids, mask), net((patches, observations), ids))
    bare, padded = generate(net, (patches, observations)), generate(net, wide, mask)
    assert torch.equal(bare.ids, padded.ids)
    looked = net.attention(wide, bare.ids, mask, **ENDS)
    torch.testing.assert_close(
        looked[:, :, mask[0]], net.attention((patches, observations), bare.ids, **ENDS)
    )
    assert not looked[:, :, ~mask[0]].any()


@torch.no_grad()
def test_a_report_does_not_depend_on_its_neighbours() -> None:
    net, seen = decoder(), memory(4)
    order = torch.tensor([2, 0, 3, 1])
    whole, moved = generate(net, seen), generate(net, tuple(part[order] for part in seen))
    alone = [generate(net, tuple(part[row : row + 1] for part in seen)) for row in range(4)]
    length = min(whole.ids.shape[1], moved.ids.shape[1])
    assert torch.equal(whole.ids[order][:, :length], moved.ids[:, :length])
    for row, one in enumerate(alone):
        words = one.ids[0]
        assert (
            torch.equal(whole.ids[row][: len(words)], words)
            and not whole.ids[row][len(words) :].any()
        )
        torch.testing.assert_close(whole.scores[row], one.scores[0])


@torch.no_grad()
def test_no_word_sees_what_follows_it() -> None:
    net, seen = decoder(), memory()
    ids = torch.randint(3, VOCAB, (3, 8), generator=torch.Generator().manual_seed(2))
    other = ids.clone()
    other[:, 5:] = PAD
    torch.testing.assert_close(net(seen, ids)[:, :5], net(seen, other)[:, :5])


@torch.no_grad()
def test_what_is_generated() -> None:
    net, seen = decoder(), memory()
    found = generate(net, seen, beams=3)
    assert (
        found.ids.shape[0] == 3
        and found.ids.shape[1] <= SMALL.max_tokens
        and found.scores.shape == (3,)
    )
    looked, written = net.attention(seen, found.ids, **ENDS), found.ids != PAD
    assert looked.shape == (*found.ids.shape, 10)
    torch.testing.assert_close(looked.sum(-1), written.float())
    assert START not in found.ids
    for row in found.ids.tolist():
        words = [token for token in row if token != PAD]
        assert PAD not in row[: len(words)] and STOP not in words[:-1]
    # The score is what a whole run gives for these words.
    for row in range(3):
        words = found.ids[row][written[row]].tolist()
        one = tuple(part[row : row + 1] for part in seen)
        gains = [
            log_probabilities(net, one, words[:place])[word].item()
            for place, word in enumerate(words)
        ]
        assert found.scores[row].item() == pytest.approx(sum(gains) / len(words), abs=1e-4)


@torch.no_grad()
def test_more_beams_are_not_worse_on_the_whole_and_penalty_moves_length() -> None:
    nets = [decoder(seed) for seed in range(4)]
    scores = [
        torch.cat([generate(net, memory(6), beams=k).scores for net in nets]).mean() for k in (1, 4)
    ]
    assert scores[1] >= scores[0] - 1e-6
    lengths = [
        sum(
            int((generate(net, memory(6), beams=4, length_penalty=p).ids != PAD).sum())
            for net in nets
        )
        for p in (0.0, 3.0)
    ]
    assert lengths[0] < lengths[1]


def test_generation_leaves_the_mode_and_uses_no_dropout() -> None:
    net = decoder().train()
    first, second = generate(net, memory()), generate(net, memory())
    assert net.training and torch.equal(first.ids, second.ids)
    looked = [net.attention(memory(), first.ids, **ENDS) for _ in range(2)]
    assert net.training and torch.equal(*looked) and not looked[0].requires_grad


def test_it_learns_a_report_by_heart_from_its_memory() -> None:
    """Two images, two reports: the words follow the picture, in training mode, with gradients in
    every part.
    """
    net, seen = decoder(settings=SMALL.model_copy(update={"dropout": 0.0})).train(), memory(2)
    reports = torch.tensor([[START, 5, 6, 7, STOP], [START, 8, 6, STOP, PAD]])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(
            net(seen, reports[:, :-1]).flatten(0, 1), reports[:, 1:].flatten(), ignore_index=PAD
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert generate(net, seen, beams=2).ids[:, :4].tolist() == [[5, 6, 7, STOP], [8, 6, STOP, PAD]]
    assert all(parameter.grad is not None for parameter in net.parameters())


@torch.no_grad()
def test_kinds_and_places_of_the_memory_matter() -> None:
    net, (patches, observations) = decoder(), memory(1)
    ids = torch.tensor([[START, 5]])
    turned = net((patches.flip(1), observations), ids)
    assert not torch.allclose(
        turned, net((patches, observations), ids)
    )  # places are added to the first kind
    shuffled = net((patches, observations.flip(1)), ids)
    torch.testing.assert_close(shuffled, net((patches, observations), ids))  # and not to the second
    only = ReportDecoder(SMALL, (5,), VOCAB)
    assert only((observations,), ids).shape == (1, 2, VOCAB)


@pytest.mark.parametrize("tokens", [0, 10])
def test_too_many_tokens_are_refused(tokens: int) -> None:
    net, seen = decoder(), memory()
    with pytest.raises(PlaceError, match="PL-C003"):
        generate(net, seen, max_tokens=tokens)
    with pytest.raises(PlaceError, match="PL-C003"):
        net(seen, torch.full((3, 11), 5))
