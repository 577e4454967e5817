"""What a task is: what it needs, which head, which loss, how it is scored. The engine does the
rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from place_cxr.core.records import Study
from place_cxr.core.results import Metric
from place_cxr.core.settings import Settings
from place_cxr.core.task_text import TaskText
from place_cxr.models.image import ImagePyramid
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.descriptions import StudyEmbeddings
from place_cxr.tasks.predictions import Predictions

Profile = Literal["strict", "mgca", "prior", "folds"]
Mode = Literal["frozen", "finetune"]
Reads = Literal["pooled", "maps", "report"]
# Numbers of rows of the source.
RowIndices = NDArray[np.int64]
# Rows of the source -> targets of the loss, row by row.
TargetFunction = Callable[[RowIndices], dict[str, Tensor]]
# Features and targets of all rows of a split, computed when called.
SplitLoader = Callable[[], tuple[ImagePyramid, dict[str, Tensor]]]
# Columns of the table of predictions: one list or array per column.
Columns = dict[str, Any]

PROFILES = {
    "strict": "strict: bugs of published protocols not repeated, splits by patient",
    "mgca": "mgca: as published with MGCA, its quirks included; without its random crops and "
    "jitter",
    "prior": "prior: five-fold by patient over all splits (3/5 train, 1/5 val, 1/5 test), "
    "positives only for boxes and masks",
    "folds": "folds: as strict, but five-fold by patient over all splits (3/5 train, 1/5 val, 1/5 "
    "test); the seed is the fold, so that seeds 0 to 4 test each patient once; a value is the "
    "mean over the folds in which it is defined, its interval over all tested patients",
}
FOLD_PROFILES = ("prior", "folds")


class TaskSettings(Settings):
    """Settings of every task."""

    findings: tuple[str, ...] = Field(
        (), description="names that are scored; empty: all that the source knows"
    )


class HeadSettings(TaskSettings):
    """How a head is trained. Values without a source are ours, found on phantoms."""

    steps: int = Field(300, ge=1, description="updates")
    epochs: int = Field(
        0, ge=0, description="passes over the training rows in place of steps; 0: steps counts"
    )
    batch_size: int = Field(32, ge=2, description="images of one update")
    linear: Literal["adamw", "muon"] = Field(
        "adamw", description="what steps the weights of linear layers"
    )
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    min_lr: float = Field(1e-6, ge=0, description="learning rate of the last step")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps that rise to the peak")
    weight_decay: float = Field(1e-4, ge=0)
    checks: int = Field(
        5, ge=1, description="looks at the loss on validation images; the best weights are kept"
    )
    patience: int = Field(
        0, ge=0, description="looks without a better loss after which none is kept; 0: never"
    )

    def in_words(self, *skipped: str) -> str:
        """What counts, as ``steps 300, batch size 32, AdamW 0.001 to 1e-06, ...``.

        Left out are ``skipped``, the names of settings that the signature states otherwise, and
        switches that are off here and by default: 0, false or nothing.
        """
        ignored = {
            "findings",
            "linear",
            "min_lr",
            *skipped,
            *(("steps", "checks") if self.epochs else ()),
        }
        return ", ".join(_setting_words(self, ignored))


_OPTIMIZER_NAMES = {"adamw": "AdamW", "muon": "Muon"}


def _setting_words(settings: Settings, ignored: Collection[str] = ()) -> Iterator[str]:
    """``name value`` of each setting that counts; settings within settings in brackets."""
    for name, value in settings:
        if name in ignored or not (value or type(settings).model_fields[name].default):
            continue
        words = name.replace("_", " ")
        if isinstance(value, Settings):
            yield f"{words} ({', '.join(_setting_words(value))})"
        elif isinstance(value, bool):
            yield words if value else f"no {words}"
        elif name == "lr" and isinstance(settings, HeadSettings):
            yield (
                f"{_OPTIMIZER_NAMES[settings.linear]} {value:g} to {min(value, settings.min_lr):g}"
            )
        else:
            yield f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}"


@dataclass(frozen=True)
class Task:
    """What a trained model is evaluated on. A subclass says what it needs and answers `score`.

    An instance is what the predictions carry with them: kind, profile, mode, names and settings.
    """

    # An instance of the class attribute `Settings`.
    settings: Any
    # Findings, classes or labels, in order.
    names: tuple[str, ...]
    profile: Profile = "strict"
    mode: Mode = "frozen"

    # How pages and tables explain the task.
    text: ClassVar[TaskText]
    # Of labels, masks, boxes, reports, views: checked before the run.
    needs: ClassVar[frozenset[str]] = frozenset()
    Settings: ClassVar[type[TaskSettings]] = TaskSettings

    @classmethod
    def defaults(cls, profile: Profile, mode: Mode) -> dict[str, Any]:
        """Values of settings that a profile and a mode change from those of ``Settings``."""
        return {}

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """The names for which these studies hold the truth."""
        raise NotImplementedError

    def usable(self, study: Study) -> bool:
        """Whether a study takes part, in training or in scoring."""
        return True

    def signature(self) -> str:
        """Everything that changes the numbers, in words."""
        raise NotImplementedError

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """Named metrics from the stored predictions alone."""
        raise NotImplementedError


@dataclass(frozen=True)
class HeadTask(Task):
    """A task with a head that learns from labelled studies.

    ``reads`` says what the head is fed: the pooled vector, an `ImagePyramid`, or `ReportFeatures`.
    ``predicted_splits`` are the splits that are predicted and stored: val where the score needs it.
    ``moving_batchnorm`` names profiles in which the batch statistics of a frozen encoder move all
    the same, a quirk of published code. What only some tasks have is a protocol of its own below.
    """

    reads: ClassVar[Reads] = "pooled"
    predicted_splits: ClassVar[tuple[str, ...]] = ("val", "test")
    moving_batchnorm: ClassVar[frozenset[Profile]] = frozenset()
    Settings: ClassVar[type[TaskSettings]] = HeadSettings

    @property
    def updates_batchnorm(self) -> bool:
        """Whether the frozen encoder's batch statistics move in training."""
        return self.mode == "frozen" and self.profile in self.moving_batchnorm

    def head(self, spec: Any) -> nn.Module:
        """A module from what ``reads`` names to a prediction; ``spec`` is its ``head_spec``."""
        raise NotImplementedError

    def targets(self, data: EvaluationDataset) -> TargetFunction:
        """What is true of rows of the source."""
        raise NotImplementedError

    def untrainable(self, targets: Mapping[str, Tensor]) -> dict[str, str]:
        """Names that cannot be learned from these training rows, and why.

        They are left out of means and named.
        """
        raise NotImplementedError

    def loss(self, prediction: Any, targets: Mapping[str, Tensor]) -> Tensor:
        """What is minimised, a mean over a batch."""
        raise NotImplementedError

    def predict(self, prediction: Any, data: EvaluationDataset, rows: RowIndices) -> Columns:
        """Predictions and truth of ``rows`` for the table, row by row."""
        raise NotImplementedError


@runtime_checkable
class HasClosedForm(Protocol):
    """A task whose head has an optimum that can be computed without steps."""

    def fit_closed_form(self, head: nn.Module, train: SplitLoader, val: SplitLoader) -> bool:
        """Fill ``head`` with the optimum; False where the settings ask for steps."""


@runtime_checkable
class HasBaselines(Protocol):
    """A task that stores the answers of trivial baselines beside those of its head."""

    def baseline_columns(
        self,
        table: Any,
        data: EvaluationDataset,
        train: RowIndices,
        pooled: Callable[[RowIndices], Tensor],
    ) -> Columns:
        """Columns for ``table``, the table of all test rows of one fraction and seed.

        ``train`` are the training rows, ``pooled`` gives the untouched model's features [N, C].
        """


@runtime_checkable
class HasFigures(Protocol):
    """A task that draws some of its predictions where the settings ask for it."""

    def save_figures(
        self,
        head_model: nn.Module,
        inputs: Callable[[RowIndices], Any],
        data: EvaluationDataset,
        rows: RowIndices,
        folder: Path,
    ) -> None:
        """Draw some test ``rows`` into ``folder``.

        Called once: with the largest fraction's first seed, and the ``inputs`` that ``head_model``
        was trained on.
        """


@dataclass(frozen=True)
class TextTask(Task):
    """A task that needs no head: images are compared with text."""

    def describe(self, model: Any, data: EvaluationDataset, embeddings: StudyEmbeddings) -> Columns:
        """Predictions and truth for the table, row by row of ``embeddings``.

        ``embeddings`` are the test rows as the model describes them.
        """
        raise NotImplementedError
