"""Which findings are there: a linear layer on the pooled vector, on frozen features or with the encoder fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from place_cxr.core.records import NOT_MENTIONED, PRESENT, Study
from place_cxr.core.results import Metric
from place_cxr.metrics.classification import UncertainPolicy, binary_labels, why_undefined
from place_cxr.metrics.decisions import CALIBRATION_BINS
from place_cxr.metrics.intervals import RESAMPLES
from place_cxr.models.image import ImagePyramid, PyramidSpec
from place_cxr.tasks.class_scores import SMALLEST, class_scores
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.labels import finding_names
from place_cxr.tasks.linear_probe import PENALTIES, best_probe
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.task import Columns, HeadSettings, HeadTask, Mode, Profile, Rows, TaskSettings, Truth, Whole

# CheXpert's five competition findings and what its followers make of "uncertain" [GLoRIA, MGCA].
CHEXPERT: dict[str, UncertainPolicy] = {
    "Atelectasis": "present",
    "Cardiomegaly": "absent",
    "Consolidation": "absent",
    "Edema": "present",
    "Pleural Effusion": "present",
}
_NEVER = -30.0  # logit of a class of several that no training row has


class ClassificationSettings(HeadSettings):
    """Labels and how the linear layer is found."""

    kind: Literal["multi-label", "multi-class"] = "multi-label"
    uncertain: UncertainPolicy | dict[str, UncertainPolicy] = Field("ignore", description="for all, or by finding")
    unmentioned: Literal["ignore", "absent"] = Field("ignore", description="what an empty label means")
    exact: bool = Field(True, description="frozen: the optimum itself, not steps towards it")


class PooledHead(nn.Module):
    """One linear layer on the pooled vector; zero at first, so that nothing is guessed."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, seen: ImagePyramid) -> Tensor:
        """Logits [B, M]."""
        return self.linear(seen.pooled)


@dataclass(frozen=True)
class Classification(HeadTask):
    """Multi-label with unknown labels left out, or one class of several."""

    settings: ClassificationSettings
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    Settings: ClassVar[type[TaskSettings]] = ClassificationSettings

    @classmethod
    def defaults(cls, profile: Profile, mode: Mode) -> dict[str, Any]:
        """[MGCA] linear: AdamW 5e-4, decay 1e-6, 48 images, 50 epochs, patience 10; fine-tuning steps are ours."""
        given: dict[str, Any] = {"lr": 1e-4, "weight_decay": 0.05} if mode == "finetune" else {}
        if profile == "mgca":
            given |= {"lr": 5e-4, "min_lr": 5e-4, "warmup": 0.0, "weight_decay": 1e-6, "batch_size": 48}
            given |= {"epochs": 50, "patience": 10, "exact": False}
            given |= {"uncertain": CHEXPERT, "unmentioned": "absent"}
        return given

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """Every finding with a label."""
        return tuple(finding_names(studies))

    def labels(self, studies: Sequence[Study]) -> NDArray[np.float64]:
        """[N, M]: 1, 0, or NaN where not known, after the policies. One class of several: a row of one 1, or NaN."""
        rows = [[study.labels.get(name, NOT_MENTIONED) for name in self.names] for study in studies]
        table = np.array(rows, dtype=np.float64).reshape(len(studies), len(self.names))
        if self.settings.unmentioned == "absent":
            table[np.isnan(table)] = 0.0
        given = self.settings.uncertain
        policy = [given if isinstance(given, str) else given.get(name, "ignore") for name in self.names]
        columns = [binary_labels(table[:, column], policy[column]) for column in range(len(self.names))]
        found = np.stack(columns, axis=1) if columns else table
        if self.settings.kind == "multi-class":
            one = (found == PRESENT).sum(1) == 1
            found = np.where(one[:, None], (found == PRESENT).astype(np.float64), np.nan)
        return found

    def usable(self, study: Study) -> bool:
        """Some label is known."""
        return bool(np.isfinite(self.labels([study])).any())

    def head(self, spec: PyramidSpec) -> nn.Module:
        """One linear layer."""
        return PooledHead(spec.pooled, len(self.names))

    def truth(self, data: Evaluation) -> Truth:
        """``labels`` [B, M], NaN where not known."""
        table = torch.from_numpy(self.labels(data.studies)).float()
        return lambda rows: {"labels": table[torch.from_numpy(rows)]}

    def missing(self, truth: Mapping[str, Tensor]) -> dict[str, str]:
        """Findings without present or absent rows."""
        table = truth["labels"].numpy()
        reasons = {name: why_undefined(table[:, column]) for column, name in enumerate(self.names)}
        return {name: f"{reason} among {len(table)} training rows" for name, reason in reasons.items() if reason}

    def loss(self, prediction: Tensor, truth: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, mean over known labels or over images."""
        labels = truth["labels"]
        if self.settings.kind == "multi-class":
            return nn.functional.cross_entropy(prediction, labels.argmax(1))
        known = torch.isfinite(labels)
        each = nn.functional.binary_cross_entropy_with_logits(prediction, labels.nan_to_num(), reduction="none")
        return (each * known).sum() / known.sum().clamp(min=1)

    def solve(self, head: nn.Module, train: Whole, val: Whole) -> bool:
        """The penalised optimum, in closed steps: what the loop would come to, in a hundredth of the time."""
        if not self.settings.exact:
            return False
        assert isinstance(head, PooledHead)
        (seen, truth), (val_seen, val_truth) = train(), val()
        left = self.missing(truth)
        kept = [column for column, name in enumerate(self.names) if name not in left]
        if kept:
            weight, bias = best_probe(
                seen.pooled.numpy(),
                truth["labels"].double().numpy()[:, kept],
                val_seen.pooled.numpy(),
                val_truth["labels"].double().numpy()[:, kept],
                one_of=self.settings.kind == "multi-class",
            )
            with torch.no_grad():
                if self.settings.kind == "multi-class":
                    head.linear.bias.fill_(_NEVER)
                head.linear.weight[kept] = torch.from_numpy(weight.T).float()
                head.linear.bias[kept] = torch.from_numpy(bias).float()
        return True

    def answer(self, prediction: Tensor, data: Evaluation, rows: Rows) -> Columns:
        """``score.<name>``: probabilities; ``truth.<name>``."""
        chance = prediction.softmax(1) if self.settings.kind == "multi-class" else prediction.sigmoid()
        scores = chance.cpu().numpy()
        truth = self.labels([data.studies[row] for row in rows])
        found: Columns = {f"truth.{name}": truth[:, column] for column, name in enumerate(self.names)}
        return found | {f"score.{name}": scores[:, column] for column, name in enumerate(self.names)}

    def signature(self) -> str:
        """Everything that changes the numbers."""
        how = self.settings.in_words("kind", "uncertain", "unmentioned", "exact")
        given = self.settings.uncertain
        uncertain = (
            given
            if isinstance(given, str)
            else ", ".join([*(f"{name} {what}" for name, what in given.items()), "others ignore"])
        )
        if self.settings.exact and self.mode == "frozen":
            penalties = ", ".join(f"{one:g}" for one in PENALTIES)
            by = "log loss" if self.settings.kind == "multi-class" else "mean AUROC"
            how = f"penalised optimum on standardised features, L2 from {penalties} by {by} on validation"
        return (
            f"{self.settings.kind}; linear layer on pooled features, encoder {self.mode}: {how}; uncertain: "
            f"{uncertain}; not mentioned: {self.settings.unmentioned}; nested shares of training "
            "patients by seed, values averaged over seeds; decisions at the threshold of the best F1 on validation; "
            f"ECE: {CALIBRATION_BINS} equal bins; subgroups below {SMALLEST} studies suppressed; 95 % intervals over {RESAMPLES} "
            "resamples of test patients"
        )

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """AUROC, average precision, F1, accuracy, ECE, Brier, reliability, subgroups."""
        return class_scores(predictions, self.names, one_of=self.settings.kind == "multi-class")
