"""Classification without labels: does the image fit sentences that state a finding better than ones that deny it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from place_cxr.metrics.classification import auroc_statistic, average_precision_statistic, classification
from place_cxr.tasks import scores
from place_cxr.tasks.embed import Embedded, Phrases
from place_cxr.tasks.labels import label_table
from place_cxr.tasks.prompts import Prompt
from place_cxr.tasks.result import Metric

SIGNATURE = (
    "score = mean similarity to stating sentences - mean similarity to denying ones; instance = cosine of pooled "
    "vectors; observation = PCMA soft selection; mix = mean of both, each over its standard deviation across the "
    "scored images; uncertain and missing labels left out; 95 % percentile intervals over 1000 resamples of patients"
)
_METRICS = {"auroc": auroc_statistic, "average precision": average_precision_statistic}


def sentences(prompts: Mapping[str, Prompt]) -> list[str]:
    """All sentences in the order :func:`finding_scores` expects: per finding, stating ones, then denying ones."""
    return [sentence for prompt in prompts.values() for sentence in (*prompt.positive, *prompt.negative)]


def finding_scores(
    embedded: Embedded, phrases: Phrases, prompts: Mapping[str, Prompt]
) -> dict[str, NDArray[np.float32]]:
    """Scores [N, M] by variant (instance, observation, mix); larger means present. No threshold is implied."""
    contrast = _contrast(list(prompts.values()))
    mask = np.ones((len(phrases.vector), 1), dtype=bool)
    instance = scores.instance(embedded.instance_image, phrases.vector) @ contrast
    observation = scores.observation(embedded.visual, phrases.observation[:, None], mask) @ contrast
    return dict(zip(scores.VARIANTS, (instance, observation, scores.mix(instance, observation, axis=0)), strict=True))


def zero_shot(
    embedded: Embedded, phrases: Phrases, prompts: Mapping[str, Prompt], *, seed: int = 0
) -> dict[str, Metric]:
    """AUROC and average precision per finding and in the mean, for each variant, with intervals."""
    names = list(prompts)
    labels = label_table(embedded.studies, names)
    return {
        f"{variant}/{metric}/{name}": value
        for variant, table in finding_scores(embedded, phrases, prompts).items()
        for metric, statistic in _METRICS.items()
        for name, value in classification(
            labels, table, names, embedded.patients, statistic=statistic, seed=seed
        ).items()
    }


def _contrast(prompts: Sequence[Prompt]) -> NDArray[np.float32]:
    """[R, M]: 1 / count for a finding's stating sentences, -1 / count for its denying ones."""
    blocks = [[1 / len(p.positive)] * len(p.positive) + [-1 / len(p.negative)] * len(p.negative) for p in prompts]
    table = np.zeros((sum(map(len, blocks)), len(blocks)), dtype=np.float32)
    start = 0
    for column, block in enumerate(blocks):
        table[start : start + len(block), column] = block
        start += len(block)
    return table
