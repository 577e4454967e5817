"""One job of a benchmark in its own process: pre-train a method with a seed, fill its cells."""

from __future__ import annotations

import hashlib
import json
import logging
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from place_cxr import predict, pretrain
from place_cxr.benchmark.cell import (
    ALL_SITES,
    CellKey,
    PretrainingCost,
    full_metric_name,
    write_cell,
)
from place_cxr.benchmark.plan import (
    BenchmarkConfig,
    PlannedCell,
    WorkerJob,
    as_yaml,
    planned_cells,
    pretrain_config,
    task_settings,
)
from place_cxr.core.errors import PlaceError
from place_cxr.core.results import (
    RESULT_FILE,
    Metric,
    Provenance,
    Result,
    describe_hardware,
    split_digest,
)
from place_cxr.core.settings import dump_settings
from place_cxr.data.corpus import Corpus, prepare_corpus
from place_cxr.models.place import PlaceModel
from place_cxr.pretrain import PretrainConfig, build_untrained
from place_cxr.tasks import engine
from place_cxr.tasks.data import EvaluationDataset, read_evaluation_dataset
from place_cxr.tasks.feature_cache import FeatureCache
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.task import HeadTask, RowIndices, Task
from place_cxr.text.tokenizer import Tokenizer
from place_cxr.training import checkpoint
from place_cxr.training.loop import create_accelerator
from place_cxr.training.run_folder import RunFolder, environment, is_finished

CONFIG_FILE = "benchmark.yaml"
RUN_FOLDER, RECIPE_FILE = "run", "recipe.yaml"  # in the folder of a job
# Another process holds the job; EX_TEMPFAIL of sysexits.h.
BUSY_EXIT_CODE = 75
PAIRS_SOURCE = "pairs"  # name of the data of pre-training
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """The encoder of a job, and the data sets that it is evaluated on."""

    model: Any
    commit: str  # of the code, as it was when this process began
    data: Mapping[str, EvaluationDataset]  # by name
    feature_caches: Mapping[str, FeatureCache]  # by data set: shared by its tasks


def run_worker(config: BenchmarkConfig, out: Path, job: WorkerJob, device: str = "auto") -> None:
    """Fill the missing cells of a job. Raises PL-R001 where another process works on it."""
    folder = out / job.name
    with RunFolder.create(folder, resume=True) as run_folder:
        missing = missing_cells(config, out, job)
        if missing:
            run_folder.status("running")
            evaluated = _prepare_model(config, out, job, device)
            for planned_cell in missing:
                task, percent = planned_cell.question.task, 100 * planned_cell.fraction
                _log.info("%s: %s, %g %%", job.name, task, percent)
                _fill_cell(config, out, job, planned_cell, evaluated)

        run_folder.status("finished")


def missing_cells(config: BenchmarkConfig, out: Path, job: WorkerJob) -> list[PlannedCell]:
    """The cells of a job that lack a result for at least one site."""
    planned = planned_cells(config, job.slug)
    return [cell for cell in planned if missing_sites(config, out, job, cell)]


def missing_sites(
    config: BenchmarkConfig, out: Path, job: WorkerJob, planned_cell: PlannedCell
) -> list[str]:
    """The sites for which a cell lacks a result of these settings."""
    expected_hash = cell_hash(config, job, planned_cell)
    sites = []
    for site in config.sites or (ALL_SITES,):
        folder = planned_key(config, job, planned_cell, site).folder(out)
        try:
            measured_hash = Result.read(folder / RESULT_FILE).config_hash
        except PlaceError:  # no result, or an unreadable one
            measured_hash = ""

        if measured_hash != expected_hash:
            sites.append(site)

    return sites


def planned_key(
    config: BenchmarkConfig, job: WorkerJob, planned_cell: PlannedCell, site: str
) -> CellKey:
    """The key of a planned cell at a site."""
    question, mode = planned_cell.question, config.methods[job.slug].mode
    task = engine.format_task_title(question.task, mode, question.profile)
    return CellKey(
        job.slug, job.seed, task, question.source or PAIRS_SOURCE, planned_cell.fraction, site
    )


def cell_hash(config: BenchmarkConfig, job: WorkerJob, planned_cell: PlannedCell) -> str:
    """A hash of all settings that the numbers of a cell depend on; the code is not included."""
    method = config.methods[job.slug]
    source = planned_cell.question.source
    settings: dict[str, Any] = {
        "encoder": pretrain_config(config, job, Path()).model_dump(mode="json"),
        "phantom": config.phantom.model_dump() if config.phantom else None,
        "trained": [method.trained, method.run, method.mode],
        "settings": task_settings(method, planned_cell),
        "source": config.sources[source].model_dump() if source else None,
        "fraction": planned_cell.fraction,
        "columns": planned_cell.question.columns,
    }
    # Left out for the default, so that the hashes of such cells do not change.
    if planned_cell.question.profile != "strict":
        settings["profile"] = planned_cell.question.profile

    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _prepare_model(
    config: BenchmarkConfig, out: Path, job: WorkerJob, device: str
) -> EvaluatedModel:
    """Pre-train the encoder where the job needs it, and read the data with its processor."""
    method, recipe = config.methods[job.slug], pretrain_config(config, job, out)
    commit = environment()["commit"] or ""
    folder = Path(method.run.format(seed=job.seed)) if method.run else out / job.name / RUN_FOLDER
    pretrains_here = method.trained and not method.run
    has_run = pretrains_here or bool(method.run)
    if pretrains_here:
        _claim_run(out / job.name, dump_settings(pretrain_config(config, job, Path())))

    # Pairs are read only where something needs them, because reading them takes long.
    sources = {cell.question.source for cell in planned_cells(config, job.slug)}
    pairs = None
    if not has_run or "" in sources or (pretrains_here and not is_finished(folder)):
        begun = bool(method.run) or checkpoint.has_checkpoint(folder)  # then there is a tokenizer
        tokenizer = Tokenizer.load(checkpoint.load(folder).path / "tokenizer") if begun else None
        pairs = prepare_corpus(
            recipe.data, max_tokens=recipe.model.text.max_tokens, tokenizer=tokenizer
        )

    if pretrains_here:
        _pretrain(recipe, out / job.name, pairs, device)

    if has_run:
        model, processor = predict.load(folder, device=device)
        if not method.trained:
            torch.manual_seed(job.seed)
            model = PlaceModel(model.settings).to(next(model.parameters()).device).eval()
    else:
        assert pairs is not None
        model = build_untrained(recipe, pairs, str(create_accelerator(device).device))
        data, text = recipe.data, recipe.model.text
        processor = predict.Processor(
            pairs.tokenizer, recipe.views, data.pack_size, text.max_tokens, data.max_sentences
        )

    data_sets = _read_data_sets(config, sorted(sources - {""}), processor, pairs)
    caches = {name: FeatureCache() for name in data_sets}
    return EvaluatedModel(model, commit, data_sets, caches)


def _read_data_sets(
    config: BenchmarkConfig,
    sources: Sequence[str],
    processor: predict.Processor,
    pairs: Corpus | None,
) -> dict[str, EvaluationDataset]:
    """By name: the pairs of pre-training where they were read, and the labelled ``sources``."""
    data_sets = {}
    if pairs is not None:
        data_sets[PAIRS_SOURCE] = EvaluationDataset.of(
            pairs, processor.views, source=PAIRS_SOURCE, max_tokens=processor.max_tokens
        )

    for name in sources:
        settings = config.sources[name]
        data_sets[name] = read_evaluation_dataset(
            settings.source,
            settings.manifest,
            processor,
            reports=False,
            data_settings=settings.model_dump(exclude_unset=True, exclude={"source", "manifest"}),
        )

    return data_sets


def _claim_run(folder: Path, settings: str) -> None:
    """Write the settings of the run into ``folder``. Raises PL-R031 where they differ from its own.

    ``settings`` do not depend on the path of the benchmark's folder, so that it can be moved.
    """
    recipe_file = folder / RECIPE_FILE
    if recipe_file.is_file() and recipe_file.read_text("utf-8") != settings:
        raise PlaceError(
            "holds a run of other settings",
            code="PL-R031",
            file=folder / RUN_FOLDER,
            fix="choose another --out",
        )

    recipe_file.write_text(settings, "utf-8")


def _pretrain(recipe: PretrainConfig, folder: Path, corpus: Corpus | None, device: str) -> None:
    """Finish the run in ``folder/run``, and write what it cost.

    ``corpus`` is needed where the run is not finished.
    """
    run = folder / RUN_FOLDER
    if is_finished(run):
        return
    pretrain.run_pretraining(recipe, run, resume="auto", device=device, corpus=corpus)

    torch_device = create_accelerator(device).device
    if torch_device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(torch_device)
    else:
        # Of this process so far, in bytes; Linux counts in KiB.
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    sizes = {name: value.numel() for name, value in checkpoint.load(run).weights.items()}
    encoder = sum(size for name, size in sizes.items() if name.startswith("image_encoder."))
    PretrainingCost(
        seconds=_training_seconds(run),
        memory_gb=round(memory / 1e9, 3),
        parameters=sum(sizes.values()),
        encoder=encoder,
        hardware=describe_hardware(),
    ).write(folder)


def _training_seconds(run: Path) -> float:
    """Seconds of training over all sittings.

    Between two records: images over the images per second of the later record.
    """
    batch_size = checkpoint.load(run).config["train"]["batch_size"]
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    seconds, last_step = 0.0, 0

    for record in map(json.loads, lines):
        if rate := record.get("images_per_s"):
            seconds += batch_size * (record["step"] - last_step) / rate
        last_step = record["step"]

    return round(seconds, 1)


def _fill_cell(
    config: BenchmarkConfig,
    out: Path,
    job: WorkerJob,
    planned_cell: PlannedCell,
    evaluated: EvaluatedModel,
) -> None:
    """Run one task with one fraction, and write a result for each site that lacks one."""
    method, question = config.methods[job.slug], planned_cell.question
    source = question.source or PAIRS_SOURCE
    data, cache = evaluated.data[source], evaluated.feature_caches[source]
    settings = task_settings(method, planned_cell)
    values = [f"{key}={as_yaml(value)}" for key, value in settings.items()]
    task = engine.make_task(
        question.task, data.studies, values, profile=question.profile, mode=method.mode
    )

    seeds = engine.repetition_seeds(question.profile, job.seed)
    repetitions = engine.FractionsAndSeeds((planned_cell.fraction or 1.0,), seeds)
    columns = [column.format(score=method.score, heat=method.heat) for column in question.columns]
    sites = missing_sites(config, out, job, planned_cell)

    started = time.perf_counter()
    has_head = isinstance(task, HeadTask)
    predicted = _predict_sites(task, evaluated, data, cache, out / job.name, repetitions, sites)

    for site, predictions, rows in predicted:
        metrics = task.score(predictions)
        _check_columns(columns, planned_cell, metrics)
        provenance = Provenance(
            source=data.source,
            split="test",
            split_digest=split_digest([data.studies[r] for r in rows]),
            method=method.title,
            git=evaluated.commit,
            config_hash=cell_hash(config, job, planned_cell),
            hardware=describe_hardware(),
        )

        # A head learns once for all sites, so each gets an equal part of the seconds.
        seconds = (time.perf_counter() - started) / (len(sites) if has_head else 1)
        result = engine.make_result(task, repetitions, provenance, metrics, seconds=seconds)
        cell_key = planned_key(config, job, planned_cell, site)
        predictions.write(cell_key.folder(out))
        write_cell(cell_key, out, result, columns)
        if not has_head:
            started = time.perf_counter()


def _check_columns(
    columns: Sequence[str], planned_cell: PlannedCell, metrics: Mapping[str, Metric]
) -> None:
    """Raises PlaceError PL-C002 where the task gives no metric of a column's name."""
    for column in columns:
        if full_metric_name(column, planned_cell.fraction) not in metrics:
            raise PlaceError(
                f"{planned_cell.question.task} gives no {column!r}",
                code="PL-C002",
                fix="correct columns: of the benchmark",
            )


def _predict_sites(
    task: Task,
    evaluated: EvaluatedModel,
    data: EvaluationDataset,
    feature_cache: FeatureCache,
    folder: Path,
    repetitions: engine.FractionsAndSeeds,
    sites: Sequence[str],
) -> Iterator[tuple[str, Predictions, RowIndices]]:
    """(site, predictions, test rows) of every site.

    A head learns once, and its predictions are divided by site. A task without a head runs once for
    each site, because the candidates of retrieval are those of one site.
    """

    def predict_rows(dataset: EvaluationDataset) -> tuple[Predictions, RowIndices]:
        return engine.predict_task(
            task,
            evaluated.model,
            dataset,
            folder,
            repetitions,
            feature_cache=feature_cache,
        )

    if isinstance(task, HeadTask):
        predictions, rows = predict_rows(data)
        for site in sites:
            of_site = predictions if site == ALL_SITES else predictions.of_site(site)
            yield site, of_site, _rows_of_site(data, rows, site)

        return

    for site in sites:
        site_rows = _rows_of_site(data, data.rows["test"], site)
        yield site, *predict_rows(replace(data, rows={**data.rows, "test": site_rows}))


def _rows_of_site(data: EvaluationDataset, rows: RowIndices, site: str) -> RowIndices:
    chosen = [row for row in rows if site in (ALL_SITES, data.studies[row].site)]
    return np.array(chosen, dtype=np.int64)
