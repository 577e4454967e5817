"""Batches: a permutation per epoch, the same for any number of ranks and any resume; a thread that
ends.
"""

import dataclasses
import threading
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch

from place_cxr.core.errors import PlaceError
from place_cxr.core.random import counter_uniform
from place_cxr.core.tensors import Batch
from place_cxr.data import loader as loader_module
from place_cxr.data.loader import (
    Loader,
    PairDataset,
    collate,
    tokens_of,
)
from place_cxr.text.tokenizer import EncodedReports

N = 23


def text(count: int = N) -> EncodedReports:
    """Row i: i % 5 + 2 real tokens, all of them 100 + i."""
    ids = np.zeros((count, 8), dtype=np.uint16)
    for row in range(count):
        ids[row, : row % 5 + 2] = 100 + row
    number = np.arange(1, count + 1, dtype=np.int64)
    return EncodedReports(
        ids=ids,
        sentence=np.where(ids > 0, 0, -1).astype(np.int8),
        sentence_key=np.stack([number, np.zeros_like(number)], axis=1),
        report_key=number * 7,
        truncated=0,
        pad_id=0,
    )


def dataset(rows: np.ndarray | None = None, text_rows: np.ndarray | None = None) -> PairDataset:
    """Row i's picture is all i."""
    pixels = np.repeat(np.arange(N, dtype=np.uint8), 16).reshape(N, 4, 4)
    rows = np.arange(N) if rows is None else rows
    return PairDataset(pixels, text(), rows, rows if text_rows is None else text_rows)


def loader(size: int = 6, seed: int = 5, **options: int) -> Loader:
    return Loader(dataset(), size, seed, uniforms=3, **options)


def take(source: Loader, count: int, start: int = 0) -> list[Batch]:
    stream = source.batches(start)
    try:
        return list(islice(stream, count))
    finally:
        stream.close()


def rows_of(found: list[Batch]) -> list[list[int]]:
    return [batch.row.tolist() for batch in found]


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "place-loader"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not loader_threads()


def test_an_epoch_shows_every_row_once_less_the_rest() -> None:
    source = loader()
    assert source.steps_per_epoch == 3
    found = rows_of(take(source, 6))
    for epoch in (found[:3], found[3:]):
        flat = [row for batch in epoch for row in batch]
        assert len(set(flat)) == 18
    assert found[:3] != found[3:]


@pytest.mark.fault("R2")
@pytest.mark.parametrize("world", [2, 3])
def test_a_step_sees_the_same_rows_in_any_world(world: int) -> None:
    one = take(loader(), 7)
    ranks = [take(loader(rank=rank, world=world), 7) for rank in range(world)]
    for step in range(7):
        parts = [rank[step] for rank in ranks]
        assert all(len(part.row) == 6 // world for part in parts)
        for name in ("row", "pixels", "uniform"):
            joined = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(joined, getattr(one[step], name))


@pytest.mark.fault("R1", "R2")
@pytest.mark.parametrize("start", [1, 3, 5])
def test_starting_late_equals_skipping(start: int) -> None:
    whole, late = take(loader(), 8), take(loader(), 8 - start, start)
    for expected, got in zip(whole[start:], late, strict=True):
        assert torch.equal(expected.row, got.row) and torch.equal(expected.uniform, got.uniform)
        assert torch.equal(expected.pixels, got.pixels) and torch.equal(
            expected.tokens.ids, got.tokens.ids
        )


def test_starting_late_costs_nothing() -> None:
    def wait_for_first(step: int) -> float:
        begin = time.perf_counter()
        take(loader(), 1, step)
        return time.perf_counter() - begin

    wait_for_first(0)
    assert (
        min(wait_for_first(10**9) for _ in range(5)) < 0.1
    )  # replaying so many steps would take hours


def test_tokens_that_go_on_with_a_word_are_marked() -> None:
    going_on = np.zeros(200, bool)
    going_on[103] = True
    found = tokens_of(dataclasses.replace(text(), continues=going_on), np.array([3, 4]))
    assert found.continues is not None and torch.equal(found.continues, found.ids == 103)


def test_a_batch_holds_its_rows() -> None:
    batch = take(loader(), 1)[0]
    rows = batch.row
    assert torch.equal(batch.pixels, rows[:, None, None].expand(-1, 4, 4).to(torch.uint8))
    tokens = batch.tokens
    assert torch.equal(tokens.mask.sum(1), rows % 5 + 2)
    assert torch.equal(tokens.ids, torch.where(tokens.mask, rows[:, None] + 100, 0))
    assert tokens.ids.shape == (6, 8) and tokens.ids.dtype == tokens.sentence.dtype == torch.int64
    assert torch.equal(tokens.sentence == -1, ~tokens.mask)
    assert torch.equal(tokens.sentence_key[:, 0], rows + 1) and tokens.sentence_mask.sum() == 6
    assert torch.equal(tokens.report_key, (rows + 1) * 7)
    assert tokens.continues is None  # this text does not say which
    assert tokens.flat is not None and torch.equal(
        tokens.flat, tokens.mask.flatten().nonzero().squeeze(1)
    )
    numbers = counter_uniform(5, 0, rows.numpy(), 3)
    assert torch.equal(batch.uniform, torch.from_numpy(numbers))


def test_collate_pairs_rows_as_the_dataset_says() -> None:
    pairs = dataset(np.array([20, 4, 11]), np.array([4, 11, 20]))
    batch = collate(pairs, np.array([2, 0]))
    assert batch.row.tolist() == [11, 20] and batch.pixels[:, 0, 0].tolist() == [11, 20]
    assert batch.tokens.ids[:, 0].tolist() == [120, 104]
    assert batch.uniform.shape == (2, 0)


def test_padding_is_cut_to_the_longest_report() -> None:
    whole, cut = tokens_of(text(), np.array([5, 1])), tokens_of(text(), np.array([5, 1]), trim=True)
    assert whole.ids.shape == (2, 8) and cut.ids.shape == cut.sentence.shape == (2, 3)
    assert cut.mask.tolist() == [[True, True, False], [True, True, True]]
    assert cut.flat is not None and cut.flat.tolist() == [0, 1, 3, 4, 5]
    assert tokens_of(text(), np.array([], dtype=np.int64), trim=True).ids.shape == (0, 1)


def test_what_cannot_train_is_refused() -> None:
    with pytest.raises(PlaceError, match=r"PL-C012.*multiple of 4"):
        loader(world=4)
    with pytest.raises(
        PlaceError, match=r"PL-C011\] 23 training pairs do not fill one batch of 24"
    ):
        loader(24)
    with pytest.raises(ValueError, match=r"text_rows must lie in 0\.\.22"):
        dataset(np.arange(3), np.array([0, 1, 23]))
    with pytest.raises(ValueError, match="equally long"):
        dataset(np.arange(3), np.arange(2))


@pytest.mark.fault("R5")
@pytest.mark.parametrize("size", [1, 0, -3])
def test_a_batch_of_one_is_refused(size: int) -> None:
    with pytest.raises(PlaceError, match="PL-C010"):
        loader(size)


def test_closing_ends_the_thread_even_when_nobody_reads() -> None:
    stream = loader().batches()
    next(stream)
    time.sleep(0.05)  # the queue is full now and the thread waits in it
    assert len(loader_threads()) == 1
    stream.close()
    assert not loader_threads()


def test_an_error_while_reading_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = loader_module.collate, []

    def failing(*arguments: object) -> Batch:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(5, "Input/output error")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loader_module, "collate", failing)
    stream = loader().batches()
    next(stream), next(stream)
    with pytest.raises(OSError, match="Input/output"):
        next(stream)


@pytest.mark.fault("D2")
def test_a_hanging_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(loader_module, "STALL_SECONDS", 0.1)
    monkeypatch.setattr(loader_module, "collate", lambda *_: release.wait(10))
    stream = loader().batches(4)
    expected = sorted(next(loader().positions(4))[1].tolist())[:5]
    with pytest.raises(
        PlaceError, match=rf"PL-D403.*rows {', '.join(map(str, expected))}, \.\.\. of step 4"
    ):
        next(stream)
    release.set()
    for thread in loader_threads():
        thread.join(2)


def test_memory_maps_and_cost(tmp_path: object) -> None:
    """Well under the goal of .03 ms of CPU an image, with room for a busy machine."""
    count, side = 512, 224
    pixels = np.memmap(f"{tmp_path}/pixels", dtype=np.uint8, mode="w+", shape=(count, side, side))
    pixels[:] = np.arange(count, dtype=np.uint64)[:, None, None].astype(np.uint8)
    source = Loader(
        PairDataset(pixels, text(count), np.arange(count), np.arange(count)), 64, 0, uniforms=9
    )
    stream = source.batches()
    try:
        next(stream)
        costs = []
        for _ in range(5):
            begin = time.process_time()
            found = list(islice(stream, 10))
            costs.append((time.process_time() - begin) / 640 * 1e3)
    finally:
        stream.close()
    assert all(torch.equal(batch.pixels[:, 3, 5].long(), batch.row % 256) for batch in found)
    assert min(costs) < 0.03, f"{min(costs):.4f} ms an image"
