"""Classification without labels: does the image fit sentences that state a finding better than ones
that deny it?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, PRESENT, Study
from place_cxr.core.results import Metric
from place_cxr.core.task_text import Headline, MetricBlock, TaskText
from place_cxr.metrics.classification import (
    auroc_statistic,
    average_precision_statistic,
    classification_metrics,
)
from place_cxr.metrics.decisions import f1_statistic
from place_cxr.metrics.intervals import (
    RESAMPLES,
    bootstrap_columns,
    mean_statistic,
    undefined_metric,
)
from place_cxr.tasks import similarity
from place_cxr.tasks.aggregate import metrics_by_name
from place_cxr.tasks.class_scores import AUROC_IN_WORDS
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.descriptions import PhraseEmbeddings, StudyEmbeddings, embed_phrases
from place_cxr.tasks.labels import finding_names, label_table
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.prompts import Prompt, read_prompt_set
from place_cxr.tasks.retrieval import exclusive_class
from place_cxr.tasks.task import Columns, TaskSettings, TextTask

ZERO_SHOT_SIGNATURE = (
    "score = mean similarity to stating sentences - mean similarity to denying ones; instance = "
    "cosine of pooled "
    "vectors; observation = PCMA soft selection; mix = mean of both, each over its standard "
    "deviation across the "
    f"scored images; uncertain and missing labels left out; 95 % percentile intervals over "
    f"{RESAMPLES} resamples of "
    "patients"
)
_STATISTICS = {"auroc": auroc_statistic, "average precision": average_precision_statistic}


def prompt_sentences(prompts: Mapping[str, Prompt]) -> list[str]:
    """All sentences in the order :func:`finding_scores` expects: per finding, stating ones, then
    denying ones.
    """
    sentences: list[str] = []
    for prompt in prompts.values():
        sentences += (*prompt.positive, *prompt.negative)

    return sentences


def finding_scores(
    embedded: StudyEmbeddings, phrases: PhraseEmbeddings, prompts: Mapping[str, Prompt]
) -> dict[str, NDArray[np.float32]]:
    """Scores [N, M] by variant (instance, observation, mix); larger means present. No threshold is
    implied.
    """
    contrast = _contrast_matrix(list(prompts.values()))
    mask = np.ones((len(phrases.vector), 1), dtype=bool)
    instance = similarity.instance_scores(embedded.instance_image, phrases.vector) @ contrast
    observation = (
        similarity.observation_scores(embedded.visual, phrases.observation[:, None], mask)
        @ contrast
    )

    return dict(
        zip(
            similarity.SIMILARITY_VARIANTS,
            (instance, observation, similarity.mix_scores(instance, observation, axis=0)),
            strict=True,
        )
    )


_TEXT = TaskText(
    name="Zero-shot classification",
    short="zero-shot",
    question=(
        "Finding conditions from words alone: a picture is held against sentences that state a "
        "finding and sentences that deny it. No label teaches. AUROC .5 is guessing, 1 perfect."
    ),
    title="Finding conditions from words alone",
    says=(
        "No label was ever shown to the network. A picture is held against sentences such as "
        "“There is a pleural "
        f"effusion.” and “No pleural effusion.”, and the better fit wins. {AUROC_IN_WORDS}"
    ),
    blocks=(
        MetricBlock(
            "Every finding",
            "One row per finding, the mean over findings first.",
            "mix/auroc/*",
            0.5,
        ),
        MetricBlock(
            "Two ways to compare picture and words",
            "The whole picture with the whole sentence, the picture’s separate observations "
            "with the sentence, or the mean of both, which the other numbers use.",
            "*/auroc/macro",
            0.5,
        ),
    ),
    headline=Headline(
        "mix/auroc/macro",
        "Finding conditions from words alone",
        "Chance to rank a picture with a finding above one without: 0.5 is guessing, 1 perfect.",
        guess=0.5,
    ),
)


class ZeroShotSettings(TaskSettings):
    """Which sentences, and how they decide."""

    prompts: str = Field(
        "phantom",
        description="a shipped set, a YAML file, or chexzero: '<finding>', 'no <finding>'",
    )
    kind: Literal["multi-label", "multi-class"] = Field(
        "multi-label",
        description="multi-class: stating sentences alone, the best class wins [5x200]",
    )
    pool: Literal["mean", "max"] = Field(
        "mean", description="over the stating sentences of a class, multi-class only"
    )


@dataclass(frozen=True)
class ZeroShotClassification(TextTask):
    """Every finding for itself, stated against denied; or one class of several."""

    text: ClassVar[TaskText] = _TEXT
    settings: ZeroShotSettings
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    Settings: ClassVar[type[TaskSettings]] = ZeroShotSettings

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """Every finding with a label."""
        return tuple(finding_names(studies))

    def usable(self, study: Study) -> bool:
        """Some label is known; one class of several: exactly one, and nothing uncertain."""
        if self.settings.kind == "multi-class":
            return exclusive_class(study, self.names) >= 0
        return any(study.labels.get(name) in (PRESENT, ABSENT) for name in self.names)

    def prompts(self) -> dict[str, Prompt]:
        """The set's prompts of our names. Raises PlaceError PL-C030 as `read_prompt_set`, or if it
        has none of them.
        """
        if self.settings.prompts == "chexzero":
            return {name: Prompt(positive=(name,), negative=(f"no {name}",)) for name in self.names}
        available = read_prompt_set(self.settings.prompts)
        selected = {name: available[name] for name in self.names if name in available}
        if not selected:
            raise PlaceError(
                "no prompt for any finding of the source",
                code="PL-C030",
                fix="name another prompt set",
            )

        return selected

    def describe(self, model: Any, data: EvaluationDataset, embeddings: StudyEmbeddings) -> Columns:
        """``<variant>.<name>`` for names with prompts, and ``truth.<name>``."""
        prompts, device = self.prompts(), next(model.parameters()).device
        phrases = embed_phrases(model, data.tokenize, prompt_sentences(prompts), device=device)
        if self.settings.kind == "multi-class":
            tables = multi_class_scores(embeddings, phrases, prompts, self.settings.pool)
        else:
            tables = finding_scores(embeddings, phrases, prompts)

        truth = label_table(embeddings.studies, self.names)
        if self.settings.kind == "multi-class":
            truth = (truth == PRESENT).astype(np.float64)
        columns: Columns = {
            f"truth.{name}": truth[:, column] for column, name in enumerate(self.names)
        }

        for variant, table in tables.items():
            columns |= {
                f"{variant}.{name}": table[:, column] for column, name in enumerate(prompts)
            }

        return columns

    def signature(self) -> str:
        """Everything that changes the numbers."""
        prompts = self.prompts()
        sentence_count = (
            f"{self.settings.prompts}: {sum(len(p.positive) for p in prompts.values())} stating "
            f"sentences"
        )
        if self.settings.kind == "multi-class":
            return (
                f"prompts {sentence_count}; studies with exactly one of {', '.join(self.names)} "
                f"and nothing uncertain, that one with a prompt; score = {self.settings.pool} "
                f"similarity to a class's stating sentences, each class standardised over the "
                f"images, the largest wins; {ZERO_SHOT_SIGNATURE.partition('; ')[2]}"
            )

        return f"prompts {sentence_count}; {ZERO_SHOT_SIGNATURE}"

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """AUROC and average precision for each variant; one class of several: also F1 and top-1
        accuracy.
        """
        test = predictions.subset()
        metrics: dict[str, Metric] = {}
        names = [
            name
            for name in self.names
            if f"{similarity.SIMILARITY_VARIANTS[0]}.{name}" in test.table.column_names
        ]
        labels = test.numbers(*(f"truth.{name}" for name in names))
        if (
            self.settings.kind == "multi-class"
        ):  # an image whose class has no prompt has no right class
            has_answer = (labels == PRESENT).any(1)
            test, labels = (
                Predictions(test.about, test.table.filter(has_answer)),
                labels[has_answer],
            )

        patients = test.patients
        for variant in similarity.SIMILARITY_VARIANTS:
            table = test.numbers(*(f"{variant}.{name}" for name in names))
            for metric, statistic in _STATISTICS.items():
                values = classification_metrics(labels, table, names, patients, statistic=statistic)
                metrics |= {f"{variant}/{metric}/{name}": value for name, value in values.items()}

            if self.settings.kind == "multi-class":
                metrics |= _decision_metrics(variant, names, labels, table, test)

        names_without_prompt = [name for name in self.names if name not in names]

        return metrics | {
            f"mix/auroc/{name}": undefined_metric("no prompt in the set", len(labels))
            for name in names_without_prompt
        }


def multi_class_scores(
    embedded: StudyEmbeddings, phrases: PhraseEmbeddings, prompts: Mapping[str, Prompt], pool: str
) -> dict[str, NDArray[np.float32]]:
    """Scores [N, M] by variant: similarity to a class's stating sentences, each class standardised
    over the images.
    """
    # Columns of the stating sentences of each class, in the order of `prompt_sentences`.
    columns = []
    start = 0
    for prompt in prompts.values():
        sentences = (*prompt.positive, *prompt.negative)
        states = [sentence in prompt.positive for sentence in sentences]
        columns.append(start + np.flatnonzero(states))
        start += len(sentences)

    mask = np.ones((len(phrases.vector), 1), dtype=bool)
    by_phrase = (
        similarity.instance_scores(embedded.instance_image, phrases.vector),
        similarity.observation_scores(embedded.visual, phrases.observation[:, None], mask),
    )
    first = pool_and_standardize([by_phrase[0][:, phrase] for phrase in columns], pool)
    second = pool_and_standardize([by_phrase[1][:, phrase] for phrase in columns], pool)

    return dict(
        zip(
            similarity.SIMILARITY_VARIANTS,
            (first, second, (first + second) / np.float32(2)),
            strict=True,
        )
    )


def pool_and_standardize(
    similarities: Sequence[NDArray[np.float32]], pool: str
) -> NDArray[np.float32]:
    """Scores [N, M] from one table [N, sentences] a class: the mean or the most similar of its
    sentences (``max`` [GLoRIA]), each class standardised over the images. One image alone has
    nothing to be standardised over.
    """
    # A class whose sentences fit every image would win everywhere, so classes are standardised.
    table = np.stack(
        [scores.max(1) if pool == "max" else scores.mean(1) for scores in similarities], axis=1
    )
    spread = table.std(0)
    if len(table) > 1:
        table = (table - table.mean(0)) / np.where(spread > 0, spread, 1)

    return table.astype(np.float32)


def _decision_metrics(
    variant: str,
    names: Sequence[str],
    labels: NDArray[np.float64],
    table: NDArray[np.float64],
    test: Predictions,
) -> dict[str, Metric]:
    """F1 of each class, and the fraction of images whose best class is the true one."""
    decisions = table.argmax(1)[:, None] == np.arange(len(names))
    values = metrics_by_name(
        names,
        test.seeds,
        test.patients,
        lambda column, rows: f1_statistic(labels[rows, column], decisions[rows, column]),
        undefined_reason=lambda column: (
            "" if (labels[:, column] == PRESENT).any() else "no present rows"
        ),
        count_known=lambda column: len(labels),
    )
    correct = (decisions & (labels == PRESENT)).any(1).astype(np.float64)

    return {
        **{f"{variant}/f1/{name}": value for name, value in values.items()},
        f"{variant}/top-1 accuracy/all classes": bootstrap_columns(
            mean_statistic(correct), test.patients
        )[0],
    }


def _contrast_matrix(prompts: Sequence[Prompt]) -> NDArray[np.float32]:
    """[R, M]: 1 / count for a finding's stating sentences, -1 / count for its denying ones."""
    blocks = [
        [1 / len(p.positive)] * len(p.positive) + [-1 / len(p.negative)] * len(p.negative)
        for p in prompts
    ]
    table = np.zeros((sum(map(len, blocks)), len(blocks)), dtype=np.float32)
    start = 0

    for column, block in enumerate(blocks):
        table[start : start + len(block), column] = block
        start += len(block)

    return table
