"""One row of a benchmark, in a process of its own: pre-train a method with a seed, then fill its cells one by one."""

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
from place_cxr.benchmark.cell import ALL, Cost, Place, full_name, write_cell
from place_cxr.benchmark.plan import Asked, BenchmarkConfig, Row, as_yaml, cells, pretraining, task_values
from place_cxr.core.errors import PlaceError
from place_cxr.core.results import FILE, Origin, Result, hardware, split_digest
from place_cxr.core.settings import dump
from place_cxr.data.corpus import Corpus, prepare
from place_cxr.models.place import PlaceModel
from place_cxr.pretrain import PretrainConfig, untrained
from place_cxr.tasks import engine
from place_cxr.tasks.data import Evaluation, read_source
from place_cxr.tasks.feature_cache import Known
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.task import HeadTask, Rows, Task
from place_cxr.text.tokenizer import Tokenizer
from place_cxr.training import checkpoint
from place_cxr.training.loop import connect
from place_cxr.training.run_folder import RunFolder, environment

CONFIG = "benchmark.yaml"
RUN, SETTINGS = "run", "recipe.yaml"  # in a row's folder
BUSY = 75  # exit code: another process holds the row
PAIRS = "pairs"  # the data of pre-training
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """The encoder of a row, and the data sets that it is asked about."""

    model: Any
    device: torch.device
    commit: str  # of the code, as it was when this process began
    data: Mapping[str, Evaluation]  # by name
    known: Mapping[str, Known]  # by data set: what its questions share


def do_row(config: BenchmarkConfig, out: Path, row: Row, device: str = "auto") -> None:
    """Fill what is missing in a row. A row that another process works on is left to it: PL-R001."""
    folder = out / row.name
    with RunFolder.create(folder, resume=True) as held:
        todo = [asked for asked in cells(config, row.slug) if missing(config, out, row, asked)]
        if todo:
            subject = _subject(config, out, row, device)
            for asked in todo:
                _log.info("%s: %s, %g %%", row.name, asked.question.task, 100 * asked.fraction)
                _fill(config, out, row, asked, subject)
        held.status("finished")


def missing(config: BenchmarkConfig, out: Path, row: Row, asked: Asked) -> list[str]:
    """The sites of which a cell lacks a result of these very settings."""
    wanted = cell_hash(config, row, asked)
    found = []
    for site in config.sites or (ALL,):
        try:
            done = Result.read(place_of(config, row, asked, site).folder(out) / FILE).config_hash == wanted
        except PlaceError:
            done = False
        if not done:
            found.append(site)
    return found


def place_of(config: BenchmarkConfig, row: Row, asked: Asked, site: str) -> Place:
    """Where a cell lies."""
    question, mode = asked.question, config.methods[row.slug].mode
    task = engine.title(question.task, mode, question.profile)
    return Place(row.slug, row.seed, task, question.source or PAIRS, asked.fraction, site)


def cell_hash(config: BenchmarkConfig, row: Row, asked: Asked) -> str:
    """Of everything that a cell's numbers depend on, but for the code."""
    method = config.methods[row.slug]
    told: dict[str, Any] = {
        "encoder": pretraining(config, row, Path()).model_dump(mode="json"),
        "phantom": config.phantom.model_dump() if config.phantom else None,
        "trained": [method.trained, method.run, method.mode],
        "settings": task_values(method, asked),
        "source": config.sources[asked.question.source].model_dump() if asked.question.source else None,
        "fraction": asked.fraction,
        "columns": asked.question.columns,
    }
    if asked.question.profile != "strict":
        told["profile"] = asked.question.profile
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def _subject(config: BenchmarkConfig, out: Path, row: Row, device: str) -> Subject:
    """The encoder, trained first where it has to be, and the data read as it reads them."""
    method, recipe = config.methods[row.slug], pretraining(config, row, out)
    commit = environment()["commit"] or ""
    folder = Path(method.run.format(seed=row.seed)) if method.run else out / row.name / RUN
    ours = method.trained and not method.run
    if ours:
        _claim(out / row.name, dump(pretraining(config, row, Path())))
    has_run = ours or bool(method.run)
    asked = list(cells(config, row.slug))
    pairs = None
    if not has_run or (ours and not _finished(folder)) or any(not one.question.source for one in asked):
        begun = bool(method.run) or checkpoint.begun(folder)  # then there is a tokenizer
        tokenizer = Tokenizer.load(checkpoint.load(folder).path / "tokenizer") if begun else None
        pairs = prepare(recipe.data, max_tokens=recipe.model.text.max_tokens, tokenizer=tokenizer)
    if ours:
        _pretrain(recipe, out / row.name, pairs, device)
    if has_run:
        model, processor = predict.load(folder, device=device)
        if not method.trained:
            torch.manual_seed(row.seed)
            model = PlaceModel(model.settings).to(next(model.parameters()).device).eval()
    else:
        assert pairs is not None
        model = untrained(recipe, pairs, str(connect(device).device))
        data, text = recipe.data, recipe.model.text
        processor = predict.Processor(
            pairs.tokenizer, recipe.views, data.pack_size, text.max_tokens, data.max_sentences
        )
    data_sets = {}
    if pairs is not None:
        data_sets[PAIRS] = Evaluation.of(pairs, processor.views, source=PAIRS, max_tokens=processor.max_tokens)
    for name in sorted({one.question.source for one in asked if one.question.source}):
        given = config.sources[name]
        rest = given.model_dump(exclude_unset=True, exclude={"source", "manifest"})
        data_sets[name] = read_source(given.source, given.manifest, processor, reports=False, given=rest)
    return Subject(model, next(model.parameters()).device, commit, data_sets, {name: Known() for name in data_sets})


def _claim(folder: Path, settings: str) -> None:
    """Say what is trained in ``folder``. Raises PL-R031 where a run of other settings lies there.

    ``settings`` are as they are wherever the benchmark's folder lies, so that it can be moved.
    """
    about = folder / SETTINGS
    if about.is_file() and about.read_text("utf-8") != settings:
        raise PlaceError("holds a run of other settings", code="PL-R031", file=folder / RUN, fix="choose another --out")
    about.write_text(settings, "utf-8")


def _pretrain(recipe: PretrainConfig, folder: Path, corpus: Corpus | None, device: str) -> None:
    """A finished run in ``folder/run``, and what it took; ``corpus`` is needed where it is not finished."""
    run = folder / RUN
    if not _finished(run):
        pretrain.run(recipe, run, resume="auto", device=device, corpus=corpus)
        place = connect(device).device
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # of this process so far; Linux has KiB
        if place.type == "cuda":
            memory = torch.cuda.max_memory_allocated(place)
        sizes = {name: value.numel() for name, value in checkpoint.load(run).weights.items()}
        encoder = sum(size for name, size in sizes.items() if name.startswith("image_encoder."))
        Cost(_seconds(run), round(memory / 1e9, 3), sum(sizes.values()), encoder, hardware()).write(folder)


def _finished(run: Path) -> bool:
    status = run / "STATUS"
    return status.is_file() and status.read_text("utf-8").startswith("finished")


def _seconds(run: Path) -> float:
    """Of training, over all sittings: pictures between two records over their rate, summed."""
    batch = checkpoint.load(run).config["train"]["batch_size"]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    steps = [0, *(record["step"] for record in records)]
    rates = [record.get("images_per_s") for record in records]
    return round(sum(batch * (b - a) / rate for a, b, rate in zip(steps, steps[1:], rates, strict=False) if rate), 1)


def _fill(config: BenchmarkConfig, out: Path, row: Row, asked: Asked, subject: Subject) -> None:
    """Answer one question with one share, and keep a result for each site."""
    method, question = config.methods[row.slug], asked.question
    data = subject.data[question.source or PAIRS]
    values = [f"{key}={as_yaml(value)}" for key, value in task_values(method, asked).items()]
    task = engine.make_task(question.task, data.studies, values, profile=question.profile, mode=method.mode)
    share = engine.Asked((asked.fraction or 1.0,), engine.fold_seeds(question.profile, row.seed))
    columns = [column.format(score=method.score, heat=method.heat) for column in question.columns]
    wanted = cell_hash(config, row, asked)
    sites = missing(config, out, row, asked)
    began = time.perf_counter()
    at_once = isinstance(task, HeadTask)
    known = subject.known[question.source or PAIRS]
    for site, found, rows in _answers(task, subject, data, known, out / row.name, share, sites):
        place = place_of(config, row, asked, site)
        metrics = task.score(found)
        lost = [name for name in columns if full_name(name, asked.fraction) not in metrics]
        if lost:
            raise PlaceError(
                f"{question.task} gives no {lost[0]!r}", code="PL-C002", fix="correct columns: of the benchmark"
            )
        origin = Origin(
            data.source,
            "test",
            split_digest([data.studies[r] for r in rows]),
            method.title,
            subject.commit,
            wanted,
            hardware(),
        )
        taken = (time.perf_counter() - began) / (len(sites) if at_once else 1)
        result = engine.result_of(task, share, origin, metrics, seconds=taken)
        found.write(place.folder(out))
        write_cell(place, out, result, columns)
        began = began if at_once else time.perf_counter()


def _answers(
    task: Task,
    subject: Subject,
    data: Evaluation,
    known: Known,
    folder: Path,
    share: engine.Asked,
    sites: Sequence[str],
) -> Iterator[tuple[str, Predictions, Rows]]:
    """(site, predictions, test rows). A head learns once; candidates of retrieval are of one site."""
    if isinstance(task, HeadTask):
        found, rows = engine.predict(task, subject.model, data, folder, share, known=known, device=subject.device)
        for site in sites:
            chosen = np.array([r for r in rows if site in (ALL, data.studies[r].site)], dtype=np.int64)
            yield site, found if site == ALL else found.of_site(site), chosen
        return
    for site in sites:
        test = data.rows["test"]
        here = np.array([r for r in test if site in (ALL, data.studies[r].site)], dtype=np.int64)
        part = replace(data, rows={**data.rows, "test": here})
        yield site, *engine.predict(task, subject.model, part, folder, share, known=known, device=subject.device)
