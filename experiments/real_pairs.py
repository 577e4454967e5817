"""PLACE on real radiographs with text: a few hundred pairs, held-out patients, and two sets with
classes.

    python experiments/real_pairs.py --data $PLACE_TEST_DATA --out runs/real --init-from RUN
    python experiments/real_tables.py runs/real/real_pairs.json docs/real_data.md

The patients of the pairs are divided ``--splits`` times. For each division the recipe
``sample-pairs`` is trained from random weights and, with ``--init-from``, from a run on phantoms.
``--out`` receives the runs, ``real_pairs.json`` with all numbers, and contact sheets of heat maps.
The sheets show images of patients, so they stay on your machine. Needs ``pairs/``, ``masks/`` and
``classes/`` of the sample data (docs/data.md).
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
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from place_cxr import predict, pretrain
from place_cxr.cli.console import log_to_stderr
from place_cxr.core.records import SPLITS, Study
from place_cxr.core.results import Metric
from place_cxr.data.corpus import Corpus, prepare_corpus
from place_cxr.data.packs.cached import PixelPack, pack_pixels
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
# Two baselines of the probe that use no network.
SHAPE, THUMBNAIL = "shape and projection only", "8 x 8 thumbnail"
DIRECTIONS = ("image to report", "report to image")
KS = (1, 5)  # of R@k; the test pools have some 20 images
CLASSES = {"kermany": ("normal", "bacterial_pneumonia", "viral_pneumonia"), "nih": ("pneumonia",)}
PROBE_FRACTIONS = (0.6, 0.15, 0.25)  # of the patients: train, val, test
MAX_SENTENCES = 4  # of a report that get a heat map
SHEET_IMAGES = 6  # images on a contact sheet
_log = logging.getLogger("place_cxr.real_pairs")


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """One model, and the pairs as it reads them."""

    method: str
    model: PlaceModel
    corpus: Corpus
    processor: predict.Processor

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device


def train_methods(
    data: Path, out: Path, split: int, *, init_from: Path | None, overrides: Sequence[str]
) -> list[TrainedModel]:
    """All methods on one division of the pairs; ``split`` also seeds weights and batches."""
    values = [
        f"data.manifest={data}/pairs/manifest.csv",
        f"data.split_seed={split}",
        f"train.seed={split}",
    ]
    config = pretrain.load_recipe("sample-pairs", [*values, *overrides])

    def load_run(run: Path, method: str) -> TrainedModel:
        model, processor = predict.load(run)
        corpus = prepare_corpus(
            config.data, max_tokens=processor.max_tokens, tokenizer=processor.tokenizer
        )
        processor = replace(processor, views=config.views, pack_size=config.data.pack_size)
        return TrainedModel(method, model, corpus, processor)

    pretrain.run_pretraining(config, out / f"pairs-{split}")
    pairs = load_run(out / f"pairs-{split}", PAIRS)

    # The control has the same network and corpus, with the weights that the run of this seed starts
    # from.
    untrained = build_untrained(config, pairs.corpus, str(pairs.device))
    models = [replace(pairs, method=RANDOM, model=untrained), pairs]

    if init_from is not None:
        pretrain.run_pretraining(config, out / f"phantom-pairs-{split}", init_from=str(init_from))
        models.append(load_run(init_from, PHANTOMS))
        models.append(load_run(out / f"phantom-pairs-{split}", BOTH))

    return models


def embed(trained: TrainedModel, rows: NDArray[np.int64]) -> StudyEmbeddings:
    """The embeddings of the pairs of ``rows``."""
    corpus = trained.corpus
    return embed_studies(
        trained.model,
        corpus.pixels.pixels,
        corpus.text,
        rows,
        corpus.studies,
        view=partial(eval_view, settings=trained.processor.views),
        device=trained.device,
    )


def retrieval(models: Sequence[Sequence[TrainedModel]], pool: str) -> dict[str, Any]:
    """R@k on all held-out pairs, or on equally many training pairs.

    Queries of all splits are joined; intervals are over patients. Equal reports are all relevant,
    as in `tasks.retrieval`. A report without an observation under some tokenizer is left out for
    all methods. Guessing is a score that is the same for all.
    """
    hits: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    patients: list[str] = []

    for group in models:
        corpus = group[0].corpus
        rows = corpus.rows["test"]
        if pool == "training":
            # As many candidates as in the test pool: R@k depends on their number.
            generator = np.random.default_rng(0)
            rows = np.sort(generator.choice(corpus.rows["train"], len(rows), replace=False))

        embeddings = {trained.method: embed(trained, rows) for trained in group}
        # All methods must be scored on the same reports.
        has_text = [e.textual_mask.any(1) for e in embeddings.values()]
        scored = np.flatnonzero(np.all(has_text, axis=0))

        scores = {GUESSING: np.zeros((len(scored), len(scored)))}
        for method, embedding in embeddings.items():
            scores[method] = compute_similarities(embedding, scored)["mix"]

        keys = next(iter(embeddings.values())).report_key[scored]
        relevant = relevance(keys, keys)
        for method, matrix in scores.items():
            for direction, queries in zip(DIRECTIONS, (matrix, matrix.T), strict=True):
                hit = first_hit(queries, relevant)
                recall = np.stack([hit.recall_at_k(k) for k in KS], axis=1)
                hits.setdefault((method, direction), []).append(recall)

        patients += [corpus.studies[row].patient for row in rows[scored]]

    result: dict[str, Any] = {}
    for (method, direction), parts in hits.items():
        numbers = result.setdefault(method, {"patients": len(set(patients))})
        intervals = bootstrap_columns(mean_statistic(np.concatenate(parts)), patients)

        for k, interval in zip(KS, intervals, strict=True):
            numbers[f"{direction}, R@{k}"] = as_dict(interval)

    return result


def read_classes(folder: Path, names: Sequence[str]) -> list[Study]:
    """Studies of one class folder, labeled 1 or 0 for each of ``names``."""
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
    models: Sequence[Sequence[TrainedModel]], folder: Path, names: Sequence[str]
) -> dict[str, Any]:
    """AUROC of a linear probe, one class against the rest.

    The mean is over splits of the patients of the set; each split has its own models.
    """
    studies = read_classes(folder, names)
    pack = pack_pixels(studies, models[0][0].processor.pack_size)
    labels, patients = label_table(studies, names), [study.patient for study in studies]
    baselines = _baseline_features(pack, studies)

    parts: dict[str, list[tuple[NDArray[np.int64], Floats]]] = {}
    for seed, group in enumerate(models):
        split = [study.split for study in split_by_patient(studies, seed, PROBE_FRACTIONS)]
        rows = {name: np.array([row for row in pack.rows if split[row] == name]) for name in SPLITS}

        features = dict(baselines)
        for trained in group:
            features[trained.method] = embed_pooled(
                trained.model,
                pack.pixels,
                np.arange(len(studies)),
                view=partial(eval_view, settings=trained.processor.views),
                device=trained.device,
            )

        for method, table in features.items():
            x = np.asarray(table, np.float32)
            # The probe learns on train, chooses its penalty on val, and is scored on test.
            fit = (x[rows["train"]], labels[rows["train"]])
            choose = (x[rows["val"]], labels[rows["val"]])
            scores = probe_scores(*fit, *choose, x[rows["test"]])
            parts.setdefault(method, []).append((rows["test"], scores))

    result: dict[str, Any] = {
        "rows": len(pack.rows),
        "patients": len(set(patients)),
        "auroc": {},
        "against random": {},
    }
    statistics = {method: mean_auroc(labels, scores) for method, scores in parts.items()}

    for method, statistic in statistics.items():
        intervals = bootstrap_columns(statistic, patients)
        columns = zip(("mean", *names), intervals, strict=True)
        result["auroc"][method] = {name: as_dict(interval) for name, interval in columns}

        # Paired: the same resamples of patients for both methods give a narrower interval.
        if method != RANDOM:
            difference = paired_difference(statistic, statistics[RANDOM], patients)
            result["against random"][method] = as_dict(difference)

    return result


def _baseline_features(pack: PixelPack, studies: Sequence[Study]) -> dict[str, Floats]:
    """Features [N, F] that need no network: a thumbnail; the aspect ratio and the projection."""
    count, size = len(studies), pack.pixels.shape[-1]

    # Mean over each of the 8 x 8 blocks of an image.
    blocks = pack.pixels.reshape(count, 8, size // 8, 8, size // 8).mean((2, 4))
    aspect = np.log(pack.letterboxes[:, 1] / pack.letterboxes[:, 0])
    is_pa = [study.view == "PA" for study in studies]
    return {SHAPE: np.column_stack([aspect, is_pa]), THUMBNAIL: blocks.reshape(count, -1)}


def mean_auroc(labels: Floats, parts: Sequence[tuple[NDArray[np.int64], Floats]]) -> Statistic:
    """Mean AUROC over ``parts`` (test rows [n], scores [n, M]), with the mean of the classes first.

    The statistic maps counts of all N rows [R, N] to [R, 1 + M].
    """
    classes = []
    for m in range(labels.shape[1]):
        classes.append([(rows, auroc_statistic(labels[rows, m], s[:, m])) for rows, s in parts])

    def statistic(counts: Floats) -> Floats:
        means = []
        for splits in classes:
            means.append(np.mean([auroc(counts[:, rows]) for rows, auroc in splits], axis=0))

        return np.column_stack([np.mean(means, axis=0), *means])

    return statistic


def as_dict(metric: Metric) -> dict[str, Any]:
    """A value with its interval for the JSON file, without its resamples."""
    return {name: getattr(metric, name) for name in ("value", "low", "high", "n", "reason")}


def lung_masks(data: Path) -> dict[str, Path]:
    """File name of an image -> its lung mask."""
    with (data / "masks" / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["mask"].startswith("lungs/")]

    return {Path(row["image"]).name: data / "masks" / row["mask"] for row in rows}


def observations(study: Study) -> list[str]:
    """The first sentences of a report that state an observation."""
    report = read_report(study.report)
    flagged = zip(report.sentences, report.is_observation, strict=True)
    return [sentence for sentence, is_observation in flagged if is_observation][:MAX_SENTENCES]


def heat_maps(
    models: Sequence[TrainedModel], masks: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """Two numbers on held-out images with a lung mask.

    ``lungs``: heat in the lungs, relative to an area of the same size with average heat (1 = the
    map does not depend on the lungs). ``alike``: Pearson's r of the maps of two sentences of one
    report.
    """
    values: dict[tuple[str, str], list[float]] = {}
    patients: dict[tuple[str, str], list[str]] = {}

    def add(method: str, name: str, patient: str, value: float) -> None:
        values.setdefault((method, name), []).append(value)
        patients.setdefault((method, name), []).append(patient)

    for trained in models:
        for row in trained.corpus.rows["test"]:
            study = trained.corpus.studies[row]
            if study.image.name not in masks:
                continue

            lungs = read_mask(masks[study.image.name])
            maps = [
                predict.ground(trained.model, trained.processor, study.image, sentence).array
                for sentence in observations(study)
            ]

            # Fraction of the heat in the lungs, over the fraction of the area that they fill.
            for heat in maps:
                inside = float(heat[lungs].sum() / heat.sum() / lungs.mean())
                add(trained.method, "lungs", study.patient, inside)

            for first, second in combinations(maps, 2):
                correlation = float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
                add(trained.method, "alike", study.patient, correlation)

    result: dict[str, dict[str, Any]] = {trained.method: {} for trained in models}
    for (method, name), numbers in values.items():
        ids = patients[method, name]
        interval = bootstrap_columns(mean_statistic(numbers), ids)[0]
        result[method][name] = as_dict(interval) | {"patients": len(set(ids))}

    return result


def contact_sheet(trained: TrainedModel, file: Path) -> None:
    """Held-out frontal images of different patients, each beside one heat map per sentence.

    The file contains pixels of patients.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    # One study per patient: the first that has at least two sentences to compare.
    chosen: dict[str, Study] = {}
    for row in trained.corpus.rows["test"]:
        study = trained.corpus.studies[row]
        if study.view != "L" and len(observations(study)) > 1:
            chosen.setdefault(study.patient, study)

    size = (2.6 * (1 + MAX_SENTENCES), 3 * SHEET_IMAGES)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(SHEET_IMAGES, 1 + MAX_SENTENCES, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")

    for line, study in zip(axes, list(chosen.values())[:SHEET_IMAGES], strict=False):
        heats = [
            predict.ground(trained.model, trained.processor, study.image, sentence)
            for sentence in observations(study)
        ]
        line[0].imshow(heats[0].image, cmap="gray")

        for axis, heat in zip(line[1:], heats, strict=False):
            colors = colormaps["inferno"](heat.array)[..., :3]
            axis.imshow(0.5 * heat.image[..., None] + 0.5 * colors)
            axis.set_title("\n".join(textwrap.wrap(heat.phrase, 42)[:3]), fontsize=7)

    title = f"{trained.method}: held-out patients. Research use only, not a medical device."
    figure.suptitle(title)
    figure.savefig(file, dpi=70)


def report_lengths(corpus: Corpus) -> dict[str, Any]:
    """Length of the reports in the tokens of a model, and how many were cut."""
    tokens = (np.asarray(corpus.text.ids) != corpus.text.pad_id).sum(1)
    return {
        "median tokens": float(np.median(tokens)),
        "cut reports": corpus.text.truncated,
        "of": len(tokens),
    }


def run_experiment(
    data: Path,
    out: Path,
    *,
    init_from: Path | None = None,
    splits: int = 3,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Train, evaluate and write everything; return the content of ``out/real_pairs.json``."""
    began = time.perf_counter()
    models = []
    for split in range(splits):
        _log.info("split %d of %d", split + 1, splits)
        models.append(train_methods(data, out, split, init_from=init_from, overrides=overrides))
    training_seconds = time.perf_counter() - began

    _log.info("retrieval, heat maps, linear probes")
    machine, config = environment(), pretrain.load_recipe("sample-pairs", overrides)
    every_model = list(chain.from_iterable(models))

    result: dict[str, Any] = {
        "commit": machine["commit"],
        "date": machine["started"][:10],
        "cpu": machine["cpu"],
        "steps": config.train.steps,
        "batch size": config.train.batch_size,
        "init from": "" if init_from is None else checkpoint.load(init_from).path.name,
        "splits": [_split_facts(group) for group in models],
        "retrieval": {pool: retrieval(models, pool) for pool in ("held out", "training")},
        "heat maps": heat_maps(every_model, lung_masks(data)),
        "probe": {
            name: probe(models, data / "classes" / name, classes)
            for name, classes in CLASSES.items()
        },
        "seconds of training": round(training_seconds, 1),
    }

    for trained in models[0]:
        name = trained.method.replace(", ", "-").replace(" ", "-")
        contact_sheet(trained, out / f"maps-{name}.png")

    result["seconds"] = round(time.perf_counter() - began, 1)
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    (out / "real_pairs.json").write_text(text, encoding="utf-8")
    return result


def _split_facts(group: Sequence[TrainedModel]) -> dict[str, Any]:
    """Sizes and digests of one division, and how its two tokenizers read the reports."""
    reading = {}
    for trained in group:
        if trained.method in (PAIRS, PHANTOMS):
            reading[trained.method] = report_lengths(trained.corpus)

    return {**group[0].corpus.lock(), "reading": reading}


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
    arguments = parser.parse_args()
    log_to_stderr()
    run_experiment(
        arguments.data,
        arguments.out,
        init_from=arguments.init_from,
        splits=arguments.splits,
        overrides=arguments.overrides,
    )
