"""What a model says of a source, kept from one task to the next: no picture is looked at twice for the same answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from place_cxr.models.decoder_inputs import DecoderInputsReader
from place_cxr.models.image import ImageEncoder
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.descriptions import Embedded, embed
from place_cxr.tasks.features import Features
from place_cxr.tasks.task import HeadTask, Rows


@dataclass
class Known:
    """Of one model and one source. Empty at first; give it to every task that asks that model about that source."""

    features: dict[str, Features] = field(default_factory=dict)  # by what reads what
    embedded: list[Embedded] = field(default_factory=list)

    def features_for(
        self, task: HeadTask, encoder: ImageEncoder | DecoderInputsReader, data: Evaluation, device: torch.device
    ) -> Features:
        """What a frozen encoder gives to the head of ``task``."""
        what = f"{type(encoder).__name__} {task.reads}"
        if what not in self.features:
            self.features[what] = Features(encoder, data, task.reads, device)
        return self.features[what]

    def embed(self, model: Any, data: Evaluation, rows: Rows) -> Embedded:
        """``rows`` as the model describes pictures and reports."""
        for seen in self.embedded:
            if np.isin(rows, seen.rows).all():
                return seen.part(rows)
        device = next(model.parameters()).device
        seen = embed(model, data.pack.pixels, data.reports, rows, data.studies, view=data.view, device=device)
        self.embedded.append(seen)
        return seen
