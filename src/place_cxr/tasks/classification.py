"""Which findings are there: a linear layer on the pooled vector, on frozen features or with the
encoder fine-tuned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from place_cxr.core.records import PRESENT, Study
from place_cxr.core.results import Metric
from place_cxr.core.task_text import FRACTION_SLOT, Headline, MetricBlock, TaskText
from place_cxr.metrics.classification import UncertainPolicy, binary_labels, why_undefined
from place_cxr.metrics.decisions import CALIBRATION_BINS
from place_cxr.metrics.intervals import RESAMPLES
from place_cxr.models.image import ImagePyramid, PyramidSpec
from place_cxr.tasks.class_scores import AUROC_IN_WORDS, MIN_GROUP_STUDIES, class_scores
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.labels import finding_names, raw_labels
from place_cxr.tasks.linear_probe import PENALTIES, best_probe
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.task import (
    Columns,
    HeadSettings,
    HeadTask,
    Mode,
    Profile,
    RowIndices,
    SplitLoader,
    TargetFunction,
    TaskSettings,
)

# CheXpert's five competition findings and what its followers make of "uncertain" [GLoRIA, MGCA].
CHEXPERT_UNCERTAIN_POLICIES: dict[str, UncertainPolicy] = {
    "Atelectasis": "present",
    "Cardiomegaly": "absent",
    "Consolidation": "absent",
    "Edema": "present",
    "Pleural Effusion": "present",
}
# Logit of a class without training rows, where one class of several is predicted.
_NEVER_LOGIT = -30.0


_TEXT = TaskText(
    name="Classification",
    short="classification",
    question=(
        "Which findings are in a picture? Learned from labels of few, more or all training "
        "patients. AUROC is the chance that a picture with a finding is ranked above one without: "
        ".5 is guessing, 1 perfect."
    ),
    title="Learning from few labels",
    says=(
        "A simple classifier (a weighted sum of what the network says of a picture) is taught with "
        "labels of few or "
        f"all training patients. {AUROC_IN_WORDS}"
    ),
    blocks=(
        MetricBlock(
            "By share of labelled patients",
            "Mean over findings. Good descriptions need few labels.",
            "*/auroc/macro",
            0.5,
        ),
        MetricBlock(
            "Every finding",
            "One row per finding, the mean first.",
            f"{FRACTION_SLOT}/auroc/*",
            0.5,
        ),
    ),
    headline=Headline(
        f"{FRACTION_SLOT}/auroc/macro",
        "Finding conditions with labels",
        "The same score after a simple classifier was taught with labels.",
        guess=0.5,
    ),
    has_head=True,
)


class ClassificationSettings(HeadSettings):
    """Labels and how the linear layer is found."""

    kind: Literal["multi-label", "multi-class"] = "multi-label"
    uncertain: UncertainPolicy | dict[str, UncertainPolicy] = Field(
        "ignore", description="for all, or by finding"
    )
    unmentioned: Literal["ignore", "absent"] = Field(
        "ignore", description="what an empty label means"
    )
    exact: bool = Field(True, description="frozen: the optimum itself, not steps towards it")


class PooledHead(nn.Module):
    """One linear layer on the pooled vector; zero at first, so that nothing is guessed."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: ImagePyramid) -> Tensor:
        """Logits [B, M]."""
        return self.linear(features.pooled)


@dataclass(frozen=True)
class Classification(HeadTask):
    """Multi-label with unknown labels left out, or one class of several."""

    text: ClassVar[TaskText] = _TEXT
    settings: ClassificationSettings
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    Settings: ClassVar[type[TaskSettings]] = ClassificationSettings

    @classmethod
    def defaults(cls, profile: Profile, mode: Mode) -> dict[str, Any]:
        """[MGCA] linear: AdamW 5e-4, decay 1e-6, 48 images, 50 epochs, patience 10; fine-tuning
        steps are ours.
        """
        values: dict[str, Any] = {"lr": 1e-4, "weight_decay": 0.05} if mode == "finetune" else {}
        if profile == "mgca":
            values |= {
                "lr": 5e-4,
                "min_lr": 5e-4,
                "warmup": 0.0,
                "weight_decay": 1e-6,
                "batch_size": 48,
            }
            values |= {"epochs": 50, "patience": 10, "exact": False}
            values |= {"uncertain": CHEXPERT_UNCERTAIN_POLICIES, "unmentioned": "absent"}

        return values

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """Every finding with a label."""
        return tuple(finding_names(studies))

    def labels(self, studies: Sequence[Study]) -> NDArray[np.float64]:
        """[N, M]: 1, 0, or NaN where not known, after the policies. One class of several: a row of
        one 1, or NaN.
        """
        table = raw_labels(studies, self.names)
        if self.settings.unmentioned == "absent":
            table[np.isnan(table)] = 0.0
        uncertain = self.settings.uncertain
        policies = [
            uncertain if isinstance(uncertain, str) else uncertain.get(name, "ignore")
            for name in self.names
        ]
        columns = [
            binary_labels(table[:, column], policies[column]) for column in range(len(self.names))
        ]
        labels = np.stack(columns, axis=1) if columns else table
        if self.settings.kind == "multi-class":
            has_one_class = (labels == PRESENT).sum(1) == 1
            labels = np.where(
                has_one_class[:, None], (labels == PRESENT).astype(np.float64), np.nan
            )

        return labels

    def usable(self, study: Study) -> bool:
        """Some label is known."""
        return bool(np.isfinite(self.labels([study])).any())

    def head(self, spec: PyramidSpec) -> nn.Module:
        """One linear layer."""
        return PooledHead(spec.pooled, len(self.names))

    def targets(self, data: EvaluationDataset) -> TargetFunction:
        """``labels`` [B, M], NaN where not known."""
        table = torch.from_numpy(self.labels(data.studies)).float()
        return lambda rows: {"labels": table[torch.from_numpy(rows)]}

    def untrainable(self, targets: Mapping[str, Tensor]) -> dict[str, str]:
        """Findings without present or absent rows."""
        table = targets["labels"].numpy()
        reasons = {name: why_undefined(table[:, column]) for column, name in enumerate(self.names)}

        return {
            name: f"{reason} among {len(table)} training rows"
            for name, reason in reasons.items()
            if reason
        }

    def loss(self, prediction: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, mean over known labels or over images."""
        labels = targets["labels"]
        if self.settings.kind == "multi-class":
            return nn.functional.cross_entropy(prediction, labels.argmax(1))
        # Unknown labels are NaN: they add nothing to the sum and do not count.
        is_known = torch.isfinite(labels)
        element_losses = nn.functional.binary_cross_entropy_with_logits(
            prediction, labels.nan_to_num(), reduction="none"
        )

        return (element_losses * is_known).sum() / is_known.sum().clamp(min=1)

    def fit_closed_form(self, head: nn.Module, train: SplitLoader, val: SplitLoader) -> bool:
        """The penalised optimum, in closed steps: what the loop would come to, in a hundredth of
        the time.
        """
        if not self.settings.exact:
            return False
        assert isinstance(head, PooledHead)
        (features, targets), (val_features, val_targets) = train(), val()
        untrainable = self.untrainable(targets)
        kept = [column for column, name in enumerate(self.names) if name not in untrainable]
        if kept:
            weight, bias = best_probe(
                features.pooled.numpy(),
                targets["labels"].double().numpy()[:, kept],
                val_features.pooled.numpy(),
                val_targets["labels"].double().numpy()[:, kept],
                multi_class=self.settings.kind == "multi-class",
            )
            # A class without training rows gets no probability in the softmax.
            with torch.no_grad():
                if self.settings.kind == "multi-class":
                    head.linear.bias.fill_(_NEVER_LOGIT)
                head.linear.weight[kept] = torch.from_numpy(weight.T).float()
                head.linear.bias[kept] = torch.from_numpy(bias).float()

        return True

    def predict(self, prediction: Tensor, data: EvaluationDataset, rows: RowIndices) -> Columns:
        """``score.<name>``: probabilities; ``truth.<name>``."""
        probabilities = (
            prediction.softmax(1) if self.settings.kind == "multi-class" else prediction.sigmoid()
        )
        scores = probabilities.cpu().numpy()
        labels = self.labels([data.studies[row] for row in rows])
        columns: Columns = {
            f"truth.{name}": labels[:, column] for column, name in enumerate(self.names)
        }

        return columns | {
            f"score.{name}": scores[:, column] for column, name in enumerate(self.names)
        }

    def signature(self) -> str:
        """Everything that changes the numbers."""
        how = self.settings.in_words("kind", "uncertain", "unmentioned", "exact")
        policy = self.settings.uncertain
        uncertain = (
            policy
            if isinstance(policy, str)
            else ", ".join([*(f"{name} {what}" for name, what in policy.items()), "others ignore"])
        )
        if self.settings.exact and self.mode == "frozen":
            penalties = ", ".join(f"{penalty:g}" for penalty in PENALTIES)
            criterion = "log loss" if self.settings.kind == "multi-class" else "mean AUROC"
            how = (
                f"penalised optimum on standardised features, L2 from {penalties} by {criterion} "
                f"on validation"
            )

        return (
            f"{self.settings.kind}; linear layer on pooled features, encoder {self.mode}: {how}; "
            f"uncertain: "
            f"{uncertain}; not mentioned: {self.settings.unmentioned}; nested shares of training "
            "patients by seed, values averaged over seeds; decisions at the threshold of the best "
            "F1 on validation; "
            f"ECE: {CALIBRATION_BINS} equal bins; subgroups below {MIN_GROUP_STUDIES} studies "
            f"suppressed; 95 % intervals over {RESAMPLES} "
            "resamples of test patients"
        )

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """AUROC, average precision, F1, accuracy, ECE, Brier, reliability, subgroups."""
        return class_scores(
            predictions, self.names, multi_class=self.settings.kind == "multi-class"
        )
