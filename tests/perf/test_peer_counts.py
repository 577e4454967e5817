"""The peers' losses: as many operators for 4 pairs as for 12, and no wait for the device."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perf.measure import count_operators
from place_cxr.losses import LOSSES
from tests.losses.outputs import outputs

PEERS = [name for name in LOSSES if name.startswith(("convirt", "gloria", "mgca"))]


def _run(name: str, batch: int) -> Callable[[], None]:
    out = outputs(b=batch)
    return lambda: LOSSES[name].function(out).backward()


@pytest.mark.parametrize("name", PEERS)
def test_no_loop_over_the_batch_and_no_host_read(name: str) -> None:
    small, large = count_operators(_run(name, 4)), count_operators(_run(name, 12))
    assert small.ops == large.ops
    assert small.reads == large.reads == 0
    assert small.computing > 10
