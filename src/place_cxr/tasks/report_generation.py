"""Writing the report of an image: a decoder over patch tokens and V-PORs, beside two answers that
look at no patch.

The two are the most frequent training report (equal sets of statements are equal; of equally
frequent ones the first) and the report of the training image with the nearest instance vector.

What is kept: tokens of what the decoder wrote, the rows whose reports the two others repeat, and
for each of the three counts, scores and labels of each report (`metrics.text.measured`, the rule
labeller). Neither the reference nor a training report is kept, as text or as tokens. So the scores
can be computed again from the file alone, but another tokeniser or labeller needs the source and a
new run. METEOR works on whole texts; its value is kept as it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor, nn

from place_cxr.core.records import Study
from place_cxr.core.results import Metric
from place_cxr.core.task_text import FRACTION_SLOT, Headline, MetricBlock, TaskText
from place_cxr.metrics import clinical, text
from place_cxr.metrics.intervals import RESAMPLES, undefined_metric
from place_cxr.metrics.meteor import meteor
from place_cxr.models.decoder import DecoderSettings, GeneratedReports, ReportDecoder
from place_cxr.models.report_features import ReportFeatures, ReportFeatureSpec
from place_cxr.tasks import report_examples
from place_cxr.tasks.aggregate import fraction_label
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.predictions import Predictions, list_column
from place_cxr.tasks.report_baselines import (
    label_reports,
    most_frequent_report,
    nearest_reports,
    reference_report,
)
from place_cxr.tasks.report_examples import ReportExample
from place_cxr.tasks.task import (
    Columns,
    HeadSettings,
    HeadTask,
    Mode,
    Profile,
    Reads,
    RowIndices,
    TargetFunction,
    TaskSettings,
)
from place_cxr.tasks.train_head import predict_batches
from place_cxr.text.labeler import CHEXPERT_FINDINGS
from place_cxr.text.tokenizer import EncodedReports

REPORT_WRITERS = ("decoder", "frequent", "nearest")
_TOKENIZER = "words"
_UNCERTAIN: clinical.BinaryUncertainPolicy = "absent"
_NO_METEOR = (
    "not asked for (meteor=true), or METEOR found neither Java nor its jar (pip install "
    "'place-cxr[meteor]')"
)


_ANSWERS = {
    "decoder": "The written report",
    "nearest": "Report of the most similar training picture",
    "frequent": "Always the most frequent training report (no network)",
}


_TEXT = TaskText(
    name="Report generation",
    short="reports",
    question=(
        "Writing the report of a picture. Clinical F1 compares findings that a rule labeller "
        "reads in the written and in the true report; BLEU, ROUGE-L and CIDEr compare wording. "
        "Higher is better."
    ),
    title="Writing a report",
    says=(
        "A small text generator on top of the network learns from pictures and reports of "
        "training patients, and writes a report for each test picture. A program then reads which "
        "findings the written and the true report state. F1 is 1 when both state the same, and 0 "
        "when they share none. Two answers write nothing of their own: the one report that is "
        "most frequent in training, and the report of the training picture that the network finds "
        "most similar. A generator that is not above both has learned nothing worth having."
    ),
    blocks=(
        MetricBlock(
            "Findings stated rightly, all together",
            "Common findings count most (micro F1). Larger is better.",
            f"{FRACTION_SLOT}/micro F1/*",
            rows=_ANSWERS,
            only=True,
        ),
        MetricBlock(
            "Findings stated rightly, each counting alike",
            "The mean over findings, so that rare ones count as much as common ones (macro F1).",
            f"{FRACTION_SLOT}/macro F1/*",
            rows=_ANSWERS,
            only=True,
        ),
        MetricBlock(
            "Likeness of the wording",
            "The longest run of words, gaps allowed, that the written and the true report "
            "share (ROUGE-L): 1 is word for word. Fluent text that states the wrong findings "
            "scores well here, so read it last.",
            f"{FRACTION_SLOT}/ROUGE-L/*",
            rows=_ANSWERS,
            only=True,
        ),
    ),
    headline=Headline(
        f"{FRACTION_SLOT}/micro F1/decoder",
        "Writing a report",
        "Agreement of the findings that the written and the true report state (F1): 1 is the same.",
        trivial=f"{FRACTION_SLOT}/micro F1/frequent",
        trivial_name="The most frequent report",
    ),
    has_head=True,
    trivial_answers={
        "the most frequent training report": ("/decoder", "/frequent"),
        "that of the training picture nearest by {reference}'s vectors": ("/decoder", "/nearest"),
    },
)


class ReportSettings(HeadSettings):
    """What is read, and how it is written."""

    vpors: bool = Field(True, description="read V-PORs beside the patch tokens")
    beams: int = Field(3, ge=1, description="hypotheses of the search; 1: greedy [R2Gen: 3]")
    meteor: bool = Field(
        False, description="METEOR too, where Java and its jar are: it loads 2 GB for each answer"
    )
    examples: int = Field(
        0,
        ge=0,
        description="test images that are drawn, into examples/ of the result, with the report "
        "written of each and a heat map per sentence: these files hold pixels of patients; 0: "
        "none are written",
    )
    decoder: DecoderSettings = DecoderSettings()
    steps: int = 1000
    batch_size: int = 16
    linear: Literal["adamw", "muon"] = (
        "muon"  # [ours] in few steps AdamW names no more than the most frequent report
    )
    lr: float = 2e-2
    weight_decay: float = 0.05


@dataclass(frozen=True, slots=True)
class DecoderInputs:
    """The decoder and its memory.

    In training the decoder reads the true tokens (teacher forcing), later it searches for them.
    """

    decoder: ReportDecoder
    memory: tuple[Tensor, ...]
    # Attention of each V-POR to the patches [B, K, P]; None where V-PORs are not read.
    query_attention: Tensor | None
    # Rows and columns of the patch grid.
    grid: tuple[int, int]


class ReportHead(nn.Module):
    """The report decoder on the features of a `ReportFeatureEncoder`."""

    def __init__(self, spec: ReportFeatureSpec, settings: ReportSettings) -> None:
        super().__init__()
        self.reads_observations, self.grid = settings.vpors, spec.grid
        (_, patch_width), (_, observation_width), _ = spec.shapes
        widths = [patch_width, observation_width] if settings.vpors else [patch_width]
        self.decoder = ReportDecoder(settings.decoder, widths, spec.vocabulary, spec.grid)

    def forward(self, features: ReportFeatures) -> DecoderInputs:
        """The decoder and its memory."""
        if not self.reads_observations:
            return DecoderInputs(self.decoder, (features.patches,), None, self.grid)
        memory = (features.patches, features.observations)
        return DecoderInputs(self.decoder, memory, features.attention, self.grid)


@dataclass(frozen=True)
class ReportGeneration(HeadTask):
    """Reports in the run's own tokens; findings are those that the rule labeller reads in them."""

    text: ClassVar[TaskText] = _TEXT
    settings: ReportSettings
    needs: ClassVar[frozenset[str]] = frozenset({"reports"})
    reads: ClassVar[Reads] = "report"
    predicted_splits: ClassVar[tuple[str, ...]] = ("test",)
    Settings: ClassVar[type[TaskSettings]] = ReportSettings

    @classmethod
    def defaults(cls, profile: Profile, mode: Mode) -> dict[str, Any]:
        """The encoder moves more slowly than a new decoder."""
        return {"linear": "adamw", "lr": 5e-4, "weight_decay": 0.05} if mode == "finetune" else {}

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """The labeller's findings, whatever labels the source has."""
        return CHEXPERT_FINDINGS

    def usable(self, study: Study) -> bool:
        """It has a report."""
        return bool(study.report.strip())

    def head(self, spec: ReportFeatureSpec) -> nn.Module:
        """The decoder."""
        return ReportHead(spec, self.settings)

    def targets(self, data: EvaluationDataset) -> TargetFunction:
        """``ids`` [B, L] of the report with its first and last token, and ``is_real`` [B, L]: no
        padding.
        """
        max_tokens = self.settings.decoder.max_tokens + 1

        def of(rows: RowIndices) -> dict[str, Tensor]:
            ids = np.asarray(data.reports.ids[rows])[:, :max_tokens].astype(np.int64)
            is_real = ids != data.reports.pad_id
            length = int(is_real.sum(1).max(initial=1))
            return {
                "ids": torch.from_numpy(ids[:, :length]),
                "real": torch.from_numpy(is_real[:, :length]),
            }

        return of

    def untrainable(self, targets: Mapping[str, Tensor]) -> dict[str, str]:
        """None: what a report does not say, it says so."""
        return {}

    def loss(self, prediction: DecoderInputs, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of each next token, the mean over all tokens (teacher forcing)."""
        return prediction.decoder.loss(prediction.memory, targets["ids"], targets["real"])

    def predict(
        self, prediction: DecoderInputs, data: EvaluationDataset, rows: RowIndices
    ) -> Columns:
        """``ids`` that the search found, without first and last token, and their ``score``,
        log-probability a token.
        """
        _, stop, pad = special_tokens(data.reports)
        generated = self._search(prediction, data)

        return {
            "ids": list_column(_strip_special_tokens(generated.ids, stop, pad), integers=True),
            "score": generated.scores.double().cpu().numpy(),
        }

    def save_figures(
        self,
        head_model: nn.Module,
        inputs: Callable[[RowIndices], Any],
        data: EvaluationDataset,
        rows: RowIndices,
        folder: Path,
    ) -> None:
        """``examples/<n>.png`` for as many test images as the settings say; those of an earlier run
        go first.
        """
        examples_folder = folder / report_examples.EXAMPLES_FOLDER
        shutil.rmtree(examples_folder, ignore_errors=True)
        example_rows = np.array(
            report_examples.choose_example_rows(data.studies, rows, self.settings.examples),
            dtype=np.int64,
        )
        if not len(example_rows):
            return
        examples_folder.mkdir(mode=0o700)
        batches = predict_batches(
            head_model, inputs, example_rows, next(head_model.parameters()).device
        )
        examples: list[ReportExample] = []
        for batch_rows, decoder_inputs in batches:
            examples += self.examples(decoder_inputs, data, batch_rows)

        for number, example in enumerate(examples, start=1):
            report_examples.draw_example(example, examples_folder / f"{number}.png")

    def examples(
        self, decoder_inputs: DecoderInputs, data: EvaluationDataset, rows: RowIndices
    ) -> list[ReportExample]:
        """Generated sentences of each of ``rows``, with the attention map of each sentence."""
        start, stop, pad = special_tokens(data.reports)
        ids = self._search(decoder_inputs, data).ids
        attention = (
            decoder_inputs.decoder.attention(decoder_inputs.memory, ids, start=start, pad=pad)
            .cpu()
            .numpy()
        )
        examples = []

        for index, (row, tokens) in enumerate(
            zip(rows.tolist(), _strip_special_tokens(ids, stop, pad), strict=True)
        ):
            query_attention = (
                None
                if decoder_inputs.query_attention is None
                else decoder_inputs.query_attention[index].cpu().numpy()
            )
            sentences = report_examples.sentence_spans(tokens, data.decode)
            maps = report_examples.mean_by_sentence(
                report_examples.attention_on_patches(attention[index], query_attention), sentences
            )
            examples.append(
                ReportExample(
                    report_examples.read_radiograph(data.studies[row]),
                    tuple(data.decode(tokens[span]) for span in sentences),
                    report_examples.maps_on_image(
                        maps, decoder_inputs.grid, data.pack.letterbox(row), data.view_size
                    ),
                )
            )

        return examples

    def _search(self, decoder_inputs: DecoderInputs, data: EvaluationDataset) -> GeneratedReports:
        start, stop, pad = special_tokens(data.reports)
        return decoder_inputs.decoder.generate(
            decoder_inputs.memory, start=start, stop=stop, pad=pad, beams=self.settings.beams
        )

    def baseline_columns(
        self,
        table: Any,
        data: EvaluationDataset,
        train: RowIndices,
        pooled: Callable[[RowIndices], Tensor],
    ) -> Columns:
        """Rows of the trivial answers; measures, labels and METEOR of all three; labels of the
        references.
        """
        rows = np.array(table["row"].to_numpy())
        copied_rows = {
            "frequent": np.full(len(rows), most_frequent_report(data.reports, train)),
            "nearest": nearest_reports(rows, train, pooled),
        }
        texts_by_writer = {"decoder": [data.decode(ids) for ids in table["ids"].to_pylist()]}
        for writer, report_rows in copied_rows.items():
            texts_by_writer[writer] = [reference_report(data.studies[row]) for row in report_rows]

        references = [reference_report(data.studies[row]) for row in rows]
        columns: Columns = {
            f"{writer}.row": report_rows for writer, report_rows in copied_rows.items()
        }
        columns["truth.labels"] = list_column(label_reports(references, self.names))

        for writer, texts in texts_by_writer.items():
            columns[f"{writer}.measures"] = list_column(
                text.measure_reports(texts, references, tokenizer=_TOKENIZER).tolist()
            )
            columns[f"{writer}.labels"] = list_column(label_reports(texts, self.names))
            value = (
                meteor(texts, references, tokenizer=_TOKENIZER).value
                if self.settings.meteor
                else None
            )
            columns[f"{writer}.meteor"] = pa.array([value] * len(rows), pa.float64())

        return columns

    def signature(self) -> str:
        """Everything that changes the numbers."""
        settings = self.settings
        reads = "patch tokens and V-PORs" if settings.vpors else "patch tokens"
        search = (
            f"beam search, {settings.beams} beams"
            if settings.beams > 1
            else "the likeliest token each time"
        )
        meteor_words = "METEOR 1.5 over a seed's reports; " if settings.meteor else ""

        return (
            f"transformer decoder, encoder {self.mode}, teacher forcing, {search}; it reads "
            f"{reads}; "
            f"{settings.in_words('vpors', 'beams', 'meteor', 'examples')}; references: all "
            f"sentences read, uncut; "
            f"{text.text_signature(_TOKENIZER)}; {meteor_words}"
            f"labels of both sides by the rule labeller; "
            f"{clinical.clinical_signature(_UNCERTAIN)}; "
            "frequent: the most frequent training report; nearest: that of the training image "
            "nearest by instance "
            "vector; reports of all seeds in one corpus; "
            f"95 % intervals over {RESAMPLES} resamples of test patients"
        )

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """``fraction/metric/writer`` for each of REPORT_WRITERS.

        Metrics are text scores, clinical averages and F1 of each finding.
        """
        metrics: dict[str, Metric] = {}
        for fraction in predictions.fractions:
            test = predictions.subset("test", fraction)
            for writer in REPORT_WRITERS:
                for metric, value in self._scores(test, writer).items():
                    metrics[f"{fraction_label(fraction)}/{metric}/{writer}"] = value

        return metrics

    def _scores(self, test: Predictions, writer: str) -> dict[str, Metric]:
        metrics = text.scores_from_measures(
            np.array(test.values(f"{writer}.measures")), test.patients
        )
        values = test.numbers(f"{writer}.meteor")[:, 0]
        metrics["METEOR"] = undefined_metric(_NO_METEOR, len(values))
        if not np.isnan(values).any():
            note = "no interval: it is computed once over all reports of a seed; mean over seeds"
            metrics["METEOR"] = Metric(float(values.mean()), None, None, len(values), note)

        predicted_labels, reference_labels = (
            np.array(test.values(f"{name}.labels"), dtype=np.float64) for name in (writer, "truth")
        )
        shape = (len(predicted_labels), len(self.names))
        clinical_metrics = clinical.clinical_metrics(
            predicted_labels.reshape(shape),
            reference_labels.reshape(shape),
            self.names,
            test.patients,
            uncertain=_UNCERTAIN,
        )
        # Of a single finding only F1 is a result, not its precision and recall.
        for name in self.names:
            clinical_metrics.pop(f"{name} precision", None)
            clinical_metrics.pop(f"{name} recall", None)

        return metrics | clinical_metrics


def _strip_special_tokens(ids: Tensor, stop: int, pad: int) -> list[list[int]]:
    is_word = (ids != stop) & (ids != pad)
    return [row[kept].tolist() for row, kept in zip(ids, is_word, strict=True)]


def special_tokens(reports: EncodedReports) -> tuple[int, int, int]:
    """First, last and padding token of every report."""
    row = np.asarray(reports.ids[0])
    return int(row[0]), int(row[row != reports.pad_id][-1]), reports.pad_id
