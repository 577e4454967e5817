"""Real radiographs with text, end to end in a few steps: what is written is whole, held out and
free of patients.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from experiments import real_pairs, real_tables
from place_cxr.pretrain import load_recipe
from place_cxr.pretrain import run_pretraining as pretrain

FEW = ["train.steps=2", "train.batch_size=8", "train.log_every=1"]


def test_the_demo_fits_into_the_recipe_for_real_pairs() -> None:
    demo, real = load_recipe("phantom-tiny"), load_recipe("sample-pairs")
    assert real.model == demo.model
    assert (real.views.size, real.data.pack_size) == (demo.views.size, demo.data.pack_size)


def test_mean_auroc_is_the_mean_over_splits_and_classes() -> None:
    labels = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], float)
    right = np.array([[1, 0], [0, 1]], float)
    parts = [
        (np.array([0, 1]), right),
        (np.array([2, 3]), np.column_stack([1 - right[:, 0], right[:, 1]])),
    ]
    statistic = real_pairs.mean_auroc(labels, parts)
    assert statistic(np.ones((1, 4))).tolist() == [[0.75, 0.5, 1.0]]
    assert np.isnan(statistic(np.array([[1.0, 0, 1, 1]]))[0, 0]), (
        "a split without absent rows has no AUROC"
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_pairs_to_tables(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE_CACHE", str(tmp_path / "cache"))
    manifest = test_data / "pairs" / "manifest.csv"
    donor, out, document = tmp_path / "donor", tmp_path / "real", tmp_path / "real.md"
    pretrain(
        load_recipe(
            "phantom-tiny", [f"data.manifest={manifest}", "data.columns.patient=group", *FEW]
        ),
        donor,
    )

    result = real_pairs.run_experiment(test_data, out, init_from=donor, splits=1, overrides=FEW)

    assert json.loads((out / "real_pairs.json").read_text()) == result
    methods = {real_pairs.RANDOM, real_pairs.PAIRS, real_pairs.PHANTOMS, real_pairs.BOTH}
    assert set(result["heat maps"]) == methods
    for found in result["retrieval"].values():
        assert set(found) == methods | {real_pairs.GUESSING}
        for values in found.values():
            assert all(
                0 <= value["value"] <= 1 for name, value in values.items() if name != "patients"
            )
    assert {name: one["rows"] for name, one in result["probe"].items()} == {
        "kermany": 165,
        "nih": 200,
    }
    for one in result["probe"].values():
        assert set(one["auroc"]) == methods | {real_pairs.SHAPE, real_pairs.THUMBNAIL}
        assert set(one["against random"]) == set(one["auroc"]) - {real_pairs.RANDOM}
    for method in methods:
        assert (
            out / f"maps-{method.replace(', ', '-').replace(' ', '-')}.png"
        ).stat().st_size > 10_000

    document.write_text(f"above\n{real_tables.BEGIN}\nold\n{real_tables.END}\nbelow\n")
    for _ in range(2):  # written again, nothing is added
        real_tables.write_tables(document, real_tables.all_tables(result))
        text = document.read_text()
        assert text.startswith("above\n") and text.endswith("\nbelow\n") and "old" not in text
        assert all(
            text.count(f"| {method} |") == 5 + (method in (real_pairs.PAIRS, real_pairs.PHANTOMS))
            for method in methods
        )

    with manifest.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    said = json.dumps(result) + text
    for row in rows:
        assert row["group"] not in said
        assert Path(row["image"]).stem not in said
        assert row["report"] not in said
