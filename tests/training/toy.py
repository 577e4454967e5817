"""A model, data and losses of a few hundred numbers; as a program, a training that a test may
interrupt or spread.

``python toy.py train FOLDER STEPS PAUSE`` and, under a launcher's variables, ``python toy.py ranks
FOLDER``.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from place_cxr.core import distributed
from place_cxr.core.errors import PlaceError
from place_cxr.training.checkpoint import Checkpoint
from place_cxr.training.job import TrainingJob, TrainSettings
from place_cxr.training.loop import FitResult, TrainingStopped, create_accelerator, fit
from place_cxr.training.optim import OptimSettings
from place_cxr.training.run_folder import RunFolder

SETTINGS = TrainSettings(steps=12, batch_size=8, accumulate=2, log_every=5, save_every=4, seed=3)
OPTIM = OptimSettings(lr=1e-2, warmup=0.2)


@dataclass(frozen=True)
class Rows:
    row: Tensor
    x: Tensor


class Net(nn.Module):
    """Two layers with everything that carries state: dropout, batch norm, a moving average of a
    weight.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 2)
        )
        self.register_buffer("average", torch.zeros(2, 16))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def follow(self) -> None:
        self.average.lerp_(self.body[4].weight.detach(), 0.1)


def loss(model: nn.Module, batch: Rows, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    out = model(batch.x)
    error = (out.square().mean(-1) - 1).square().mean()
    return error + 0.1 * out.mean(), {"error": error, "mean": out.mean()}


def batches(start: int, size: int = 4, *, seen: list[int] | None = None) -> Iterator[Rows]:
    while True:
        generator = torch.Generator().manual_seed(start)
        rows = torch.arange(start * size, (start + 1) * size)
        if seen is not None:
            seen.extend(rows.tolist())
        yield Rows(rows, torch.randn(size, 8, generator=generator))
        start += 1


def train(
    folder: Path,
    *,
    resume: Checkpoint | None = None,
    model: nn.Module | None = None,
    **changes: Any,
) -> FitResult:
    """Fit `Net`, or ``model``, in ``folder``; ``changes`` are fields of `TrainingJob`."""
    model = model or Net()
    arguments: dict[str, Any] = {
        "settings": SETTINGS,
        "optim": OPTIM,
        "config": {"width": 16},
        "loss": loss,
    }
    arguments |= {
        "batches": batches,
        "after_step": getattr(model, "follow", None),
        "device": "cpu",
        **changes,
    }
    with RunFolder.create(folder, resume=resume is not None) as run:
        return fit(TrainingJob(model, run=run, resume=resume, **arguments))


def digest(model: nn.Module) -> str:
    """A hash of all that the model holds."""
    state = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    return hashlib.sha256(
        b"".join(name.encode() + state[name] for name in sorted(state))
    ).hexdigest()


def slowly(pause: float) -> Callable[[int], Iterator[Rows]]:
    def paced(start: int) -> Iterator[Rows]:
        for batch in batches(start):
            time.sleep(pause)
            yield batch

    return paced


def contrast(model: nn.Module, batch: Rows, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Each row of the joint batch finds its own disturbed copy among all."""
    one = nn.functional.normalize(model(batch.x), dim=-1)
    two = nn.functional.normalize(model(batch.x + 0.1 * batch.x.sin()), dim=-1)
    scores = distributed.gather_with_gradient(one) @ distributed.gather_with_gradient(two).T / 0.2
    error = nn.functional.cross_entropy(scores, torch.arange(len(scores)))
    return error, {"error": error}


def contrast_model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))


Act = Callable[[int, Rows], None]


def contrast_run(
    folder: Path, act: Act = lambda step, batch: None, **changes: Any
) -> dict[str, Any]:
    """Six steps of eight rows over all ranks, in rank order; ``act`` may do something to a batch
    before its step.
    """
    create_accelerator("cpu")
    size = 8 // distributed.world_size()
    settings = TrainSettings(
        **{"steps": 6, "batch_size": 8, "log_every": 2, "save_every": 3} | changes
    )
    model = contrast_model()
    out: dict[str, Any] = {}

    def own_batches(start: int) -> Iterator[Rows]:
        for step, batch in enumerate(batches(start, 8), start):
            part = slice(distributed.rank() * size, (distributed.rank() + 1) * size)
            own = Rows(batch.row[part], batch.x[part].clone())
            act(step, own)
            yield own

    try:
        with RunFolder.create(folder) as run:
            job = TrainingJob(
                model,
                contrast,
                own_batches,
                settings=settings,
                optim=OPTIM,
                run=run,
                config={},
                device="cpu",
            )
            out["bad_steps"] = fit(job).bad_steps
    except (PlaceError, TrainingStopped) as end:
        out["end"] = end.code
    return out | {"digest": digest(model), "weight": model[2].weight.tolist()}


def ranks(folder: Path) -> None:
    """All that two ranks are asked to show, in one pair of processes."""
    create_accelerator("cpu")
    me = distributed.rank()

    def poison(step: int, batch: Rows) -> None:
        if (me, step) == (1, 2):
            batch.x[0, 0] = torch.nan

    def interrupt(step: int, batch: Rows) -> None:
        if (me, step) == (1, 7):
            os.kill(os.getpid(), signal.SIGTERM)

    results = {
        "equal": contrast_run(folder / "equal"),
        "poison": contrast_run(folder / "poison", poison),
        "differ": contrast_run(folder / "differ", seed=me),
        "often": contrast_run(folder / "often", interrupt, steps=50, log_every=1, save_every=50),
        "seldom": contrast_run(folder / "seldom", interrupt, steps=50, log_every=50, save_every=50),
    }
    (folder / f"rank{me}.json").write_text(json.dumps(results))
    torch.distributed.destroy_process_group()


def main(verb: str, folder: str, *rest: str) -> None:
    torch.set_num_threads(1)
    if verb == "ranks":
        ranks(Path(folder))
        return
    settings = SETTINGS.model_copy(update={"steps": int(rest[0]), "save_every": 1000})
    train(Path(folder), settings=settings, batches=slowly(float(rest[1])))


if __name__ == "__main__":
    main(*sys.argv[1:])
