"""PLACE on real radiographs with text: a few hundred pairs, held-out patients, and two sets with
classes.

    python experiments/real_pairs.py --data $PLACE_TEST_DATA --out runs/real --init-from RUN
    python experiments/real_tables.py runs/real/real_pairs.json docs/real_data.md

For each of ``--splits`` divisions of the pairs' patients, the recipe ``sample-pairs`` is trained
from random weights and, with ``--init-from``, from a run on phantoms. Written into ``--out``: the
runs, ``real_pairs.json`` with all numbers, and contact sheets of heat maps, which hold pictures of
patients: they stay on your machine. Needs the layout of the sample data (docs/data.md): ``pairs/``,
``masks/``, ``classes/``.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr import predict, pretrain
from place_cxr.cli.console import log_to_stderr
from place_cxr.core.records import SPLITS, Study
from place_cxr.core.results import Metric
from place_cxr.data.corpus import Corpus, prepare_corpus
from place_cxr.data.packs.cached import pack_pixels
from place_cxr.data.splits.by_patient import split_by_patient
from place_cxr.images.read import read_mask
from place_cxr.images.views import eval_view
from place_cxr.metrics.classification import auroc_statistic
from place_cxr.metrics.intervals import (
    Floats,
    Statistic,
    bootstrap_columns,
    mean_statistic,
    paired_difference,
)
from place_cxr.metrics.retrieval import first_hit, relevance
from place_cxr.models.place import PlaceModel
from place_cxr.pretrain import build_untrained
from place_cxr.tasks.descriptions import StudyEmbeddings, embed_pooled, embed_studies
from place_cxr.tasks.labels import label_table
from place_cxr.tasks.linear_probe import probe_scores
from place_cxr.tasks.retrieval import compute_similarities
from place_cxr.text.reports import read_report
from place_cxr.training import checkpoint
from place_cxr.training.run_folder import environment

GUESSING = "guessing"
RANDOM, PAIRS, PHANTOMS, BOTH = "random weights", "pairs", "phantoms", "phantoms, then pairs"
SHAPE, THUMBNAIL = (
    "shape and projection only",
    "8 x 8 thumbnail",
)  # what is read without any network
DIRECTIONS = ("image to report", "report to image")
KS = (1, 5)
CLASSES = {"kermany": ("normal", "bacterial_pneumonia", "viral_pneumonia"), "nih": ("pneumonia",)}
PROBE_SHARES = (0.6, 0.15, 0.25)  # of the patients: train, val, test
SENTENCES = 4  # of a report that get a heat map
SHOWN = 6  # pictures on a contact sheet
_log = logging.getLogger("place_cxr.real_pairs")


@dataclass(frozen=True, slots=True)
class Trained:
    """One model and the pairs as it reads them."""

    method: str
    model: PlaceModel
    corpus: Corpus
    processor: predict.Processor


def train(
    data: Path, out: Path, split: int, *, init_from: Path | None, overrides: Sequence[str]
) -> list[Trained]:
    """The methods on one division of the pairs; ``split`` also seeds weights and batches."""
    given = [
        f"data.manifest={data}/pairs/manifest.csv",
        f"data.split_seed={split}",
        f"train.seed={split}",
    ]
    config = pretrain.load_recipe("sample-pairs", [*given, *overrides])

    def after(run: Path, method: str) -> Trained:
        model, processor = predict.load(run)
        corpus = prepare_corpus(
            config.data, max_tokens=processor.max_tokens, tokenizer=processor.tokenizer
        )
        return Trained(
            method,
            model,
            corpus,
            replace(processor, views=config.views, pack_size=config.data.pack_size),
        )

    pretrain.run_pretraining(config, out / f"pairs-{split}")
    found = [after(out / f"pairs-{split}", PAIRS)]
    control = build_untrained(
        config, found[0].corpus, str(next(found[0].model.parameters()).device)
    )
    found.insert(0, replace(found[0], method=RANDOM, model=control))
    if init_from is not None:
        pretrain.run_pretraining(config, out / f"phantom-pairs-{split}", init_from=str(init_from))
        found += [after(init_from, PHANTOMS), after(out / f"phantom-pairs-{split}", BOTH)]
    return found


def described(trained: Trained, rows: NDArray[np.int64]) -> StudyEmbeddings:
    """The pairs of ``rows`` as the model describes them."""
    corpus, view = trained.corpus, partial(eval_view, settings=trained.processor.views)
    device = next(trained.model.parameters()).device
    return embed_studies(
        trained.model,
        corpus.pixels.pixels,
        corpus.text,
        rows,
        corpus.studies,
        view=view,
        device=device,
    )


def retrieval(models: Sequence[Sequence[Trained]], where: str) -> dict[str, Any]:
    """R@k on all held-out pairs, or on equally many training pairs; queries of all splits,
    intervals over patients.

    Equal reports are all relevant, as in `tasks.retrieval`. A report of which some tokenizer leaves
    no observation stays out for all methods. Guessing is a score that is the same for all.
    """
    pools: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    patients: list[str] = []
    for group in models:
        rows = group[0].corpus.rows["test"]
        if where == "training":
            rows = np.sort(
                np.random.default_rng(0).choice(
                    group[0].corpus.rows["train"], len(rows), replace=False
                )
            )
        found = {trained.method: described(trained, rows) for trained in group}
        scored = np.flatnonzero(np.all([one.textual_mask.any(1) for one in found.values()], axis=0))
        scores = {method: compute_similarities(one, scored)["mix"] for method, one in found.items()}
        keys = next(iter(found.values())).report_key[scored]
        for method, matrix in ({GUESSING: np.zeros((len(scored), len(scored)))} | scores).items():
            for direction, turned in zip(DIRECTIONS, (matrix, matrix.T), strict=True):
                hit = first_hit(turned, relevance(keys, keys))
                pools.setdefault((method, direction), []).append(
                    np.stack([hit.recall_at_k(k) for k in KS], axis=1)
                )
        patients += [group[0].corpus.studies[row].patient for row in rows[scored]]
    result: dict[str, Any] = {}
    for (method, direction), parts in pools.items():
        intervals = bootstrap_columns(mean_statistic(np.concatenate(parts)), patients)
        named = {
            f"{direction}, R@{k}": plain(value) for k, value in zip(KS, intervals, strict=True)
        }
        result.setdefault(method, {"patients": len(set(patients))}).update(named)
    return result


def read_classes(folder: Path, names: Sequence[str]) -> list[Study]:
    """Studies of one class folder, labelled 1 or 0 for each of ``names``."""
    with (folder / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
        return [
            Study(
                id=str(number),
                image=folder / row["image"],
                report="",
                patient=row["patient_id"],
                view=row.get("view", ""),
                labels={name: float(row["label"] == name) for name in names},
            )
            for number, row in enumerate(csv.DictReader(file), start=1)
        ]


def probe(
    models: Sequence[Sequence[Trained]], folder: Path, names: Sequence[str]
) -> dict[str, Any]:
    """AUROC of a linear probe, one class against the rest: mean over splits of the set's patients,
    models by split.
    """
    studies = read_classes(folder, names)
    size = models[0][0].processor.pack_size
    pack = pack_pixels(studies, size)
    labels, patients = label_table(studies, names), [study.patient for study in studies]
    blocks = (
        pack.pixels.reshape(len(studies), 8, size // 8, 8, size // 8)
        .mean((2, 4))
        .reshape(len(studies), -1)
    )
    aspect = np.log(pack.letterboxes[:, 1] / pack.letterboxes[:, 0])
    shape = np.column_stack([aspect, [study.view == "PA" for study in studies]])
    parts: dict[str, list[tuple[NDArray[np.int64], Floats]]] = {}
    for seed, group in enumerate(models):
        split = [study.split for study in split_by_patient(studies, seed, PROBE_SHARES)]
        rows = {name: np.array([row for row in pack.rows if split[row] == name]) for name in SPLITS}
        features = {SHAPE: shape, THUMBNAIL: blocks}
        for trained in group:
            view = partial(eval_view, settings=trained.processor.views)
            device = next(trained.model.parameters()).device
            every = np.arange(len(studies))
            features[trained.method] = embed_pooled(
                trained.model, pack.pixels, every, view=view, device=device
            )
        for method, table in features.items():
            x = np.asarray(table, np.float32)
            scores = probe_scores(
                x[rows["train"]],
                labels[rows["train"]],
                x[rows["val"]],
                labels[rows["val"]],
                x[rows["test"]],
            )
            parts.setdefault(method, []).append((rows["test"], scores))
    statistics = {method: mean_auroc(labels, each) for method, each in parts.items()}
    found: dict[str, Any] = {
        "rows": len(pack.rows),
        "patients": len(set(patients)),
        "auroc": {},
        "against random": {},
    }
    for method, statistic in statistics.items():
        values = bootstrap_columns(statistic, patients)
        found["auroc"][method] = {
            n: plain(v) for n, v in zip(("mean", *names), values, strict=True)
        }
        if method != RANDOM:
            found["against random"][method] = plain(
                paired_difference(statistic, statistics[RANDOM], patients)
            )
    return found


def mean_auroc(labels: Floats, parts: Sequence[tuple[NDArray[np.int64], Floats]]) -> Statistic:
    """Mean over ``parts`` (test rows [n], scores [n, M]), as a function of counts of all N rows ->
    [R, 1 + M].

    The first column is the mean over the M classes.
    """
    runs = [
        [(rows, auroc_statistic(labels[rows, m], scores[:, m])) for rows, scores in parts]
        for m in range(labels.shape[1])
    ]

    def statistic(counts: Floats) -> Floats:
        each = [
            np.mean([run(counts[:, rows]) for rows, run in of_class], axis=0) for of_class in runs
        ]
        return np.column_stack([np.mean(each, axis=0), *each])

    return statistic


def plain(found: Metric) -> dict[str, Any]:
    """An interval for the file, without its resamples."""
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "reason": found.reason,
    }


def lung_masks(data: Path) -> dict[str, Path]:
    """Picture's file name -> its lung mask."""
    with (data / "masks" / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        Path(row["image"]).name: data / "masks" / row["mask"]
        for row in rows
        if row["mask"].startswith("lungs/")
    }


def observed(study: Study) -> list[str]:
    """The first sentences of a report that state an observation."""
    said = read_report(study.report)
    return [s for s, observes in zip(said.sentences, said.is_observation, strict=True) if observes][
        :SENTENCES
    ]


def heat_maps(models: Sequence[Trained], masks: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """On held-out pictures with a lung mask: how much more heat lies in the lungs than in as large
    an area elsewhere (1 = the map knows nothing of lungs), and how alike the maps of two sentences
    of one report are (Pearson's r).
    """
    found: dict[str, dict[str, tuple[list[float], list[str]]]] = {}
    for trained in models:
        inside, alike = found.setdefault(
            trained.method, {"lungs": ([], []), "alike": ([], [])}
        ).values()
        for row in trained.corpus.rows["test"]:
            study = trained.corpus.studies[row]
            if study.image.name not in masks:
                continue
            lungs = read_mask(masks[study.image.name])
            heats = [
                predict.ground(trained.model, trained.processor, study.image, s).array
                for s in observed(study)
            ]
            for heat in heats:
                inside[0].append(float(heat[lungs].sum() / heat.sum() / lungs.mean()))
                inside[1].append(study.patient)
            for one, other in combinations(heats, 2):
                alike[0].append(float(np.corrcoef(one.ravel(), other.ravel())[0, 1]))
                alike[1].append(study.patient)
    return {
        method: {
            name: plain(bootstrap_columns(mean_statistic(values), patients)[0])
            | {"patients": len(set(patients))}
            for name, (values, patients) in named.items()
            if values
        }
        for method, named in found.items()
    }


def contact_sheet(trained: Trained, file: Path) -> None:
    """Held-out frontal pictures of different patients, each beside a heat map per sentence. Holds
    patients' pixels.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    chosen: dict[str, Study] = {}
    for row in trained.corpus.rows["test"]:
        study = trained.corpus.studies[row]
        if study.view != "L" and len(observed(study)) > 1:
            chosen.setdefault(study.patient, study)
    figure = Figure(figsize=(2.6 * (1 + SENTENCES), 3 * SHOWN), layout="constrained")
    axes = figure.subplots(SHOWN, 1 + SENTENCES, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for line, study in zip(axes, list(chosen.values())[:SHOWN], strict=False):
        heats = [
            predict.ground(trained.model, trained.processor, study.image, s)
            for s in observed(study)
        ]
        line[0].imshow(heats[0].image, cmap="gray")
        for axis, heat in zip(line[1:], heats, strict=False):
            axis.imshow(
                0.5 * heat.image[..., None] + 0.5 * colormaps["inferno"](heat.array)[..., :3]
            )
            axis.set_title("\n".join(textwrap.wrap(heat.phrase, 42)[:3]), fontsize=7)
    figure.suptitle(
        f"{trained.method}: held-out patients. Research use only, not a medical device."
    )
    figure.savefig(file, dpi=70)


def reading(corpus: Corpus) -> dict[str, Any]:
    """How the model reads the reports: length in its own pieces of words, and what did not fit."""
    tokens = (np.asarray(corpus.text.ids) != corpus.text.pad_id).sum(1)
    return {
        "median tokens": float(np.median(tokens)),
        "cut reports": corpus.text.truncated,
        "of": len(tokens),
    }


def run(
    data: Path,
    out: Path,
    *,
    init_from: Path | None = None,
    splits: int = 3,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything; returns what ``out/real_pairs.json`` holds."""
    began = time.perf_counter()
    models = []
    for split in range(splits):
        _log.info("split %d of %d", split + 1, splits)
        models.append(train(data, out, split, init_from=init_from, overrides=overrides))
    trained = time.perf_counter() - began
    every = [one for group in models for one in group]
    _log.info("retrieval, heat maps, linear probes")
    made, config = environment(), pretrain.load_recipe("sample-pairs", overrides)
    result: dict[str, Any] = {
        "commit": made["commit"],
        "date": made["started"][:10],
        "cpu": made["cpu"],
        "steps": config.train.steps,
        "batch size": config.train.batch_size,
        "init from": "" if init_from is None else checkpoint.load(init_from).path.name,
        "splits": [
            {
                **group[0].corpus.lock(),
                "reading": {
                    m.method: reading(m.corpus) for m in group if m.method in (PAIRS, PHANTOMS)
                },
            }
            for group in models
        ],
        "retrieval": {where: retrieval(models, where) for where in ("held out", "training")},
        "heat maps": heat_maps(every, lung_masks(data)),
        "probe": {
            name: probe(models, data / "classes" / name, classes)
            for name, classes in CLASSES.items()
        },
        "seconds of training": round(trained, 1),
    }
    for one in models[0]:
        contact_sheet(one, out / f"maps-{one.method.replace(', ', '-').replace(' ', '-')}.png")
    result["seconds"] = round(time.perf_counter() - began, 1)
    (out / "real_pairs.json").write_text(
        json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder with pairs/, masks/ and classes/"
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--init-from", type=Path, help="a run of phantom-tiny, such as the demo's")
    parser.add_argument("--splits", type=int, default=3, help="divisions of the patients")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="values that replace those of sample-pairs",
    )
    given = parser.parse_args()
    log_to_stderr()
    run(
        given.data,
        given.out,
        init_from=given.init_from,
        splits=given.splits,
        overrides=given.overrides,
    )
