"""Writing the report of an image: a decoder over patch tokens and V-PORs, beside two answers that look at no patch.

The two are the most frequent training report (equal sets of statements are equal; of equally frequent ones the first)
and the report of the training image with the nearest instance vector.

What is kept: tokens of what the decoder wrote, the rows whose reports the two others repeat, and for each of the three
counts, scores and labels of each report (`metrics.text.measured`, the rule labeller). Neither the reference nor a
training report is kept, as text or as tokens. So the scores can be computed again from the file alone, but another
tokeniser or labeller needs the source and a new run. METEOR works on whole texts; its value is kept as it was.
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
from place_cxr.metrics import clinical, text
from place_cxr.metrics.intervals import RESAMPLES, undefined_metric
from place_cxr.metrics.meteor import meteor
from place_cxr.models.decoder import DecoderSettings, GeneratedReports, ReportDecoder
from place_cxr.models.decoder_inputs import DecoderInputsReader, DecoderInputsSpec
from place_cxr.models.image import ImagePyramid
from place_cxr.tasks import report_examples
from place_cxr.tasks.aggregate import share
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.predictions import Predictions, ragged
from place_cxr.tasks.report_examples import Example
from place_cxr.tasks.task import Columns, HeadSettings, HeadTask, Mode, Profile, Rows, TaskSettings, Truth
from place_cxr.tasks.train_head import predictions
from place_cxr.text.labeler import CHEXPERT, label_report
from place_cxr.text.reports import read_report
from place_cxr.text.tokenizer import EncodedReports

ANSWERS = ("decoder", "frequent", "nearest")
_TOKENISER = "words"
_UNCERTAIN: clinical.BinaryUncertainPolicy = "absent"
_NO_METEOR = "not asked for (meteor=true), or METEOR found neither Java nor its jar (pip install 'place-cxr[meteor]')"


class ReportSettings(HeadSettings):
    """What is read, and how it is written."""

    vpors: bool = Field(True, description="read V-PORs beside the patch tokens")
    beams: int = Field(3, ge=1, description="hypotheses of the search; 1: greedy [R2Gen: 3]")
    meteor: bool = Field(False, description="METEOR too, where Java and its jar are: it loads 2 GB for each answer")
    examples: int = Field(
        0,
        ge=0,
        description="test images that are drawn, into examples/ of the result, with the report written of each and a "
        "heat map per sentence: these files hold pixels of patients; 0: none are written",
    )
    decoder: DecoderSettings = DecoderSettings()
    steps: int = 1000
    batch_size: int = 16
    linear: Literal["adamw", "muon"] = "muon"  # [ours] in few steps AdamW names no more than the most frequent report
    lr: float = 2e-2
    weight_decay: float = 0.05


@dataclass(frozen=True, slots=True)
class Reading:
    """What the decoder has before it writes: it is told the words in training, and searches for them afterwards."""

    decoder: ReportDecoder
    memory: tuple[Tensor, ...]
    looked: Tensor | None  # where each V-POR looked [B, K, P]; None where none is read
    grid: tuple[int, int]  # rows and columns of patches


class ReportHead(nn.Module):
    """From what a `DecoderInputsReader` has seen to what the decoder reads."""

    def __init__(self, spec: DecoderInputsSpec, settings: ReportSettings) -> None:
        super().__init__()
        self.kinds, self.grid = 2 if settings.vpors else 1, spec.grid
        widths = [width for _, width in spec.shapes[: self.kinds]]
        self.decoder = ReportDecoder(settings.decoder, widths, spec.vocabulary, spec.grid)

    def forward(self, seen: ImagePyramid) -> Reading:
        """The decoder and its memory."""
        looked = seen.maps[2] if self.kinds > 1 else None
        return Reading(self.decoder, seen.maps[: self.kinds], looked, self.grid)


@dataclass(frozen=True)
class ReportGeneration(HeadTask):
    """Reports in the run's own tokens; findings are those that the rule labeller reads in them."""

    settings: ReportSettings
    needs: ClassVar[frozenset[str]] = frozenset({"reports"})
    reads: ClassVar[Literal["pooled", "maps"]] = "maps"
    predicts: ClassVar[tuple[str, ...]] = ("test",)
    Settings: ClassVar[type[TaskSettings]] = ReportSettings

    @classmethod
    def defaults(cls, profile: Profile, mode: Mode) -> dict[str, Any]:
        """The encoder moves more slowly than a new decoder."""
        return {"linear": "adamw", "lr": 5e-4, "weight_decay": 0.05} if mode == "finetune" else {}

    @classmethod
    def names_in(cls, studies: Sequence[Study]) -> tuple[str, ...]:
        """The labeller's findings, whatever labels the source has."""
        return CHEXPERT

    def usable(self, study: Study) -> bool:
        """It has a report."""
        return bool(study.report.strip())

    def encoder(self, model: Any) -> DecoderInputsReader:
        """Patch tokens, V-PORs and instance vector."""
        return DecoderInputsReader(model)

    def head(self, spec: DecoderInputsSpec) -> nn.Module:
        """The decoder."""
        return ReportHead(spec, self.settings)

    def truth(self, data: Evaluation) -> Truth:
        """``ids`` [B, L] of the report with its first and last token, and ``real`` [B, L]: no padding."""
        most = self.settings.decoder.max_tokens + 1

        def of(rows: Rows) -> dict[str, Tensor]:
            ids = np.asarray(data.reports.ids[rows])[:, :most].astype(np.int64)
            real = ids != data.reports.pad_id
            length = int(real.sum(1).max(initial=1))
            return {"ids": torch.from_numpy(ids[:, :length]), "real": torch.from_numpy(real[:, :length])}

        return of

    def missing(self, truth: Mapping[str, Tensor]) -> dict[str, str]:
        """None: what a report does not say, it says so."""
        return {}

    def loss(self, prediction: Reading, truth: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of each next token, a mean over the tokens of the batch (teacher forcing)."""
        return prediction.decoder.loss(prediction.memory, truth["ids"], truth["real"])

    def answer(self, prediction: Reading, data: Evaluation, rows: Rows) -> Columns:
        """``ids`` that the search found, without first and last token, and their ``score``, log-probability a token."""
        _, stop, pad = frame(data.reports)
        found = self._search(prediction, data)
        return {"ids": ragged(_written(found.ids, stop, pad), whole=True), "score": found.scores.double().cpu().numpy()}

    def show(
        self, learner: nn.Module, inputs: Callable[[Rows], Any], data: Evaluation, rows: Rows, folder: Path
    ) -> None:
        """``examples/<n>.png`` for as many test images as the settings say; those of an earlier run go first."""
        place = folder / report_examples.FOLDER
        shutil.rmtree(place, ignore_errors=True)
        chosen = np.array(report_examples.choose(data.studies, rows, self.settings.examples), dtype=np.int64)
        if not len(chosen):
            return
        place.mkdir(mode=0o700)
        read = predictions(learner, inputs, chosen, next(learner.parameters()).device)
        written = [example for part, reading in read for example in self.examples(reading, data, part)]
        for number, example in enumerate(written, start=1):
            report_examples.draw(example, place / f"{number}.png")

    def examples(self, reading: Reading, data: Evaluation, rows: Rows) -> list[Example]:
        """What the decoder writes of each of ``rows``, sentence by sentence, with where it looked."""
        start, stop, pad = frame(data.reports)
        ids = self._search(reading, data).ids
        attention = reading.decoder.attention(reading.memory, ids, start=start, pad=pad).cpu().numpy()
        found = []
        for place, (row, tokens) in enumerate(zip(rows.tolist(), _written(ids, stop, pad), strict=True)):
            looked = None if reading.looked is None else reading.looked[place].cpu().numpy()
            sentences = report_examples.cut(tokens, data.decode)
            maps = report_examples.by_sentence(report_examples.on_patches(attention[place], looked), sentences)
            found.append(
                Example(
                    report_examples.picture(data.studies[row]),
                    tuple(data.decode(tokens[part]) for part in sentences),
                    report_examples.on_picture(maps, reading.grid, data.pack.letterbox(row), data.view_size),
                )
            )
        return found

    def _search(self, reading: Reading, data: Evaluation) -> GeneratedReports:
        start, stop, pad = frame(data.reports)
        return reading.decoder.generate(reading.memory, start=start, stop=stop, pad=pad, beams=self.settings.beams)

    def judge(self, told: Any, data: Evaluation, train: Rows, pooled: Callable[[Rows], Tensor]) -> Columns:
        """Rows of the trivial answers; measures, labels and METEOR of all three; labels of the references."""
        rows = np.array(told["row"].to_numpy())
        others = {
            "frequent": np.full(len(rows), most_frequent(data.reports, train)),
            "nearest": nearest(rows, train, pooled),
        }
        said = {"decoder": [data.decode(ids) for ids in told["ids"].to_pylist()]}
        said |= {who: [reference(data.studies[row]) for row in chosen] for who, chosen in others.items()}
        truths = [reference(data.studies[row]) for row in rows]
        columns: Columns = {f"{who}.row": chosen for who, chosen in others.items()}
        columns["truth.labels"] = ragged(labels(truths, self.names))
        for who, texts in said.items():
            columns[f"{who}.measures"] = ragged(text.measure_reports(texts, truths, tokenizer=_TOKENISER).tolist())
            columns[f"{who}.labels"] = ragged(labels(texts, self.names))
            value = meteor(texts, truths, tokenizer=_TOKENISER).value if self.settings.meteor else None
            columns[f"{who}.meteor"] = pa.array([value] * len(rows), pa.float64())
        return columns

    def signature(self) -> str:
        """Everything that changes the numbers."""
        wanted = self.settings
        reads = "patch tokens and V-PORs" if wanted.vpors else "patch tokens"
        search = f"beam search, {wanted.beams} beams" if wanted.beams > 1 else "the likeliest token each time"
        meteor = "METEOR 1.5 over a seed's reports; " if wanted.meteor else ""
        return (
            f"transformer decoder, encoder {self.mode}, teacher forcing, {search}; it reads {reads}; "
            f"{wanted.in_words('vpors', 'beams', 'meteor', 'examples')}; references: all sentences read, uncut; "
            f"{text.text_signature(_TOKENISER)}; {meteor}"
            f"labels of both sides by the rule labeller; {clinical.clinical_signature(_UNCERTAIN)}; "
            "frequent: the most frequent training report; nearest: that of the training image nearest by instance "
            "vector; reports of all seeds in one corpus; "
            f"95 % intervals over {RESAMPLES} resamples of test patients"
        )

    def score(self, predictions: Predictions) -> dict[str, Metric]:
        """``share/metric/answer``: text scores, clinical averages and F1 of each finding for each of ANSWERS."""
        found: dict[str, Metric] = {}
        for fraction in predictions.fractions:
            test = predictions.part("test", fraction)
            for who in ANSWERS:
                for metric, value in self._scores(test, who).items():
                    found[f"{share(fraction)}/{metric}/{who}"] = value
        return found

    def _scores(self, test: Predictions, who: str) -> dict[str, Metric]:
        found = text.scores_from_measures(np.array(test.values(f"{who}.measures")), test.patients)
        values = test.numbers(f"{who}.meteor")[:, 0]
        found["METEOR"] = undefined_metric(_NO_METEOR, len(values))
        if not np.isnan(values).any():
            note = "no interval: it is computed once over all reports of a seed; mean over seeds"
            found["METEOR"] = Metric(float(values.mean()), None, None, len(values), note)
        guess, true = (np.array(test.values(f"{name}.labels"), dtype=np.float64) for name in (who, "truth"))
        shape = (len(guess), len(self.names))
        judged = clinical.clinical_metrics(
            guess.reshape(shape), true.reshape(shape), self.names, test.patients, uncertain=_UNCERTAIN
        )
        detail = [f"{name} {score}" for name in self.names for score in ("precision", "recall")]
        return found | {name: value for name, value in judged.items() if name not in detail}


def _written(ids: Tensor, stop: int, pad: int) -> list[list[int]]:
    return [[token for token in row if token not in (stop, pad)] for row in ids.tolist()]


def reference(study: Study) -> str:
    """A study's report as it is scored: every sentence that is read. Raises PlaceError PL-D301 where none is."""
    return " ".join(read_report(study.report).sentences)


def labels(texts: Sequence[str], names: Sequence[str]) -> list[list[float]]:
    """What each text says of each name: 1, 0, -1 (uncertain) or NaN; equal texts are read once."""
    read = {said: label_report(said).values for said in set(texts)}
    return [[read[said][name] for name in names] for said in texts]


def frame(reports: EncodedReports) -> tuple[int, int, int]:
    """First, last and padding token of every report."""
    row = np.asarray(reports.ids[0])
    return int(row[0]), int(row[row != reports.pad_id][-1]), reports.pad_id


def most_frequent(reports: EncodedReports, train: Rows) -> int:
    """The first of the rows that say what most say."""
    _, first, counts = np.unique(np.asarray(reports.report_key[train]), return_index=True, return_counts=True)
    return int(train[first[counts == counts.max()].min()])


def nearest(rows: Rows, train: Rows, pooled: Callable[[Rows], Tensor]) -> Rows:
    """For each of ``rows`` the training row whose instance vector has the highest cosine with its own."""

    return np.asarray(train[(pooled(rows) @ pooled(train).T).argmax(1)])
