"""The first-results table: PLACE, its controls and ablations on phantoms, several seeds each.

python experiments/phantom_table.py --out runs/table --seeds 0 1 2 --jobs 2 python
experiments/phantom_table.py --out runs/table --only place ita python experiments/phantom_table.py
--out runs/smaller --seeds 0 --steps 240 --only place cce-5 select-max python
experiments/phantom_table.py --render-only runs/table [--ablations runs/smaller]

Draws the phantoms once, trains and evaluates ``OUT/METHOD-sSEED`` (what is there already is not
done again; what was stopped goes on), and writes docs/results.md from the result files. No number
is typed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from phantom_methods import METHODS, Method
from phantom_report import render
from phantom_runs import TASKS

from place_cxr.cli.console import log_to_stderr
from place_cxr.cli.demo import (
    DEMO_RECIPE,
    DEMO_SIZE,
    DEMO_SOURCE,
    DEMO_STUDIES,
    DemoTask,
    evaluate_tasks,
)

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = {name: DemoTask(fractions=(0.01, 0.1, 1.0)) for name in TASKS}
DRAWS = 3  # of the shares of labelled patients
_log = logging.getLogger("place_cxr.phantom_table")


def draw(folder: Path) -> Path:
    """The phantoms' manifest, drawn where it is not there."""
    from place_cxr.phantom import write_phantom

    manifest = folder / "manifest.csv"
    return manifest if manifest.is_file() else write_phantom(folder, DEMO_STUDIES, DEMO_SIZE, 0)


def finished(run: Path) -> bool:
    """Every task has its result."""
    return all((run / "tasks" / task / DEMO_SOURCE / "result.json").is_file() for task in TASKS)


def overrides(method: Method, manifest: Path, seed: int, extra: Sequence[str] = ()) -> list[str]:
    """What of the recipe a run changes."""
    return [f"data.manifest={manifest}", f"train.seed={seed}", *extra, *method.overrides]


def run_one(
    slug: str, seed: int, manifest: Path, run: Path, threads: int, extra: Sequence[str] = ()
) -> str:
    """Train and evaluate one method; returns its name."""
    import torch

    from place_cxr import predict
    from place_cxr.data.corpus import prepare_corpus
    from place_cxr.pretrain import build_untrained, load_recipe
    from place_cxr.pretrain import run_pretraining as pretrain
    from place_cxr.text.tokenizer import Tokenizer
    from place_cxr.training import checkpoint
    from place_cxr.training.run_folder import environment, is_finished

    torch.set_num_threads(threads)
    method, tokenizer = METHODS[slug], None
    config = load_recipe(DEMO_RECIPE, overrides(method, manifest, seed, extra))
    if method.trained:
        if not is_finished(run):
            pretrain(config, run, resume="auto")
        tokenizer = Tokenizer.load(checkpoint.load(run).path / "tokenizer")
    else:
        run.mkdir(parents=True, exist_ok=True)
        (run / "env.json").write_text(json.dumps(environment(), indent=1), "utf-8")
    corpus = prepare_corpus(
        config.data, max_tokens=config.model.text.max_tokens, tokenizer=tokenizer
    )
    model = predict.load(run)[0] if method.trained else build_untrained(config, corpus)
    seeds = tuple(range(seed, seed + DRAWS))
    evaluate_tasks(
        QUESTIONS, model, config, corpus, run / "tasks", method=method.title, seeds=seeds
    )
    return run.name


def wanted(only: Sequence[str], manifest: Path) -> list[str]:
    """Methods to run; an ablation that names what PLACE has anyway is PLACE, and left out."""
    from place_cxr.pretrain import load_recipe

    def resolved(slug: str) -> dict[str, object]:
        return load_recipe(DEMO_RECIPE, overrides(METHODS[slug], manifest, 0)).model_dump()

    place = resolved("place")
    return [
        slug
        for slug in only or METHODS
        if slug == "place" or not METHODS[slug].trained or resolved(slug) != place
    ]


def run_all(
    out: Path, seeds: Sequence[int], only: Sequence[str], jobs: int, extra: Sequence[str]
) -> None:
    """Every method with every seed that is not there yet, ``jobs`` at a time, seed by seed."""
    manifest = draw(out / "phantom")
    todo = [(slug, seed) for seed in seeds for slug in wanted(only, manifest)]
    left = [
        (slug, seed, out / f"{slug}-s{seed}")
        for slug, seed in todo
        if not finished(out / f"{slug}-s{seed}")
    ]
    _log.info("%d runs, %d of them to do", len(todo), len(left))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=log_to_stderr
    ) as pool:
        futures = [
            pool.submit(run_one, slug, seed, manifest, run, threads, extra)
            for slug, seed, run in left
        ]
        for number, future in enumerate(as_completed(futures), start=1):
            _log.info("%d of %d done: %s", number, len(left), future.result())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--only", nargs="+", choices=METHODS, default=[], metavar="METHOD", help=", ".join(METHODS)
    )
    parser.add_argument("--steps", type=int, help="of training, where other than the recipe's")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument(
        "--render-only",
        type=Path,
        metavar="RUNS_DIR",
        help="only write the documents, from these runs",
    )
    parser.add_argument(
        "--ablations",
        type=Path,
        metavar="RUNS_DIR",
        help="ablations made apart, on a budget of their own",
    )
    given = parser.parse_args()
    log_to_stderr()
    if given.render_only is None:
        extra = (
            [f"train.steps={given.steps}", f"train.save_every={given.steps}"] if given.steps else []
        )
        run_all(given.out, given.seeds, given.only, given.jobs, extra)
    main_runs = given.render_only or given.out
    render(main_runs, ROOT / "docs" / "results.md", ablations=given.ablations)


if __name__ == "__main__":
    main()
