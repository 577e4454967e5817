"""The demo: phantoms, pre-training, evaluation beside random weights, and a page, in minutes on two CPU cores."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from place_cxr import predict
from place_cxr.corpus import Progress, prepare
from place_cxr.data.phantom import write_phantom
from place_cxr.data.tokenizer import Tokenizer
from place_cxr.data.workers import refuse_if_spawned
from place_cxr.evaluate import evaluate_model, untrained
from place_cxr.gallery import write_card, write_gallery
from place_cxr.page import write_page
from place_cxr.pretrain import load_recipe
from place_cxr.pretrain import run as pretrain
from place_cxr.tasks.prompts import read_prompts
from place_cxr.training import checkpoint
from place_cxr.training.run_folder import refuse_foreign

STUDIES = 6000
SIZE = 128  # pixels
RECIPE = "phantom-tiny"
SOURCE = "phantom"
_log = logging.getLogger(__name__)


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

    The phantoms are drawn beside ``out``, once per number and seed. ``overrides`` change the recipe (tests).
    """
    refuse_if_spawned()
    began = time.perf_counter()
    refuse_foreign(out)  # before minutes of drawing
    with _stage(1, f"drawing {studies} phantom studies"):
        manifest = _phantoms(out.parent / f"phantom-{studies}-{seed}", studies, seed, progress)
    config = load_recipe(RECIPE, [f"data.manifest={manifest}", f"train.seed={seed}", *overrides])
    with _stage(
        2, f"pre-training PLACE for {config.train.steps} steps on pairs of image and report, without any label"
    ):
        if overwrite or not _finished(out):
            pretrain(
                config, out, resume="" if overwrite else "auto", overwrite=overwrite, device=device, progress=progress
            )
    with _stage(3, "evaluating on patients that were held out, beside random weights"):
        model, _ = predict.load(out, device=device)
        tokenizer = Tokenizer.load(checkpoint.load(out).path / "tokenizer")
        corpus = prepare(config.data, max_tokens=config.model.text.max_tokens, tokenizer=tokenizer)
        prompts = read_prompts(Path(str(resources.files("place_cxr") / "recipes" / "prompts" / "phantom.yaml")))
        place = str(next(model.parameters()).device)
        evaluate_model(
            model, config, corpus, prompts, out / "tasks", method="PLACE", source=SOURCE, device=place, say=_log.info
        )
        random = untrained(config, corpus, place)
        folder = out / "baselines" / "random"
        evaluate_model(
            random, config, corpus, prompts, folder, method="random weights", source=SOURCE, device=place, say=_log.info
        )
    with _stage(4, "writing the page"):
        write_card(corpus, out)
        write_gallery(model, config, corpus, out, seed=seed)
        page = write_page(out)
    _log.info("done in %.1f minutes", (time.perf_counter() - began) / 60)
    return page


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
    _log.info("[%d of 4] %s", number, what)
    start = time.perf_counter()
    yield
    _log.info("        took %.0f s", time.perf_counter() - start)
