"""Run folders with made-up numbers, true to the schema."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from place_cxr.core.version import RESEARCH_NOTICE

FINDINGS = (
    "Pleural Effusion",
    "Pneumothorax",
    "Consolidation",
    "Cardiomegaly",
    "Nodule",
    "Rib Fracture",
)
TASKS = (
    "zero-shot",
    "classification",
    "retrieval",
    "grounding",
    "segmentation",
    "detection",
    "report-generation",
)
LOSSES = ("instance", "pathology_pair", "pathology_sentence", "correlation")


def result(task: str, method: str, metrics: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """One ``result.json``."""
    return {
        "notice": RESEARCH_NOTICE,
        "task": task,
        "source": "phantom-tiny",
        "split": "test",
        "split_digest": "ab12" * 16,
        "method": method,
        "metrics": metrics,
        "signature": f"rules of {task}",
        "seeds": [0, 1, 2] if task == "classification" else [0],
        "git": "0123456789abcdef",
        "config_hash": "feedbeefcafe",
        "seconds": 12.345,
        "hardware": "x86_64, 2 cores, no GPU",
        "schema": 1,
    } | changes


def metric(value: float, width: float = 0.05, n: int = 500) -> dict[str, Any]:
    """A number with its interval."""
    value = round(min(max(value, 0.0), 1.0), 6)
    return {
        "value": value,
        "ci95": [max(0.0, value - width), min(1.0, value + width)],
        "n": n,
        "reason": "",
    }


def undefined(reason: str) -> dict[str, Any]:
    """No number."""
    return {"value": None, "ci95": None, "n": 0, "reason": reason}


def metrics_of(task: str, level: float, rng: random.Random) -> dict[str, Any]:
    """Made-up metrics around ``level``."""
    names = ("macro", *FINDINGS)
    if task == "zero-shot":
        keys = [
            f"{v}/{m}/{f}"
            for v in ("instance", "observation", "mix")
            for m in ("auroc", "average precision")
            for f in names
        ]
    elif task == "classification":
        keys = [f"{v}/auroc/{f}" for v in ("1%", "10%", "100%") for f in names]
    elif task == "segmentation":
        keys = [f"100%/{m}/{f}" for m in ("IoU", "dice", "empty kept empty") for f in names]
    elif task == "detection":
        keys = [f"100%/{m}/{f}" for m in ("AP 40-75", "AP 50-95", "AP 50") for f in names]
    elif task == "report-generation":
        scores = ("BLEU-4", "ROUGE-L", "micro F1", "macro F1", "Edema F1")
        keys = [f"100%/{m}/{who}" for m in scores for who in ("decoder", "frequent", "nearest")]
    elif task == "retrieval":
        keys = [
            f"{v}/{d}/R@{k}"
            for v in ("instance", "observation", "mix")
            for d in ("image to report", "report to image")
            for k in (1, 5, 10)
        ]
    else:
        keys = [
            f"{v}/{m}/{f}"
            for v in ("observation", "instance", "centre", "uniform")
            for m in ("pointing game", "IoU")
            for f in names
        ]
    found = {key: metric(level + rng.uniform(-0.12, 0.12)) for key in keys}
    if task == "zero-shot":
        found |= {
            f"{v}/auroc/Rib Fracture": undefined("no study with the finding")
            for v in ("instance", "mix")
        }
    if task == "retrieval":
        found |= {
            f"mix/{d}/median rank": metric(0) | {"value": 41.5, "ci95": [30.0, 55.25]}
            for d in ("image to report", "report to image")
        }
    return found


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """A run folder; leave parts out, or change what a report says."""

    def make(
        *, controls: bool = True, gallery: bool = True, text: str = "Small left pleural effusion."
    ) -> Path:
        return write_run(tmp_path / "demo", controls=controls, gallery=gallery, text=text)

    return make


def write_run(
    run: Path, *, controls: bool = True, gallery: bool = True, text: str = "Small effusion."
) -> Path:
    """The fixture's work."""
    rng = random.Random(0)
    run.mkdir(parents=True)
    losses = "".join(f"  {name}: {{weight: 1.0}}\n" for name in LOSSES)
    (run / "config.yaml").write_text(
        f"name: phantom-tiny\ndata: {{manifest: /home/someone/x.csv, pack_size: "
        f"96}}\nlosses:\n{losses}"
    )
    (run / "env.json").write_text(
        json.dumps(
            {
                "started": "2026-01-01T00:00:00Z",
                "python": "3.11.7",
                "system": "Linux",
                "commit": None,
                "libraries": {"torch": "2.14", "timm": None},
                "cpu": {"model": "a processor", "cores": 2},
                "gpus": [],
                "memory_gb": 8.0,
            }
        )
    )
    (run / "data.lock.json").write_text(
        json.dumps(
            {
                "images": {"train": 900, "val": 100, "test": 200},
                "patients": {"train": 500, "val": 60, "test": 110},
            }
        )
    )
    (run / "STATUS").write_text("finished step 320\n")
    (run / "metrics.jsonl").write_text(
        "".join(json.dumps(_record(step, rng)) + "\n" for step in range(10, 321, 10))
    )
    methods = {"place": 0.78} | (
        {"random weights": 0.5, "ITA alone": 0.7, "reports shuffled": 0.51} if controls else {}
    )
    for method, level in methods.items():
        for task in TASKS:
            shift = {"retrieval": -0.4, "grounding": -0.2}.get(task, 0.0)
            folder = (
                run
                / ("tasks" if method == "place" else f"baselines/{method}/tasks")
                / task
                / "phantom-tiny"
            )
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(
                json.dumps(result(task, method, metrics_of(task, level + shift, rng)))
            )
    if gallery:
        write_gallery(run, text)
    return run


def _record(step: int, rng: random.Random) -> dict[str, Any]:
    fall = math.exp(-step / 120)
    return {
        "step": step,
        "lr": 1e-3 * min(1, step / 32) * (1 - step / 340),
        "loss": 4 + 9 * fall + rng.uniform(-0.2, 0.2),
        **{name: 0.4 + 4 * fall + rng.uniform(-0.1, 0.1) for name in LOSSES},
        "correlation": 0.05 + 0.3 * fall,
        "correlation_constant": 0.3,
        "correlation_permuted": 0.1 + 0.3 * fall,
        "query_similarity": -0.05 + 0.3 * (1 - fall),
        "query_usage": 0.9,
        "attention_spread": None if step == 50 else 0.99 - 0.3 * (1 - fall),
        "shared_reports": 0.0,
        "shared_sentences": 0.02,
        "grad_norm": 4.0,
        "images_per_s": 60.0,
        "data_wait": 0.01,
    }  # fmt: skip


def write_gallery(run: Path, text: str) -> None:
    """Two studies with made-up maps."""
    folder = run / "gallery"
    folder.mkdir()
    rng = np.random.default_rng(0)
    studies = []
    for number in (1, 2):
        Image.fromarray(rng.integers(0, 255, (120, 128), dtype=np.uint8)).save(
            folder / f"{number}.jpg"
        )
        heat = rng.uniform(size=36).round(3).tolist()
        studies.append(
            {
                "number": number,
                "image": f"{number}.jpg",
                "width": 128,
                "height": 120,
                "findings": ["Pleural Effusion"] if number == 1 else [],
                "outlines": [
                    {"finding": "Pleural Effusion", "paths": [[[4, 30], [20, 30], [20, 50]]]}
                ][: 2 - number],
                "view": [0, -4, 128, 128],
                "grid": [6, 6],
                "sentences": [
                    {"text": text, "heat": heat, "match": 0.71},
                    {"text": "Comparison: none.", "heat": None, "match": None},
                ],
                "similarity": np.eye(4).tolist(),
                "correlation": {"patch": 7, "predicted": heat, "target": heat, "agreement": 0.93}
                if number == 1
                else None,
            }
        )
    table = {
        "notice": RESEARCH_NOTICE,
        "split": "test",
        "seed": 0,
        "example": text,
        "studies": studies,
    }
    (folder / "gallery.json").write_text(json.dumps(table))
