"""A data set that is ready for training: studies read, split, decoded and tokenised."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import SPLITS, Study, patient_key
from place_cxr.core.registry import pick
from place_cxr.core.settings import Settings
from place_cxr.data.packs.cached import PixelPack, pack_pixels, pack_text
from place_cxr.data.packs.export import open_packed_pixels
from place_cxr.data.sources import SOURCES
from place_cxr.data.splits.by_patient import check_splits, hash_splits, split_by_patient
from place_cxr.data.splits.stratified import apply_splits
from place_cxr.text.reports import ReportText, read_report
from place_cxr.text.tokenizer import EncodedReports, Tokenizer

SplitRows = dict[str, np.ndarray[Any, np.dtype[np.int64]]]
_log = logging.getLogger(__name__)


class DataSettings(Settings):
    """Where image-report pairs come from and how they are packed."""

    source: str = "manifest"
    manifest: str = ""  # the source's root: a manifest file, or the folder of a data set
    columns: dict[str, str] = {}  # our column name -> theirs, where the source is the user's table
    split: str | None = None  # the name of one of the source's splits; none = its first
    split_lists: dict[str, str] = {}  # split -> file of a published list, instead of a named split
    options: dict[str, Any] = {}  # further options of the source; `place data ls` names them
    splits: str = ""  # a file of 'place data split', instead of the source's own
    split_seed: int = 0  # for sources without a split column: by patient, 80/10/10
    sites: tuple[str, ...] = ()  # sites of the training and validation studies; empty = all
    pack_size: int = 256  # pixels of the square store [MGCA]
    # Folder of a Hugging Face tokenizer; empty = WordPiece trained on the training reports.
    tokenizer: str = ""
    vocab_size: int = 4000  # of the trained tokenizer [ours]
    max_sentences: int = 16  # observations a report keeps [ours]
    shuffle_reports: bool = False  # control: every image gets another patient's report


@dataclass(frozen=True, slots=True)
class Corpus:
    """N studies with their packs; ``rows`` are positions 0..N-1, by split."""

    studies: list[Study]
    pixels: PixelPack
    text: EncodedReports
    tokenizer: Tokenizer
    rows: SplitRows

    def lock(self) -> dict[str, Any]:
        """What a run records of its data, and a resumed run compares: counts and digests, no
        identifier.
        """
        patients = {}
        for split, rows in self.rows.items():
            patients[split] = len({patient_key(self.studies[row]) for row in rows})

        return {
            "images": {split: len(rows) for split, rows in self.rows.items()},
            "patients": patients,
            "split_digest": hash_splits(self.studies),
            "content_digest": self._digest(),
            "tokenizer": self.tokenizer.hash,
            "truncated_reports": self.text.truncated,
        }

    def _digest(self) -> str:
        """SHA-256 of the pixels and tokens, row by row."""
        hasher = hashlib.sha256(self.pixels.digest.encode())
        for array in (
            self.pixels.rows,
            self.text.ids,
            self.text.sentence,
            self.text.sentence_key,
            self.text.report_key,
        ):
            hasher.update(np.ascontiguousarray(array).data)

        return hasher.hexdigest()


StageProgress = Callable[[str, int, int], None]  # (what, done, total)


def require_data(settings: DataSettings) -> None:
    """Check before anything is computed: PL-C005 where no data is named, PL-C002 for an unknown
    source.
    """
    pick(SOURCES, settings.source, "source")
    if not settings.manifest:
        raise PlaceError(
            "no data named",
            code="PL-C005",
            fix="set data.manifest=PATH (a manifest file or data folder)",
        )


def read_studies(settings: DataSettings) -> list[Study]:
    """The studies that the settings name, as the source reads them. Raises as ``DataSource``."""
    values = {
        "columns": settings.columns,
        "split": settings.split,
        "split_lists": settings.split_lists,
    }
    options = {name: value for name, value in values.items() if value} | settings.options
    return SOURCES[settings.source](Path(settings.manifest), **options)


def prepare_corpus(
    settings: DataSettings,
    *,
    max_tokens: int,
    tokenizer: Tokenizer | None = None,
    progress: StageProgress | None = None,
) -> Corpus:
    """Read the source, split by patient, and pack pixels and text; packs are reused while files and
    rules are the same.

    ``tokenizer`` is that of an earlier run (resume, init-from); without one, ``settings.tokenizer``
    is loaded or a WordPiece is trained on the training reports. A study whose report is empty or
    whose image cannot be read is left out and counted. Raises PlaceError: PL-C005 no data named,
    PL-D2xx tables and splits, PL-D4xx packs.
    """
    require_data(settings)
    # Splits are checked with all studies, so that messages name rows of the table.
    studies, reports = _keep_with_reports(_assign_splits(_read_with_splits(settings), settings))
    if tokenizer is None:
        tokenizer = _load_or_train_tokenizer(settings, studies, reports)

    pixels, rows = _pack_images(studies, settings, progress)
    text = pack_text(
        studies, tokenizer, max_tokens=max_tokens, max_sentences=settings.max_sentences
    )

    return Corpus(studies, pixels, text, tokenizer, rows)


def prepare_without_reports(
    settings: DataSettings,
    *,
    max_tokens: int,
    tokenizer: Tokenizer,
    progress: StageProgress | None = None,
    allow_overlap: bool = False,
) -> Corpus:
    """As `prepare_corpus`, for tasks that read no report: studies without one stay, and all reports
    are empty.

    ``allow_overlap``: a named split of the source may have studies and patients in two parts, where
    it was published so.
    """
    require_data(settings)
    studies = _assign_splits(
        _read_with_splits(settings), settings, allow_overlap=allow_overlap and bool(settings.split)
    )
    pixels, rows = _pack_images(studies, settings, progress)
    empty_reports = [ReportText((), (), "none")] * len(studies)

    return Corpus(
        studies,
        pixels,
        tokenizer.encode(empty_reports, max_tokens, settings.max_sentences),
        tokenizer,
        rows,
    )


def _read_with_splits(settings: DataSettings) -> list[Study]:
    studies = read_studies(settings)
    return apply_splits(studies, Path(settings.splits)) if settings.splits else studies


def _assign_splits(
    studies: list[Study], settings: DataSettings, *, allow_overlap: bool = False
) -> list[Study]:
    if not any(study.split for study in studies):
        studies = split_by_patient(studies, settings.split_seed)

    check_splits(studies, allow_overlap=allow_overlap)
    if not settings.sites:
        return studies

    # A site that is written wrongly would leave no training study, or silently some.
    for site in settings.sites:
        if not any(study.site == site for study in studies):
            raise PlaceError(
                f"no study is of site '{site}'",
                code="PL-D226",
                fix="correct data.sites, or remove it",
            )

    # The test split keeps all sites, so that a model is scored on sites it has not seen.
    return [study for study in studies if study.split == "test" or study.site in settings.sites]


def _pack_images(
    studies: list[Study], settings: DataSettings, progress: StageProgress | None
) -> tuple[PixelPack, SplitRows]:
    if settings.source == "pack":
        pixels = open_packed_pixels(Path(settings.manifest), settings.pack_size)
    else:
        pixels = pack_pixels(
            studies, settings.pack_size, progress=_with_stage(progress, "decoding images")
        )

    # Rows of refused images are in no split.
    split = np.array([studies[row].split for row in pixels.rows])
    return pixels, {name: pixels.rows[split == name] for name in SPLITS}


def _keep_with_reports(studies: list[Study]) -> tuple[list[Study], list[ReportText]]:
    kept, reports = [], []
    for study in studies:
        try:
            reports.append(read_report(study.report))
        except PlaceError:
            continue
        kept.append(study)

    if not kept:
        raise PlaceError(
            "no row has a report",
            code="PL-D301",
            fix="name the report column: data.columns.report=COLUMN",
        )

    if len(kept) < len(studies):
        _log.warning(
            "%d of %d studies have no report text and are left out",
            len(studies) - len(kept),
            len(studies),
        )

    return kept, reports


def _load_or_train_tokenizer(
    settings: DataSettings, studies: list[Study], reports: list[ReportText]
) -> Tokenizer:
    if settings.tokenizer:
        return Tokenizer.load(settings.tokenizer)

    # Training reports alone: the vocabulary must not know words of the test split.
    sentences: list[str] = []
    for study, report in zip(studies, reports, strict=True):
        if study.split == "train":
            sentences += report.sentences

    return Tokenizer.train(sentences, vocab_size=settings.vocab_size)


def _with_stage(progress: StageProgress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)
