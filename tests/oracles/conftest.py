"""Every comparison is made twice: in double precision, and in the single precision that trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.oracles.oracle import Oracle


@pytest.fixture(params=[torch.float64, torch.float32], ids=["double", "single"])
def read(test_data: Path, request: pytest.FixtureRequest) -> Callable[[str], Oracle]:
    """Opens an oracle file by its name."""
    return lambda name: Oracle(test_data, name, request.param)
