"""Goal 2: operators that a training step dispatches outside the encoders, and host reads.

For comparison: MGCA's heads at its own batch of 72 dispatch 50,554 operators and wait 6,234 times,
both growing with the batch. The numbers are exact, so tests/perf holds them.
"""

from __future__ import annotations

from perf.measure import Figure, count_operators, record_figures, use_one_thread
from perf.parts import heads_call

MOST_OPERATORS = 800


def figures() -> list[Figure]:
    """Count at B=8 and B=72, lean and at full width."""
    use_one_thread()
    results = []

    for width, full in (("lean", False), ("full width", True)):
        call_for = heads_call(full)
        small, large = count_operators(call_for(8)), count_operators(call_for(72))
        results += [
            Figure(
                f"all operators in the heads, views too, {width}, B=8",
                "a fixed number",
                [small.dispatched],
                MOST_OPERATORS,
                unit="",
                number="2",
                notes={"computing": small.computing, "provoked by counting": small.provoked},
            ),
            # A ratio of 1 means that nothing loops over the batch.
            Figure(
                f"all operators, {width}, B=72",
                "B=8",
                [large.dispatched / small.dispatched],
                1.0,
                number="2",
            ),
            Figure(
                f"host reads in the heads, {width}, B=72",
                "none",
                [large.reads],
                0,
                unit="",
                number="2",
            ),
        ]
    return results


if __name__ == "__main__":
    record_figures("ops", figures())
