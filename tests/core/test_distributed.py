"""Two processes against one with the joint batch: the same losses, the same gradients, the same
course.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from place_cxr import pretrain
from place_cxr.core import distributed
from place_cxr.training import checkpoint
from tests.core.ranks import OVERRIDES, PEERS, first_step
from tests.small import records, small

TERMS = ("instance", "pathology_pair", "pathology_image", "pathology_sentence", "correlation")
PEER_TERMS = (
    "convirt",
    "gloria_global",
    "gloria_local",
    "mgca_instance",
    "mgca_token",
    "mgca_prototype",
)
WITHIN_PAIRS = ("correlation", "mgca_token")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    """The folder in which two processes left their losses, gradients and runs."""
    folder = tmp_path_factory.mktemp("two")
    small(phantom)  # writes the recipe, once
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
            [sys.executable, str(Path(__file__).with_name("ranks.py")), str(phantom), str(folder)],
            env={
                **os.environ,
                **launcher,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "OMP_NUM_THREADS": "1",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    errors = [program.communicate(timeout=110)[1] for program in programs]
    assert [program.returncode for program in programs] == [0, 0], "\n".join(errors)
    return folder


pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(("method", "overrides"), [("place", OVERRIDES), ("peers", PEERS)])
def test_two_processes_have_the_losses_and_gradients_of_one(
    two: Path, phantom: Path, method: str, overrides: tuple[str, ...]
) -> None:
    losses, gradients = first_step(small(phantom, *overrides))
    assert set(losses) == {"total", *(TERMS if method == "place" else PEER_TERMS)}
    said = [json.loads((two / f"{method}{rank}.json").read_text()) for rank in (0, 1)]
    for name, value in losses.items():
        # Contrast is over the joint batch, so both say the same; the others are means over each
        # one's own pairs.
        assert (said[0][name] + said[1][name]) / 2 == pytest.approx(value, rel=1e-5), name
        if name in WITHIN_PAIRS:
            assert said[0][name] != said[1][name]
        elif name != "total":
            assert said[0][name] == pytest.approx(said[1][name], rel=1e-6), name
    both = [load_file(two / f"{method}{rank}.safetensors") for rank in (0, 1)]
    assert set(both[0]) == set(both[1]) == set(gradients)
    size = max(float(value.abs().max()) for value in gradients.values())
    for name, value in gradients.items():
        assert torch.equal(both[0][name], both[1][name]), name
        torch.testing.assert_close(
            both[0][name],
            value,
            rtol=1e-4,
            atol=1e-5 * size,
            msg=lambda text, n=name: f"{n}: {text}",
        )


def test_a_run_of_two_processes_takes_the_course_of_one(
    two: Path, phantom: Path, tmp_path: Path
) -> None:
    pretrain.run_pretraining(small(phantom, *OVERRIDES), tmp_path / "run", device="cpu")
    joint, alone = records(two / "run"), records(tmp_path / "run")
    assert len(joint) == len(alone) == 3
    for ours, theirs in zip(joint, alone, strict=True):
        for name in ("step", "lr", "loss", "grad_norm", *TERMS):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name
    assert (two / "run" / "STATUS").read_text() == "finished step 3\n"
    assert checkpoint.load(two / "run").origin["world_size"] == 2


def test_what_no_loss_reads_holds_nobody_up(two: Path) -> None:
    assert (two / "ablation" / "STATUS").read_text() == "finished step 2\n"


def test_one_process_gathers_itself() -> None:
    value = torch.arange(6.0).view(3, 2).requires_grad_()
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.gather(value) is value
    assert (
        distributed.gather_with_gradient(value) is value
        and distributed.average_over_ranks(value) is value
    )
