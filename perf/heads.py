"""Goals 1 and 6: the cost that PLACE adds to its encoders, forward and backward.

The encoders are ViT-B/16 at 224 px and BERT with 12 layers. Heads are all of
``PlaceModel.forward`` but the image and text encoder: projections, observer, sentence pooling,
correlation head and target, and all losses. They run on stored encoder outputs, the teacher's too:
its forward pass is an encoder's and is timed apart.
"""

from __future__ import annotations

import gc

import torch

from perf.measure import (
    Figure,
    interleave,
    milliseconds,
    ratios,
    record_figures,
    use_one_thread,
)
from perf.parts import encoders_call, heads_call, settings, views
from place_cxr.models.place import PlaceModel

BATCH, ROUNDS, LARGE = 8, 3, 128


def figures() -> list[Figure]:
    """Both widths against the encoders; then the heads' time per sample as the batch grows."""
    use_one_thread()
    torch.manual_seed(0)
    model = PlaceModel(settings())
    lean, full = heads_call(False), heads_call(True)
    clean = views(BATCH).clean

    def run_teacher() -> None:
        with torch.no_grad():
            assert model.teacher is not None
            model.teacher.local(clean)

    sides = {
        "lean": lean(BATCH),
        "full": full(BATCH),
        "encoders": encoders_call(model, BATCH),
        "teacher": run_teacher,
    }
    seconds = interleave(sides, ROUNDS, {"lean": 3, "full": 2})

    baseline = f"encoders, B={BATCH}"
    per_image = {name: round(milliseconds(side) / BATCH, 1) for name, side in seconds.items()}
    results = [
        Figure(
            "heads at full width",
            baseline,
            ratios(seconds["full"], seconds["encoders"]),
            0.08,
            number="1",
            notes=per_image,
        ),
        Figure(
            "heads lean",
            baseline,
            ratios(seconds["lean"], seconds["encoders"]),
            0.03,
            number="1",
        ),
        Figure("teacher, forward only", baseline, ratios(seconds["teacher"], seconds["encoders"])),
    ]

    # The large batch needs the memory of the encoders.
    del model, sides
    gc.collect()
    growing = {"small": lean(BATCH), "large": lean(LARGE)}
    seconds = interleave(growing, ROUNDS, {"small": 8})
    # The time of the large batch, for as many samples as the small one has.
    scaled = [time * BATCH / LARGE for time in seconds["large"]]
    results.append(
        Figure(
            f"lean heads a sample, B={LARGE}",
            f"B={BATCH}",
            ratios(scaled, seconds["small"]),
            1.15,
            number="6",
        )
    )
    return results


if __name__ == "__main__":
    record_figures("heads", figures())
