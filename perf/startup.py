"""Goal 12: how soon the command answers, and how soon weights are ready to use.

CPU seconds, for a busy machine stretches the clock; the shortest time on the clock stands beside
them. The checkpoint is of ViT-B/16 + BERT with 12 layers with heads and teacher, as pre-training
saves it but without optimizer state.
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

from perf.measure import Figure, interleave, milliseconds, one_thread, ratios, report
from perf.parts import recipe, settings
from place_cxr import predict
from place_cxr.models.place import PlaceModel
from place_cxr.text.tokenizer import Tokenizer
from place_cxr.training import checkpoint

ROUNDS = 5


def started(*words: str) -> tuple[float, float]:
    """CPU seconds and seconds on the clock of a Python process."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *words],
        check=True,
        capture_output=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return spent, time.perf_counter() - begin


def write_checkpoint(folder: Path) -> Path:
    """A checkpoint of random weights."""
    torch.manual_seed(0)
    whole = recipe()
    config = whole.model_copy(update={"model": settings()})
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
    one_thread()
    helps = [started("-m", "place_cxr", "--help") for _ in range(ROUNDS)]
    imports = [started("-c", "import place_cxr.pretrain") for _ in range(3)]
    found = [
        Figure(
            "place --help, CPU", "a fixed number", [cpu for cpu, _ in helps], 0.4, unit="s", number="12",
            about={"shortest on the clock": f"{min(wall for _, wall in helps):.2f} s"},
        ),
        Figure(
            "imports of a training process, CPU", "a fixed number", [cpu for cpu, _ in imports], 5.5, unit="s",
            number="12",
        ),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as temp:
        path = write_checkpoint(Path(temp))
        sides = {
            "load": lambda: predict.load(path, verify=False),
            "verified": lambda: predict.load(path),
            "build": lambda: PlaceModel(settings()),
        }
        seconds = interleave(sides, 3)
    about = {f"{name} ms": milliseconds(side) for name, side in seconds.items()}
    found += [
        Figure(
            "load without hashes, CPU",
            "a fixed number",
            seconds["load"],
            0.15,
            unit="s",
            number="12",
            about=about,
        ),
        Figure(
            "load without hashes",
            "building with random weights",
            ratios(seconds["load"], seconds["build"]),
            0.1,
        ),
    ]
    return found


if __name__ == "__main__":
    report("startup", figures())
