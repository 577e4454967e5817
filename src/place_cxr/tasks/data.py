"""The studies that tasks are scored on, as the model was trained to see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.records import Study
from place_cxr.data.corpus import (
    Corpus,
    DataSettings,
    StageProgress,
    prepare_corpus,
    prepare_without_reports,
)
from place_cxr.data.packs.cached import PixelPack
from place_cxr.images.views import ViewSettings, eval_view
from place_cxr.predict import Processor
from place_cxr.tasks.descriptions import ViewTransform
from place_cxr.tasks.prompts import make_phrase_tokenizer
from place_cxr.text.tokenizer import EncodedReports


@dataclass(frozen=True, slots=True)
class EvaluationDataset:
    """A packed source of N studies, and how they become model input."""

    # Name of the source.
    source: str
    studies: Sequence[Study]
    pack: PixelPack
    reports: EncodedReports
    tokenize: Callable[
        [Sequence[str]], EncodedReports
    ]  # phrases -> reports of one observation each
    # Token numbers -> text.
    decode: Callable[[Sequence[int]], str]
    view: ViewTransform
    view_size: int
    # Usable rows by split.
    rows: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(
        cls, corpus: Corpus, views: ViewSettings, *, source: str, max_tokens: int
    ) -> EvaluationDataset:
        """A prepared corpus, seen as the model was trained to see it; ``max_tokens`` is the
        model's.
        """
        return cls(
            source=source,
            studies=corpus.studies,
            pack=corpus.pixels,
            reports=corpus.text,
            tokenize=make_phrase_tokenizer(corpus.tokenizer, max_tokens),
            decode=corpus.tokenizer.decode,
            view=partial(eval_view, settings=views),
            view_size=views.size,
            rows=corpus.rows,
        )


def read_evaluation_dataset(
    name: str,
    root: str | Path,
    processor: Processor,
    *,
    reports: bool,
    data_settings: Mapping[str, Any] | None = None,
    allow_split_overlap: bool = False,
    progress: StageProgress | None = None,
) -> EvaluationDataset:
    """A data set by its name in ``SOURCES`` and its root, packed as ``processor`` reads it.

    ``data_settings`` are other values of `DataSettings`: columns, a split. Without ``reports``
    studies that have none stay, and with ``allow_split_overlap`` a named split is taken with its
    faults (`corpus.prepare_without_reports`). A manifest goes by the name of its folder. Raises
    PlaceError as `corpus.prepare_corpus` does.
    """
    fixed_settings: dict[str, Any] = {"source": name, "manifest": str(root)}
    fixed_settings |= {"pack_size": processor.pack_size, "max_sentences": processor.max_sentences}
    settings = DataSettings.model_validate({**(data_settings or {}), **fixed_settings})
    prepare = (
        prepare_corpus
        if reports
        else partial(prepare_without_reports, allow_overlap=allow_split_overlap)
    )
    corpus = prepare(
        settings, max_tokens=processor.max_tokens, tokenizer=processor.tokenizer, progress=progress
    )
    root_path = Path(root)
    title = (
        (root_path if root_path.is_dir() else root_path.parent).resolve().name
        if name == "manifest"
        else name
    )

    return EvaluationDataset.of(
        corpus, processor.views, source=title, max_tokens=processor.max_tokens
    )
