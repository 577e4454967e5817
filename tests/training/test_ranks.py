"""Two processes: the same weights as one with the joint batch, and decisions that both take
together.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from place_cxr.training import checkpoint

TOY = Path(__file__).with_name("toy.py")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of the runs of toy.ranks, and what each rank returned."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    programs = [
        subprocess.Popen(
            [sys.executable, str(TOY), "ranks", str(folder)],
            env={**os.environ, **launcher, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    errors = [program.communicate(timeout=50)[1] for program in programs]
    assert [program.returncode for program in programs] == [0, 0], "\n".join(errors)
    return folder, [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.fault("R2")
def test_two_ranks_equal_one(
    tmp_path: Path, toy: ModuleType, two: tuple[Path, list[dict[str, Any]]]
) -> None:
    folder, results = two
    one = toy.contrast_run(tmp_path / "one")
    assert results[0]["equal"]["digest"] == results[1]["equal"]["digest"]
    weight = torch.tensor(one["weight"])
    assert torch.allclose(torch.tensor(results[0]["equal"]["weight"]), weight, atol=1e-5)
    assert not torch.allclose(
        toy.contrast_model()[2].weight, weight, atol=1e-3
    )  # there was something to agree on
    for joint, alone in zip(log(folder / "equal"), log(tmp_path / "one"), strict=True):
        for key in ("step", "lr", "loss", "error", "grad_norm"):
            assert joint[key] == pytest.approx(alone[key], rel=1e-5), key
    found = checkpoint.load(folder / "equal")
    assert (found.step, found.origin["world_size"]) == (6, 2)


@pytest.mark.fault("R3", "D6")
def test_a_bad_step_of_one_rank_is_left_out_by_both(two: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, results = two
    assert results[0]["poison"] == results[1]["poison"]
    assert results[0]["poison"]["bad_steps"] == 1
    dump = json.loads((folder / "poison" / "bad_steps.jsonl").read_text())
    assert (dump["step"], dump["rows"]) == (2, list(range(16, 24)))  # of both ranks
    assert checkpoint.load(folder / "poison").step == 6


@pytest.mark.fault("D6")
def test_ranks_with_different_settings_do_not_start(two: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, results = two
    assert [result["differ"]["end"] for result in results] == ["PL-R111", "PL-R111"]
    assert not (folder / "differ" / "checkpoints").exists()


@pytest.mark.fault("R8", "D6")
@pytest.mark.parametrize("name", ["often", "seldom"])
def test_a_signal_to_one_rank_stops_both_at_one_step(
    two: tuple[Path, list[dict[str, Any]]], name: str
) -> None:
    folder, results = two
    assert [result[name]["end"] for result in results] == [143, 143]
    assert results[0][name]["digest"] == results[1][name]["digest"]
    step = checkpoint.load(folder / name).step
    assert step in (8, 9)  # at once, or one step late where the numbers come one step late
    assert (folder / name / "STATUS").read_text() == f"interrupted step {step}\n"
