"""The demo: phantoms, pre-training, every task beside two controls, and a page, in minutes on two CPU cores."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from place_cxr import predict
from place_cxr.core.errors import PlaceError
from place_cxr.core.results import FILE, Result
from place_cxr.core.workers import refuse_if_spawned
from place_cxr.data.corpus import Corpus, Progress, prepare
from place_cxr.models.place import PlaceModel
from place_cxr.page import write_page
from place_cxr.phantom import write_phantom
from place_cxr.pretrain import PretrainConfig, load_recipe, untrained
from place_cxr.pretrain import run as pretrain
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.engine import Asked, make_task, run_task, title_of
from place_cxr.tasks.feature_cache import Known
from place_cxr.tasks.gallery import write_card, write_gallery
from place_cxr.training import checkpoint
from place_cxr.training.run_folder import environment, refuse_foreign

STUDIES = 6000
SIZE = 128  # pixels
RECIPE = "phantom-tiny"
SOURCE = "phantom"
NO_PCMA = tuple(f"losses.pathology_{part}.weight=0" for part in ("pair", "image", "sentence"))
NO_CCE = ("losses.correlation.weight=0", "model.correlation=null")
ITA = (*NO_PCMA, *NO_CCE)  # what is left matches whole pictures with whole reports
_COMPARED = {"views", "losses", "optim", "train"}  # parts of a recipe that nothing completes later
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """A task as the demo asks it: settings, and shares of the training patients where it has a head."""

    settings: tuple[str, ...] = ()
    fractions: tuple[float, ...] = (1.0,)


# Heads learn for fewer steps than by `place task`, so that all of it fits into ten minutes on two cores.
QUESTIONS: Mapping[str, Question] = {
    "zero-shot": Question(),
    "classification": Question(fractions=(0.01, 0.1, 1.0)),
    "retrieval": Question(),
    "grounding": Question(),
    "segmentation": Question(("steps=160", "batch_size=8", "lr=1e-2", "checks=2")),
    "detection": Question(("steps=120", "batch_size=8", "lr=2e-3", "checks=2")),
    "report-generation": Question(("steps=300", "beams=1", "examples=3")),
}
# Controls never trained observations (V-PORs): their reports are written from patches alone.
UNOBSERVED = {"report-generation": ("vpors=false", "examples=0")}


def run(
    out: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    studies: int = STUDIES,
    overrides: tuple[str, ...] = (),
    progress: Progress = lambda what, done, total: None,
) -> Path:
    """Everything from nothing; returns the path of ``results.html``. A demo that was stopped goes on where it was.

    The phantoms are drawn beside ``out``, once per number and seed. ``overrides`` change the recipe (tests). Raises
    PlaceError PL-R003 where ``out`` holds a finished demo of other settings.
    """
    refuse_if_spawned()
    began = time.perf_counter()
    refuse_foreign(out)  # before minutes of drawing
    with _stage(1, f"drawing {studies} phantom studies"):
        manifest = _phantoms(out.parent / f"phantom-{studies}-{seed}", studies, seed, progress)
    given = (f"data.manifest={manifest}", f"train.seed={seed}", *overrides)
    config, alone = load_recipe(RECIPE, given), load_recipe(RECIPE, (*given, *ITA))
    controls = {name: replace(q, settings=q.settings + UNOBSERVED.get(name, ())) for name, q in QUESTIONS.items()}
    baselines = out / "baselines"
    steps = config.train.steps
    with _stage(2, f"pre-training PLACE for {steps} steps on pairs of image and report, without any label"):
        _train(config, out, device, overwrite, progress)
    with _stage(3, f"pre-training its control, ITA alone, for {steps} steps on the same pairs"):
        _train(alone, baselines / "ita", device, False, progress)
    with _stage(4, f"asking {len(QUESTIONS)} tasks on patients that were held out"):
        model, processor = predict.load(out, device=device)
        corpus = prepare(config.data, max_tokens=processor.max_tokens, tokenizer=processor.tokenizer)
        answer(QUESTIONS, model, config, corpus, out / "tasks", method="PLACE", seeds=(seed,))
        ita, reader = predict.load(baselines / "ita", device=device)
        its = prepare(alone.data, max_tokens=reader.max_tokens, tokenizer=reader.tokenizer)
        answer(controls, ita, alone, its, baselines / "ita" / "tasks", method="ITA alone", seeds=(seed,))
        random = untrained(config, corpus, str(next(model.parameters()).device))
        folder = baselines / "random" / "tasks"
        answer(controls, random, config, corpus, folder, method="random weights", seeds=(seed,))
    with _stage(5, "writing the page"):
        write_card(corpus, out)
        write_gallery(model, config, corpus, out, seed=seed)
        page = write_page(out)
    _log.info("done in %.1f minutes", (time.perf_counter() - began) / 60)
    return page


def answer(
    questions: Mapping[str, Question],
    model: PlaceModel,
    config: PretrainConfig,
    corpus: Corpus,
    folder: Path,
    *,
    method: str,
    seeds: tuple[int, ...],
) -> None:
    """Every question to a model that was made as ``config`` says; those with an answer in ``folder`` are left out."""
    data = Evaluation.of(corpus, config.views, source=SOURCE, max_tokens=config.model.text.max_tokens)
    known = Known()
    for name, question in questions.items():
        task = make_task(name, data.studies, question.settings)
        asked, made = Asked(question.fractions, seeds), digest(config, question, seeds)
        if _answered(folder / title_of(task) / SOURCE, made):
            continue
        _log.info("        %s: %s", method, name)
        run_task(
            task,
            model,
            data,
            folder,
            asked,
            method=method,
            git=environment()["commit"] or "",
            config_hash=made,
            device=next(model.parameters()).device,
            known=known,
        )


def digest(config: PretrainConfig, question: Question, seeds: tuple[int, ...]) -> str:
    """Of all that decides an answer: how the model was trained, and how it is asked."""
    said = {"config": config.model_dump(mode="json"), "question": asdict(question), "seeds": seeds}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def _train(config: PretrainConfig, run: Path, device: str, overwrite: bool, progress: Progress) -> None:
    """Pre-train into ``run``, from the start or from where it was; nothing where it is finished."""
    if overwrite or not _finished(run):
        pretrain(config, run, resume="" if overwrite else "auto", overwrite=overwrite, device=device, progress=progress)
        return
    made = checkpoint.load(run).config
    if any(made.get(part) != value for part, value in config.model_dump(mode="json", include=_COMPARED).items()):
        problem, fix = "holds a finished demo of other settings", "use --overwrite, or another --out"
        raise PlaceError(problem, code="PL-R003", file=run, fix=fix)


def _answered(folder: Path, made: str) -> bool:
    try:
        return Result.read(folder / FILE).config_hash == made
    except PlaceError:  # none, or none that can be read
        return False


def _phantoms(folder: Path, studies: int, seed: int, progress: Progress) -> Path:
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        unfinished = folder.with_name(f".{folder.name}.part")
        write_phantom(unfinished, studies, SIZE, seed, progress=lambda done, total: progress("phantoms", done, total))
        unfinished.rename(folder)
    return manifest


def _finished(out: Path) -> bool:
    status = out / "STATUS"
    return status.is_file() and status.read_text(encoding="utf-8").startswith("finished")


@contextmanager
def _stage(number: int, what: str) -> Iterator[None]:
    _log.info("[%d of 5] %s", number, what)
    start = time.perf_counter()
    yield
    _log.info("        took %.0f s", time.perf_counter() - start)
