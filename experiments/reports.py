"""What V-PORs add to generated reports, and whether the heat maps of their sentences point at what they name.

    python experiments/reports.py RUN --out runs/reports --seeds 0,1 [key=value ...]

Trains a decoder with and one without V-PORs on all training patients of the run's own data, prints two tables in
Markdown (no number is typed) and keeps results and hits in OUT; what is there already is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from place_cxr.ask import ask
from place_cxr.data.labeller import label_report
from place_cxr.data.rle import load_mask
from place_cxr.metrics.overlap import pointing_game
from place_cxr.records import PRESENT, Study
from place_cxr.tasks import TASKS
from place_cxr.tasks.report_examples import Example
from place_cxr.tasks.report_generation import ANSWERS, ReportGeneration
from place_cxr.tasks.result import Result
from place_cxr.tasks.teach import predictions

TASK = "report-generation"
ARMS = {"with-vpors": "vpors=true", "without-vpors": "vpors=false"}
METRICS = ("micro F1", "macro F1", "BLEU-4", "ROUGE-L", "CIDEr")
NEAR = 0.03  # of the longer side: a peak so close to a mask counts as inside
MASKS = {  # what a phantom's masks are called, by what the labeller calls it
    "Cardiomegaly": ("Cardiomegaly",),
    "Lung Lesion": ("Nodule",),
    "Edema": ("Edema",),
    "Consolidation": ("Consolidation",),
    "Atelectasis": ("Atelectasis",),
    "Pneumothorax": ("Pneumothorax",),
    "Pleural Effusion": ("Pleural Effusion",),
    "Fracture": ("Rib Fracture",),
    "Support Devices": ("Pacemaker", "Central Line", "Endotracheal Tube"),
}


@dataclass(frozen=True)
class Pointing(ReportGeneration):
    """The task, which also keeps where the maps of true sentences point."""

    def show(self, learner: Any, inputs: Any, data: Any, rows: Any, folder: Path) -> None:
        """Writes ``hits.json``: [map, centre, map of another image's sentence of the same finding] by finding."""
        said: dict[str, list[tuple[Any, Any]]] = {}
        for part, reading in predictions(learner, inputs, rows, next(learner.parameters()).device):
            for row, example in zip(part, self.examples(reading, data, part), strict=True):
                for finding, heat, mask in named(example, data.studies[row]):
                    said.setdefault(finding, []).append((heat, mask))
        hits = {finding: pointed(pairs) for finding, pairs in said.items()}
        (folder / "hits.json").write_text(json.dumps(hits), encoding="utf-8")


def named(example: Example, study: Study) -> list[tuple[str, Any, Any]]:
    """(finding, map, mask) of each sentence that states a finding which is there, the mask widened by ``NEAR``."""
    from scipy.ndimage import distance_transform_edt

    found = []
    for said, heat in zip(example.sentences, example.maps, strict=True):
        for finding, value in label_report(said).values.items():
            masks = [load_mask(study.masks[name]) for name in MASKS.get(finding, ()) if name in study.masks]
            if value == PRESENT and masks:
                mask = np.any(masks, axis=0)
                if mask.any():
                    found.append((finding, heat, distance_transform_edt(~mask) <= NEAR * max(mask.shape)))
    return found


def pointed(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[float, float, float]]:
    """For each pair of map and mask, what lies inside: the map's peak, the picture's centre, the last pair's peak."""
    maps, masks = (np.stack(part) for part in zip(*pairs, strict=True))
    centre = masks[:, masks.shape[1] // 2, masks.shape[2] // 2].astype(float)
    others = pointing_game(np.roll(maps, 1, axis=0), masks) if len(pairs) > 1 else np.full(1, np.nan)
    return [tuple(row) for row in np.column_stack([pointing_game(maps, masks), centre, others]).tolist()]


def scores(results: Mapping[str, Result]) -> list[str]:
    """A line for each answer and arm, each number with its interval."""
    lines = [f"| reads | answer | {' | '.join(METRICS)} |", "|---|---|" + "---|" * len(METRICS)]
    for arm, result in results.items():
        for who in ANSWERS if arm == next(iter(results)) else ANSWERS[:1]:
            values = [result.metrics[f"100%/{metric}/{who}"] for metric in METRICS]
            cells = [f"{v.value:.3f} [{v.low:.3f}, {v.high:.3f}]" for v in values]
            lines.append(f"| {arm if who == 'decoder' else ''} | {who} | {' | '.join(cells)} |")
    return lines


def hits(arms: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> list[str]:
    """A line for each finding: sentences, and shares of peaks inside."""
    lines = [
        "| reads | finding | true sentences | its map | centre | another image's map |",
        "|---|---|---|---|---|---|",
    ]
    for arm, found in arms.items():
        for finding, rows in {**dict(sorted(found.items())), "all": [r for own in found.values() for r in own]}.items():
            shares = np.nanmean(np.array(rows, dtype=float).reshape(-1, 3), axis=0) if rows else [np.nan] * 3
            lines.append(f"| {arm} | {finding} | {len(rows)} | " + " | ".join(f"{x:.2f}" for x in shares) + " |")
    return lines


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--root", default="")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    TASKS[TASK] = Pointing  # the engine knows tasks by this table
    results, found = {}, {}
    for arm, override in ARMS.items():
        done = sorted((given.out / arm).glob(f"{TASK}/*/hits.json"))
        if not done:
            seeds = [int(seed) for seed in given.seeds.split(",")]
            overrides = [*given.overrides, override]
            _, folder = ask(
                TASK,
                given.run,
                root=given.root,
                overrides=overrides,
                fractions=(1.0,),
                seeds=seeds,
                out=given.out / arm,
            )
            done = [folder / "hits.json"]
        results[arm], found[arm] = Result.read(done[0].parent), json.loads(done[0].read_text(encoding="utf-8"))
    first = next(iter(results.values()))
    about = (
        f"{first.source}, test; method {first.method}; seeds {first.seeds}; commit {first.git[:12]}; {first.hardware}"
    )
    sys.stdout.write("\n".join([about, "", *scores(results), "", *hits(found), ""]))


if __name__ == "__main__":
    main()
