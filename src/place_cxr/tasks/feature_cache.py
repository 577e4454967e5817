"""What a model says of a source, kept from one task to the next: no picture is looked at twice for
the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from place_cxr.models.decoder_inputs import DecoderInputsReader
from place_cxr.models.image import ImageEncoder
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.descriptions import StudyEmbeddings, embed_studies
from place_cxr.tasks.features import FrozenFeatures
from place_cxr.tasks.task import HeadTask, RowIndices


@dataclass
class FeatureCache:
    """Of one model and one source. Empty at first; give it to every task that asks that model about
    that source.
    """

    features: dict[str, FrozenFeatures] = field(default_factory=dict)  # by what reads what
    embeddings: list[StudyEmbeddings] = field(default_factory=list)

    def features_for(
        self,
        task: HeadTask,
        encoder: ImageEncoder | DecoderInputsReader,
        data: EvaluationDataset,
        device: torch.device,
    ) -> FrozenFeatures:
        """What a frozen encoder gives to the head of ``task``."""
        key = f"{type(encoder).__name__} {task.reads}"
        if key not in self.features:
            self.features[key] = FrozenFeatures(encoder, data, task.reads, device)

        return self.features[key]

    def embed(self, model: Any, data: EvaluationDataset, rows: RowIndices) -> StudyEmbeddings:
        """``rows`` as the model describes pictures and reports."""
        for embeddings in self.embeddings:
            if np.isin(rows, embeddings.rows).all():
                return embeddings.subset(rows)

        device = next(model.parameters()).device
        embeddings = embed_studies(
            model, data.pack.pixels, data.reports, rows, data.studies, view=data.view, device=device
        )
        self.embeddings.append(embeddings)

        return embeddings
