"""What only a GPU can show: the numbers of the CPU, no waiting host in a step, every task runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from place_cxr import pretrain
from place_cxr.core.tensors import Batch, move_to_device
from place_cxr.data import corpus as corpora
from place_cxr.losses import fields_read
from place_cxr.models.place import PlaceModel
from place_cxr.pretrain import PretrainConfig, load_recipe
from place_cxr.tasks import TASKS
from place_cxr.tasks.engine import FractionsAndSeeds, ModelOrigin, make_task, run_task
from place_cxr.tasks.task import HeadTask
from place_cxr.training import checkpoint
from place_cxr.training.optim import build_optimizers
from tests import heads
from tests.contract.test_tasks import brief
from tests.small import digest, small

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
not_yet = pytest.mark.xfail(
    strict=False, reason="nobody has seen it pass on a GPU yet (docs/LOG.md, 2026-11-26)"
)
PEERS = ("", "phantom-convirt", "phantom-gloria", "phantom-mgca")


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Convolutions in full single precision, as on a processor."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """What makes the host wait for the device is refused, as far as PyTorch knows of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def build_method(
    phantom: Path, peer: str, *overrides: str
) -> tuple[PretrainConfig, PlaceModel, Batch]:
    """A small method of a name, its network, and its first batch; no chance but that of the
    batch.
    """
    config = small(phantom, "model.text.dropout=0.0", *overrides)
    if peer:
        peer_config = load_recipe(peer)
        names = ("correlation", "tokens", "prototypes")
        parts = {name: getattr(peer_config.model, name) for name in names}
        model = config.model.model_copy(update=parts)
        config = config.model_copy(update={"losses": peer_config.losses, "model": model})

    data = corpora.prepare_corpus(config.data, max_tokens=64)
    config = pretrain.complete_config(config, data)
    torch.manual_seed(0)
    model = PlaceModel(config.model).train()
    model.freeze_unread(fields_read(config.losses))
    return config, model, next(pretrain.make_loader(config, data).batches())


@pytest.mark.parametrize("peer", PEERS)
def test_losses_and_gradients_are_those_of_the_processor(phantom: Path, peer: str) -> None:
    config, model, batch = build_method(phantom, peer)
    results: list[tuple[float, dict[str, torch.Tensor]]] = []
    for device in ("cpu", "cuda"):
        model.to(device).eval().zero_grad()  # no dropout: its chance is another on each
        value, _ = pretrain.make_loss(config)(model, move_to_device(batch, device), 0)
        value.backward()
        grads = {
            name: p.grad.cpu().clone() for name, p in model.named_parameters() if p.grad is not None
        }
        results.append((value.item(), grads))

    (cpu_loss, cpu_grads), (gpu_loss, gpu_grads) = results
    assert gpu_loss == pytest.approx(cpu_loss, rel=1e-4)
    assert set(cpu_grads) == set(gpu_grads) and cpu_grads
    for name, grad in cpu_grads.items():
        assert torch.linalg.norm(gpu_grads[name] - grad) <= 2e-3 * torch.linalg.norm(grad) + 1e-5, (
            name
        )


@not_yet
@pytest.mark.parametrize("linear", ["adamw", "muon"])
@pytest.mark.parametrize("peer", PEERS)
def test_the_host_waits_nowhere_in_a_step(phantom: Path, peer: str, linear: str) -> None:
    config, model, batch = build_method(phantom, peer, f"optim.linear={linear}")
    model.cuda()
    optimizers = build_optimizers(model, config.optim)
    trained = [p for p in model.parameters() if p.requires_grad]
    loss = pretrain.make_loss(config)

    def step(number: int) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            value, _ = loss(model, move_to_device(batch, "cuda"), number)
        value.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        model.update_teacher()

    step(0)  # what is made at first use may wait
    with waiting_is_an_error():
        step(0)
        step(config.train.log_every - 1)  # with the monitors


@not_yet
def test_a_stopped_run_ends_as_if_never_stopped(phantom: Path, tmp_path: Path) -> None:
    config = small(phantom, "train.precision=bf16")
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    pretrain.run_pretraining(config, whole, device="cuda")
    pretrain.run_pretraining(config, parted, device="cuda", stop_at=3)
    pretrain.run_pretraining(config, parted, device="cuda", resume="auto")
    assert digest(checkpoint.load(parted).weights) == digest(checkpoint.load(whole).weights)


CASES = [
    (name, mode)
    for name, kind in TASKS.items()
    for mode in ("frozen", "finetune")[: 1 + issubclass(kind, HeadTask)]
]


@pytest.mark.parametrize("kind", heads.IMAGES)
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_task_runs(name: str, mode: Any, kind: str, phantom: Path, tmp_path: Path) -> None:
    studies = heads.dozen(phantom)
    task = make_task(name, studies.studies, brief(name), mode=mode)
    model = heads.model(kind).cuda()
    metrics = run_task(
        task, model, studies, tmp_path, FractionsAndSeeds((1.0,), (0,)), origin=ModelOrigin("m")
    ).metrics
    assert metrics and all(m.value is not None or m.reason for m in metrics.values())
