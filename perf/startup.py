"""Goal 12: how soon the command answers, and how soon weights are ready to use.

Times are CPU seconds, because a busy machine stretches the clock; the shortest time by the clock
stands beside them. The checkpoint is of ViT-B/16 and BERT with 12 layers, heads and teacher, as
pre-training saves it, but without optimizer state.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from perf.measure import (
    Figure,
    interleave,
    ratios,
    record_figures,
    side_milliseconds,
    use_one_thread,
)
from perf.parts import recipe, settings
from place_cxr import predict
from place_cxr.models.place import PlaceModel
from place_cxr.text.tokenizer import Tokenizer
from place_cxr.training import checkpoint

ROUNDS = 5


def time_process(*arguments: str) -> tuple[float, float]:
    """CPU seconds and seconds by the clock of a Python process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        env={**os.environ, "COLUMNS": "100"},
    )

    # Only processes that have ended count, so this one is the whole difference.
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu_seconds, time.perf_counter() - start


def write_checkpoint(folder: Path) -> Path:
    """A checkpoint of random weights."""
    torch.manual_seed(0)
    config = recipe().model_copy(update={"model": settings()})
    tokenizer = Tokenizer.train(
        ["The heart is normal in size.", "No pleural effusion."], vocab_size=100
    )
    model = PlaceModel(config.model)
    return checkpoint.save(
        folder,
        0,
        weights=model.state_dict(),
        config=config.model_dump(mode="json"),
        extra_files=tokenizer.files("tokenizer"),
    )


def figures() -> list[Figure]:
    """The command, then loading."""
    use_one_thread()
    helps = [time_process("-m", "place_cxr", "--help") for _ in range(ROUNDS)]
    imports = [time_process("-c", "import place_cxr.pretrain") for _ in range(3)]
    results = [
        Figure(
            "place --help, CPU",
            "a fixed number",
            [cpu for cpu, _ in helps],
            0.4,
            unit="s",
            number="12",
            notes={"shortest on the clock": f"{min(wall for _, wall in helps):.2f} s"},
        ),
        Figure(
            "imports of a training process, CPU",
            "a fixed number",
            [cpu for cpu, _ in imports],
            5.5,
            unit="s",
            number="12",
        ),
    ]

    # Loading creates the network on the meta device; building it draws all its random weights.
    with tempfile.TemporaryDirectory() as temp:
        path = write_checkpoint(Path(temp))
        sides = {
            "load": lambda: predict.load(path, verify=False),
            "verified": lambda: predict.load(path),
            "build": lambda: PlaceModel(settings()),
        }
        seconds = interleave(sides, 3)

    notes = side_milliseconds(seconds)
    results += [
        Figure(
            "load without hashes, CPU",
            "a fixed number",
            seconds["load"],
            0.15,
            unit="s",
            number="12",
            notes=notes,
        ),
        Figure(
            "load without hashes",
            "building with random weights",
            ratios(seconds["load"], seconds["build"]),
            0.1,
        ),
    ]
    return results


if __name__ == "__main__":
    record_figures("startup", figures())
