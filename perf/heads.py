"""Goals 1 and 6: what PLACE adds to its encoders, ViT-B/16 at 224 px and BERT with 12 layers,
forward and backward.

Heads are all of ``PlaceModel.forward`` but the image and text encoder: projections, observer,
sentence pooling, correlation head and target, and all losses. They run on stored encoder outputs,
of the teacher too: its forward pass is an encoder's and is timed apart.
"""

from __future__ import annotations

import gc

import torch

from perf.measure import Figure, interleave, milliseconds, one_thread, ratios, report
from perf.parts import encoders, heads, settings, views
from place_cxr.models.place import PlaceModel

BATCH, ROUNDS, LARGE = 8, 3, 128


def figures() -> list[Figure]:
    """Both widths against the encoders; then the heads' time per sample as the batch grows."""
    one_thread()
    torch.manual_seed(0)
    model = PlaceModel(settings())
    lean, full = heads(False), heads(True)
    clean = views(BATCH).clean

    def teacher() -> None:
        with torch.no_grad():
            assert model.teacher is not None
            model.teacher.local(clean)

    sides = {
        "lean": lean(BATCH),
        "full": full(BATCH),
        "encoders": encoders(model, BATCH),
        "teacher": teacher,
    }
    seconds = interleave(sides, ROUNDS, {"lean": 3, "full": 2})
    both = f"encoders, B={BATCH}"
    per_image = {name: round(milliseconds(side) / BATCH, 1) for name, side in seconds.items()}
    found = [
        Figure(
            "heads at full width",
            both,
            ratios(seconds["full"], seconds["encoders"]),
            0.08,
            number="1",
            about=per_image,
        ),
        Figure("heads lean", both, ratios(seconds["lean"], seconds["encoders"]), 0.03, number="1"),
        Figure("teacher, forward only", both, ratios(seconds["teacher"], seconds["encoders"])),
    ]
    del model, sides
    gc.collect()
    growing = {"small": lean(BATCH), "large": lean(LARGE)}
    seconds = interleave(growing, ROUNDS, {"small": 8})
    each = [time * BATCH / LARGE for time in seconds["large"]]
    found.append(
        Figure(
            f"lean heads a sample, B={LARGE}",
            f"B={BATCH}",
            ratios(each, seconds["small"]),
            1.15,
            number="6",
        )
    )
    return found


if __name__ == "__main__":
    report("heads", figures())
