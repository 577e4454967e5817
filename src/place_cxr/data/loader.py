"""Batches from packs, in an order and with random numbers that are functions of (seed, epoch, row).

There is no generator whose state would have to be saved. Resuming at any step costs nothing, and
neither the number of ranks nor the other rows of a batch change how a row is augmented.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from place_cxr.core.errors import PlaceError
from place_cxr.core.random import counter_uniform, epoch_order
from place_cxr.core.tensors import Batch, Tokens
from place_cxr.text.tokenizer import EncodedReports

PREFETCH_BATCHES = 4  # batches that are prepared ahead
STALL_SECONDS = 120.0  # without a batch for so long, the storage counts as dead


@dataclass(frozen=True, slots=True)
class PairDataset:
    """Which image goes with which report: pack row ``rows[i]`` with report row ``text_rows[i]``."""

    pixels: NDArray[np.uint8]  # [N, S, S], a memory map
    text: EncodedReports
    rows: NDArray[np.int64]  # [n]
    text_rows: NDArray[np.int64]  # [n]; equal to ``rows`` except in the shuffled control

    def __post_init__(self) -> None:
        if self.rows.shape != self.text_rows.shape or self.rows.ndim != 1:
            raise ValueError(
                f"rows {self.rows.shape} and text_rows {self.text_rows.shape} must be equally long "
                f"lists"
            )

        for name, rows, count in (
            ("rows", self.rows, len(self.pixels)),
            ("text_rows", self.text_rows, len(self.text.ids)),
        ):
            if len(rows) and not 0 <= rows.min() <= rows.max() < count:
                raise ValueError(f"{name} must lie in 0..{count - 1}")

    def __len__(self) -> int:
        return len(self.rows)


def collate(
    dataset: PairDataset,
    positions: Int64[np.ndarray, "b"],
    uniforms: NDArray[np.float32] | None = None,
) -> Batch:
    """The pairs at ``positions`` (0..len(dataset)-1) as a batch, in page-locked memory where there
    is a GPU.

    ``uniforms`` [b, U] are put into the batch as they are; without them it has none ([b, 0]).
    """
    rows, text_rows = dataset.rows[positions], dataset.text_rows[positions]
    pin = torch.cuda.is_available()
    pixels = torch.empty((len(rows), *dataset.pixels.shape[1:]), dtype=torch.uint8, pin_memory=pin)
    # "clip" lets numpy write straight into the tensor; rows were checked when the dataset was made.
    np.take(dataset.pixels, rows, axis=0, out=pixels.numpy(), mode="clip")
    if uniforms is None:
        uniforms = np.empty((len(rows), 0), dtype=np.float32)

    return Batch(
        row=_tensor(rows, pin),
        pixels=pixels,
        tokens=tokens_of(dataset.text, text_rows, pin=pin),
        uniform=_tensor(uniforms, pin),
    )


class Loader:
    """An endless stream of training batches, prepared by one background thread.

    ``batch_size`` counts the images of a step over all ranks; rank r gets the r-th equal slice of
    them, so that a step has the same images whatever the number of ranks. Every epoch visits each
    row once, except the last ones that do not fill a batch.

    Raises PL-C010 for a batch under 2, which has no negatives to contrast with; PL-C011 when the
    dataset does not fill one batch; PL-C012 when ranks cannot share a batch equally.
    """

    def __init__(
        self,
        dataset: PairDataset,
        batch_size: int,
        seed: int,
        *,
        uniforms: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch_size < 2:
            problem = (
                f"a batch of {batch_size} has nothing to contrast: its loss and gradient are 0"
            )
            raise PlaceError(problem, code="PL-C010", fix="set batch_size to 32 or more")

        if len(dataset) < batch_size:
            problem = f"{len(dataset)} training pairs do not fill one batch of {batch_size}"
            raise PlaceError(
                problem, code="PL-C011", fix=f"set batch_size to at most {max(2, len(dataset))}"
            )

        if batch_size % world:
            problem = f"a batch of {batch_size} cannot be shared equally by {world} processes"
            raise PlaceError(
                problem, code="PL-C012", fix=f"set batch_size to a multiple of {world}"
            )

        self.dataset, self.batch_size = dataset, batch_size
        self.seed, self.uniforms = seed, uniforms
        self.rank, self.world = rank, world

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self.dataset) // self.batch_size

    def batches(self, start_step: int = 0) -> Generator[Batch, None, None]:
        """Batches of this rank from global step ``start_step`` on, without end; closing the
        generator ends its thread.

        An error of the thread is raised here. Raises PL-D403 when no batch arrives for
        ``STALL_SECONDS`` seconds.
        """
        # A thread is enough: numpy releases the GIL while it copies.
        ready: queue.Queue[Batch | BaseException] = queue.Queue(PREFETCH_BATCHES)
        closed = threading.Event()
        current_step = [start_step]  # a list, so that the thread can count in it
        worker = threading.Thread(
            target=self._fill, args=(ready, closed, current_step), daemon=True, name="place-loader"
        )
        worker.start()

        try:
            while True:
                try:
                    item = ready.get(timeout=STALL_SECONDS)
                except queue.Empty:
                    raise self._stall_error(current_step[0]) from None

                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            closed.set()
            worker.join(timeout=1.0)

    def positions(self, start_step: int = 0) -> Iterator[tuple[int, Int64[np.ndarray, "b"]]]:
        """(epoch, dataset positions) of this rank's batches from ``start_step`` on, without end."""
        # Every rank computes the same order, and takes its own slice of each batch.
        rank_batch_size = self.batch_size // self.world
        step = start_step
        while True:
            epoch, batch_in_epoch = divmod(step, self.steps_per_epoch)
            # Sorting all rows is the expensive part: once an epoch.
            if step == start_step or batch_in_epoch == 0:
                order = epoch_order(self.seed, epoch, self.dataset.rows)

            first = batch_in_epoch * self.batch_size + self.rank * rank_batch_size
            yield epoch, order[first : first + rank_batch_size]
            step += 1

    def _fill(
        self,
        ready: queue.Queue[Batch | BaseException],
        closed: threading.Event,
        current_step: list[int],
    ) -> None:
        try:
            for epoch, positions in self.positions(current_step[0]):
                uniforms = counter_uniform(
                    self.seed, epoch, self.dataset.rows[positions], self.uniforms
                )
                batch = collate(self.dataset, positions, uniforms)
                if not _put(ready, batch, closed):
                    return
                current_step[0] += 1
        except BaseException as error:  # whatever it is, the consumer must not wait for ever
            _put(ready, error, closed)

    def _stall_error(self, step: int) -> PlaceError:
        _, positions = next(self.positions(step))
        shown = ", ".join(str(row) for row in np.sort(self.dataset.rows[positions])[:5])
        return PlaceError(
            f"no batch for {STALL_SECONDS:.0f} s while reading rows {shown}, ... of step {step}",
            code="PL-D403",
            fix="check the disk that holds the pack",
        )


def _put(
    ready: queue.Queue[Batch | BaseException], item: Batch | BaseException, closed: threading.Event
) -> bool:
    """Put an item into the queue; False once the consumer has closed it."""
    # With a short timeout, so that a closed loader ends its thread although the queue is full.
    while not closed.is_set():
        try:
            ready.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue

    return False


def tokens_of(
    text: EncodedReports, rows: NDArray[np.int64], *, trim: bool = False, pin: bool = False
) -> Tokens:
    """Rows of tokenised reports as tensors.

    ``trim`` cuts the padding that all rows share: L is then the length of the longest one.
    """
    ids = text.ids[rows].astype(np.int64)
    mask = ids != text.pad_id
    length = mask.shape[1]
    if trim:
        length = max(1, int(mask.any(0).nonzero()[0].max(initial=0)) + 1)
        ids, mask = ids[:, :length], mask[:, :length]

    return Tokens(
        ids=_tensor(ids, pin),
        mask=_tensor(mask, pin),
        sentence=_tensor(text.sentence[rows, :length].astype(np.int64), pin),
        sentence_key=_tensor(text.sentence_key[rows], pin),
        report_key=_tensor(text.report_key[rows], pin),
        flat=_tensor(np.flatnonzero(mask), pin),
        continues=None if text.continues is None else _tensor(text.continues[ids], pin),
    )


def _tensor(array: NDArray[np.generic], pin: bool) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory() if pin else tensor
