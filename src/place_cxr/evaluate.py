"""A pre-trained run and its controls through the tasks: what the demo and the results tables are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from place_cxr import predict
from place_cxr.corpus import Corpus
from place_cxr.data.reports import ReportText
from place_cxr.data.transforms import eval_view
from place_cxr.models.place import PlaceModel
from place_cxr.pretrain import PretrainConfig, complete
from place_cxr.tasks.prompts import Prompt
from place_cxr.tasks.result import Result
from place_cxr.tasks.run import Evaluation, evaluate
from place_cxr.training.run_folder import environment


def evaluate_model(
    model: PlaceModel,
    config: PretrainConfig,
    corpus: Corpus,
    prompts: dict[str, Prompt],
    folder: Path,
    *,
    method: str,
    split: str = "test",
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Every task on ``split``; each result goes to ``folder/<task>/<source>/result.json``."""
    source = config.name if config.data.source == "manifest" else config.data.source
    text = config.model.text.max_tokens

    def tokenize(phrases: Any) -> Any:
        reports = [ReportText((phrase,), (True,), "whole") for phrase in phrases]
        return corpus.tokenizer.encode(reports, text, 1)

    data = Evaluation(
        source=source,
        studies=corpus.studies,
        pixels=corpus.pixels.pixels,
        letterboxes=[corpus.pixels.letterbox(row) for row in range(len(corpus.studies))],
        reports=corpus.text,
        tokenize=tokenize,
        view=lambda pixels: eval_view(pixels, config.views),
        view_size=config.views.size,
    )
    digest = hashlib.sha256(json.dumps(config.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:12]
    results = evaluate(
        model,
        data,
        prompts,
        method=method,
        split=split,
        seed=config.train.seed,
        git=environment()["commit"] or "",
        config_hash=digest,
        device=device,
        say=say,
    )
    for result in results:
        result.write(folder / result.task / result.source)
    return results


def trained(run: Path, device: str = "cpu") -> PlaceModel:
    """The model of a run's newest checkpoint."""
    return predict.load(run, device=device)[0]


def untrained(config: PretrainConfig, corpus: Corpus, device: str = "cpu") -> PlaceModel:
    """The control: the same network with the random weights that the run started from."""
    torch.manual_seed(config.train.seed)
    return PlaceModel(complete(config, corpus).model).to(device).eval()
