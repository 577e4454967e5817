"""Goal 2: operators that a training step dispatches outside the encoders, and how often it waits
for the device.

For comparison: MGCA's heads at its own batch of 72 dispatch 50,554 operators and wait 6,234 times,
both growing with the batch. Exact numbers, so tests/perf holds them.
"""

from __future__ import annotations

from perf.measure import Figure, count, one_thread, report
from perf.parts import heads

MOST = 800


def figures() -> list[Figure]:
    """Count at 8 and 72, lean and full width."""
    one_thread()
    found = []
    for name, full in (("lean", False), ("full width", True)):
        of = heads(full)
        small, large = count(of(8)), count(of(72))
        found += [
            Figure(
                f"all operators in the heads, views too, {name}, B=8",
                "a fixed number",
                [small.dispatched],
                MOST,
                unit="",
                number="2",
                about={"computing": small.computing, "provoked by counting": small.provoked},
            ),
            Figure(
                f"all operators, {name}, B=72",
                "B=8",
                [large.dispatched / small.dispatched],
                1.0,
                number="2",
            ),
            Figure(
                f"host reads in the heads, {name}, B=72",
                "none",
                [large.reads],
                0,
                unit="",
                number="2",
            ),
        ]
    return found


if __name__ == "__main__":
    report("ops", figures())
