"""The exact part of the measurements: operators, host reads, memory, equality."""

from __future__ import annotations

import json
import re

import pytest
import torch

from perf import run
from perf.measure import Figure, count_operators, interleave, peak_mebibytes
from perf.ops import MOST_OPERATORS
from perf.parts import heads_call, settings, tokens
from perf.pcma import (
    chunked_loss_call,
    largest_difference,
    similarity_by_einsum,
    similarity_by_loop,
    similarity_call,
)
from place_cxr.losses.pathology import observation_similarity
from place_cxr.models.meta_init import init_on_meta_device
from place_cxr.models.place import PlaceModel


def test_heads_dispatch_a_fixed_number_of_operators_and_never_wait() -> None:
    call_for = heads_call(full=False)
    small, large = count_operators(call_for(4)), count_operators(call_for(12))
    assert small.computing < small.dispatched <= MOST_OPERATORS
    assert small.ops == large.ops and small.provoked == large.provoked  # no loop over the batch
    assert small.reads == large.reads == 0


def test_counting_sees_loops_and_reads() -> None:
    x = torch.arange(6.0)
    counter = count_operators(lambda: [float(v) for v in x])
    assert counter.reads == 6 and counter.ops["unbind"] + counter.ops["select"] >= 1
    assert (
        count_operators(lambda: x[x > 2]).reads == 1
        and count_operators(lambda: x.nonzero()).reads == 1
    )
    added = count_operators(lambda: (x + 1).view(2, 3))
    assert (added.computing, added.dispatched, added.reads) == (1, 2, 0)


def test_backward_is_counted_and_what_counting_provokes_is_not() -> None:
    weight = torch.ones(3, requires_grad=True)

    def call() -> None:
        weight.grad = None
        (weight.exp() * 2).sum().backward()

    counter = count_operators(call)
    assert counter.ops["mul"] == 3
    assert (
        counter.ops["detach"] == 3 and counter.provoked == 2
    )  # exp's output, saved and read; the weight's own gradient


def test_building_without_memory_draws_nothing() -> None:
    def build() -> None:
        with init_on_meta_device():
            PlaceModel(settings(depth=1, text_layers=1))

    drawn = {"normal_", "uniform_", "erfinv_", "clamp_"}
    assert not drawn & set(count_operators(build).ops)
    assert drawn & set(count_operators(lambda: PlaceModel(settings(depth=1, text_layers=1))).ops)


def test_pcma_equals_the_loop_and_the_context_form() -> None:
    for form in (similarity_by_loop, similarity_by_einsum):
        assert largest_difference(form, 8, torch.float64) < 1e-12
        assert largest_difference(form, 24, torch.float32) < 1e-6


def test_pcma_memory_stays_far_below_the_context_form_and_chunks_bound_it() -> None:
    ours, theirs = (
        peak_mebibytes(similarity_call(form, 48))
        for form in (observation_similarity, similarity_by_einsum)
    )
    assert ours <= 0.10 * theirs
    quarter, whole = (
        peak_mebibytes(chunked_loss_call(128, 32)),
        peak_mebibytes(chunked_loss_call(128, 128)),
    )
    assert quarter < 0.5 * whole


def test_peak_is_what_is_held_at_once() -> None:
    def twice_a_mebibyte() -> None:
        for _ in range(3):
            a = torch.zeros(2**18)
            b = a + 1
            del a, b

    assert peak_mebibytes(twice_a_mebibyte) == pytest.approx(2, rel=0.01)


def test_reports_have_the_mean_length_that_is_asked_for() -> None:
    batch = tokens(8)
    assert batch.mask.sum() / 8 == 89 and batch.mask.sum(1).max() == 112
    assert batch.sentence_mask.sum(1).max() == 12 and batch.sentence.max() == 11


def test_sides_take_turns_and_goals_are_judged_by_the_median() -> None:
    order: list[str] = []
    seconds = interleave(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, {"b": 2}
    )
    assert "".join(order) == "ababbabb" and len(seconds["a"]) == len(seconds["b"]) == 2
    assert (
        Figure("x", "y", [1.0, 2.0, 9.0], 2.0).holds
        and not Figure("x", "y", [1.0, 2.1, 2.2], 2.0).holds
    )
    assert (
        Figure("x", "y", [5.0], 4.0, "higher").holds
        and "NOT MET" in Figure("x", "y", [3.0], 4.0, "higher").line()
    )
    assert Figure("x", "y", [3.0]).line().startswith("measured")


def test_recorded_figures_make_a_table() -> None:
    files = sorted((run.HERE / "results").glob("*.json"))
    assert {file.stem for file in files} == set(run.NAMES)
    table = run.table([json.loads(file.read_text()) for file in files])
    assert table == table.replace("nan", "") and table.count("\n| ") > 15


def test_each_goal_that_was_set_is_measured() -> None:
    scripts = [(run.HERE / f"{name}.py").read_text() for name in run.NAMES]
    assert {number for text in scripts for number in re.findall(r'number="(\d+)"', text)} == set(
        run.GOALS
    )
