"""A pre-trained run and its controls through the tasks: what the demo and the results tables are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from place_cxr.corpus import Corpus
from place_cxr.models.place import PlaceModel
from place_cxr.pretrain import PretrainConfig, complete
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.prompts import Prompt
from place_cxr.tasks.result import Result
from place_cxr.tasks.run import evaluate
from place_cxr.training.run_folder import environment


def evaluate_model(
    model: PlaceModel,
    config: PretrainConfig,
    corpus: Corpus,
    prompts: Mapping[str, Prompt],
    folder: Path,
    *,
    method: str,
    source: str,
    split: str = "test",
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Every task on ``split``; each result goes to ``folder/<task>/<source>/result.json``."""
    digest = hashlib.sha256(json.dumps(config.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
    results = evaluate(
        model,
        Evaluation.of(corpus, config.views, source=source, max_tokens=config.model.text.max_tokens),
        prompts,
        method=method,
        split=split,
        seed=config.train.seed,
        git=environment()["commit"] or "",
        config_hash=digest[:12],
        device=device,
        say=say,
    )
    for result in results:
        result.write(folder / result.task / result.source)
    return results


def untrained(config: PretrainConfig, corpus: Corpus, device: str = "cpu") -> PlaceModel:
    """The control: the same network with the random weights that a run of this seed starts from."""
    torch.manual_seed(config.train.seed)
    return PlaceModel(complete(config, corpus).model).to(device).eval()
