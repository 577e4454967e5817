"""The demo: draw phantoms, pre-train, evaluate PLACE and two controls, write the results page."""

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
from place_cxr.core.results import RESULT_FILE, Result
from place_cxr.core.workers import refuse_if_spawned
from place_cxr.data.corpus import Corpus, StageProgress, prepare_corpus
from place_cxr.models.place import PlaceModel
from place_cxr.page import write_page
from place_cxr.phantom import write_phantom
from place_cxr.pretrain import PretrainConfig, build_untrained, load_recipe
from place_cxr.pretrain import run_pretraining as pretrain
from place_cxr.tasks import task_texts
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.engine import FractionsAndSeeds, ModelOrigin, make_task, run_task, task_title
from place_cxr.tasks.feature_cache import FeatureCache
from place_cxr.tasks.gallery import write_data_card, write_gallery
from place_cxr.training import checkpoint
from place_cxr.training.run_folder import environment, is_finished, refuse_foreign_folder

DEMO_STUDIES = 6000
DEMO_SIZE = 128  # pixels
DEMO_RECIPE = "phantom-tiny"
DEMO_SOURCE = "phantom"
# The controls' folders inside that of the run.
ITA_FOLDER, RANDOM_FOLDER = Path("baselines", "ita"), Path("baselines", "random")
# The ablations of the paper: PCMA is the pathology losses, CCE the correlation.
NO_PCMA = tuple(f"losses.pathology_{part}.weight=0" for part in ("pair", "image", "sentence"))
NO_CCE = ("losses.correlation.weight=0", "model.correlation=null")
ITA_ALONE = (*NO_PCMA, *NO_CCE)  # the image-report contrast of whole images remains
# Parts of a recipe that training does not complete; the model, for one, gets its vocabulary size.
_COMPARED_PARTS = {"views", "losses", "optim", "train"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DemoTask:
    """Settings of a task in the demo, and fractions of the training patients if it has a head."""

    settings: tuple[str, ...] = ()
    fractions: tuple[float, ...] = (1.0,)


# Heads are trained for fewer steps than by `place task`, so that the demo takes about ten minutes
# on two cores.
DEMO_TASKS: Mapping[str, DemoTask] = {
    "zero-shot": DemoTask(),
    "classification": DemoTask(fractions=(0.01, 0.1, 1.0)),
    "retrieval": DemoTask(),
    "grounding": DemoTask(),
    "segmentation": DemoTask(("steps=160", "batch_size=8", "lr=1e-2", "checks=2")),
    "detection": DemoTask(("steps=120", "batch_size=8", "lr=2e-3", "checks=2")),
    "report-generation": DemoTask(("steps=300", "beams=1", "examples=3")),
}
# The controls have no trained observations (V-PORs): their reports are written from patches.
CONTROL_SETTINGS = {"report-generation": ("vpors=false", "examples=0")}


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    studies: int = DEMO_STUDIES,
    overrides: tuple[str, ...] = (),
    progress: StageProgress = lambda what, done, total: None,
) -> Path:
    """Run the whole demo; returns the path of ``results.html``. A stopped demo continues.

    The phantoms are drawn beside ``out``, once for each number and seed. ``overrides`` change the
    recipe (tests). Raises PlaceError PL-R003 where ``out`` holds a finished demo of other settings.
    """
    refuse_if_spawned()
    started = time.perf_counter()
    refuse_foreign_folder(out)  # before minutes of drawing

    with _stage(1, f"drawing {studies} phantom studies"):
        manifest = _ensure_phantoms(
            out.parent / f"phantom-{studies}-{seed}", studies, seed, progress
        )

    values = (f"data.manifest={manifest}", f"train.seed={seed}", *overrides)
    config = load_recipe(DEMO_RECIPE, values)
    ita_config = load_recipe(DEMO_RECIPE, (*values, *ITA_ALONE))
    steps = config.train.steps

    with _stage(
        2, f"pre-training PLACE for {steps} steps on pairs of image and report, without any label"
    ):
        _train(config, out, device, overwrite, progress)

    with _stage(3, f"pre-training its control, ITA alone, for {steps} steps on the same pairs"):
        _train(ita_config, out / ITA_FOLDER, device, False, progress)

    with _stage(4, f"evaluating {len(DEMO_TASKS)} tasks on patients that were held out"):
        model, corpus = _evaluate_methods(config, ita_config, out, seed=seed, device=device)
    with _stage(5, "writing the page"):
        write_data_card(corpus, out)
        write_gallery(model, config, corpus, out, seed=seed)
        page = write_page(out, task_texts())

    _log.info("done in %.1f minutes", (time.perf_counter() - started) / 60)
    return page


def _evaluate_methods(
    config: PretrainConfig, ita_config: PretrainConfig, out: Path, *, seed: int, device: str
) -> tuple[PlaceModel, Corpus]:
    """Evaluate PLACE and its two controls on every task; returns PLACE and its data."""
    control_tasks = {
        name: replace(demo_task, settings=demo_task.settings + CONTROL_SETTINGS.get(name, ()))
        for name, demo_task in DEMO_TASKS.items()
    }
    seeds = (seed,)

    model, corpus = _load_run(out, config, device)
    evaluate_tasks(DEMO_TASKS, model, config, corpus, out / "tasks", method="PLACE", seeds=seeds)

    # ITA alone has a tokenizer of its own, so its data are read again.
    ita_model, ita_corpus = _load_run(out / ITA_FOLDER, ita_config, device)
    folder = out / ITA_FOLDER / "tasks"
    evaluate_tasks(
        control_tasks, ita_model, ita_config, ita_corpus, folder, method="ITA alone", seeds=seeds
    )

    # Random weights read the data as PLACE does.
    random_model = build_untrained(config, corpus, str(next(model.parameters()).device))
    folder = out / RANDOM_FOLDER / "tasks"
    evaluate_tasks(
        control_tasks, random_model, config, corpus, folder, method="random weights", seeds=seeds
    )

    return model, corpus


def _load_run(run: Path, config: PretrainConfig, device: str) -> tuple[PlaceModel, Corpus]:
    """The model of a finished run, and its data read with the run's own tokenizer."""
    model, processor = predict.load(run, device=device)
    corpus = prepare_corpus(
        config.data, max_tokens=processor.max_tokens, tokenizer=processor.tokenizer
    )
    return model, corpus


def evaluate_tasks(
    demo_tasks: Mapping[str, DemoTask],
    model: PlaceModel,
    config: PretrainConfig,
    corpus: Corpus,
    folder: Path,
    *,
    method: str,
    seeds: tuple[int, ...],
) -> None:
    """Evaluate a model of settings ``config`` on each task that lacks a current result."""
    data = EvaluationDataset.of(
        corpus, config.views, source=DEMO_SOURCE, max_tokens=config.model.text.max_tokens
    )
    # Shared by all tasks: each image is encoded once.
    feature_cache = FeatureCache()

    for name, demo_task in demo_tasks.items():
        task = make_task(name, data.studies, demo_task.settings)
        fractions_and_seeds = FractionsAndSeeds(demo_task.fractions, seeds)
        config_hash = demo_task_hash(config, demo_task, seeds)
        if _is_evaluated(folder / task_title(task) / DEMO_SOURCE, config_hash):
            continue

        _log.info("        %s: %s", method, name)
        run_task(
            task,
            model,
            data,
            folder,
            fractions_and_seeds,
            origin=ModelOrigin(method, environment()["commit"] or "", config_hash),
            feature_cache=feature_cache,
        )


def demo_task_hash(config: PretrainConfig, demo_task: DemoTask, seeds: tuple[int, ...]) -> str:
    """A hash of all settings that a result depends on: of the model and of the task."""
    settings = {
        "config": config.model_dump(mode="json"),
        "question": asdict(demo_task),
        "seeds": seeds,
    }

    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _train(
    config: PretrainConfig, run: Path, device: str, overwrite: bool, progress: StageProgress
) -> None:
    """Pre-train into ``run``, or continue there; a finished run of these settings is kept."""
    if overwrite or not is_finished(run):
        pretrain(
            config,
            run,
            resume="" if overwrite else "auto",
            overwrite=overwrite,
            device=device,
            progress=progress,
        )

        return

    trained_config = checkpoint.load(run).config
    compared = config.model_dump(mode="json", include=_COMPARED_PARTS)
    if any(trained_config.get(part) != value for part, value in compared.items()):
        raise PlaceError(
            "holds a finished demo of other settings",
            code="PL-R003",
            file=run,
            fix="use --overwrite, or another --out",
        )


def _is_evaluated(folder: Path, config_hash: str) -> bool:
    try:
        return Result.read(folder / RESULT_FILE).config_hash == config_hash
    except PlaceError:  # no result, or an unreadable one
        return False


def _ensure_phantoms(folder: Path, studies: int, seed: int, progress: StageProgress) -> Path:
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        # Renamed when complete: a folder of that name is never half drawn.
        unfinished = folder.with_name(f".{folder.name}.part")
        write_phantom(
            unfinished,
            studies,
            DEMO_SIZE,
            seed,
            progress=lambda done, total: progress("phantoms", done, total),
        )

        unfinished.rename(folder)

    return manifest


@contextmanager
def _stage(number: int, what: str) -> Iterator[None]:
    _log.info("[%d of 5] %s", number, what)
    start = time.perf_counter()
    yield
    _log.info("        took %.0f s", time.perf_counter() - start)
