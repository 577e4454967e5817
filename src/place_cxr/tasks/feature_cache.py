"""A model's features of a source, kept from one task to the next: each image is encoded once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from place_cxr.models.image import ImageEncoder
from place_cxr.models.report_features import ReportFeatureEncoder
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.descriptions import StudyEmbeddings, embed_studies
from place_cxr.tasks.features import FrozenFeatures
from place_cxr.tasks.task import HeadTask, RowIndices


@dataclass
class FeatureCache:
    """Features and embeddings of one model on one source.

    Empty at first; pass the same cache to every task of that model on that source.
    """

    # By the class of the reader and what it reads.
    features: dict[str, FrozenFeatures] = field(default_factory=dict)
    embeddings: list[StudyEmbeddings] = field(default_factory=list)

    def features_for(
        self,
        task: HeadTask,
        encoder: ImageEncoder | ReportFeatureEncoder,
        data: EvaluationDataset,
        device: torch.device,
    ) -> FrozenFeatures:
        """Features of a frozen encoder, as the head of ``task`` reads them."""
        key = f"{type(encoder).__name__} {task.reads}"
        if key not in self.features:
            self.features[key] = FrozenFeatures(encoder, data, task.reads, device)

        return self.features[key]

    def embed(self, model: Any, data: EvaluationDataset, rows: RowIndices) -> StudyEmbeddings:
        """Embeddings of the images and reports of ``rows``."""
        for embeddings in self.embeddings:
            if np.isin(rows, embeddings.rows).all():
                return embeddings.subset(rows)

        device = next(model.parameters()).device
        embeddings = embed_studies(
            model, data.pack.pixels, data.reports, rows, data.studies, view=data.view, device=device
        )
        self.embeddings.append(embeddings)

        return embeddings
