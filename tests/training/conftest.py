"""Fixtures of the training tests: the toy problem, small checkpoints, and children that may be
killed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from place_cxr.training import checkpoint

TOY = Path(__file__).with_name("toy.py")


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """tests/training/toy.py."""
    spec = importlib.util.spec_from_file_location("training_toy", TOY)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["training_toy"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def put() -> Callable[..., Path]:
    """Save a small checkpoint whose every number is its step."""

    def put(run: Path, step: int, *, size: int = 1000, keep: int = 3) -> Path:
        return checkpoint.save(
            run,
            step,
            {"weight": torch.full((size,), float(step)), "bias": torch.arange(3)},
            config={"width": size},
            state_tensors={"moment": torch.full((size,), -float(step))},
            state={"step": step},
            extra_files={"tokenizer/tokenizer.json": b'{"a": 1}\n'},
            keep=keep,
        )

    return put


@pytest.fixture
def child() -> Callable[[Callable[[], None]], int]:
    """Run a function in a forked process; its exit code, 99 if it raised. Forked, because torch is
    imported already.
    """

    def run(work: Callable[[], None]) -> int:
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                torch.set_num_threads(1)  # the parent's threads do not exist here
                work()
                code = 0
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return run
