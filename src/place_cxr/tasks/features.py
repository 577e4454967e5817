"""The inputs of heads: features of a frozen encoder, computed once, or the images themselves."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from place_cxr.models.image import ImageEncoder, ImagePyramid
from place_cxr.models.report_features import ReportFeatureEncoder, ReportFeatures
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.task import Reads, RowIndices

# Features of a source that take more bytes are not stored but computed each time.
MAX_CACHED_BYTES = 3_000_000_000
_BATCH_SIZE = 64
# The largest number of half precision; larger values of maps are cut to it.
_MAX_FLOAT16 = 65504.0
HeadInputs = ImagePyramid | ReportFeatures
_log = logging.getLogger(__name__)


def feature_reader(model: Any, reads: Reads) -> ImageEncoder | ReportFeatureEncoder:
    """The part of a model that a head reads."""
    encoder: ImageEncoder = model.image_encoder
    return ReportFeatureEncoder(model) if reads == "report" else encoder


class FrozenFeatures:
    """A frozen encoder's features by row, each computed at most once.

    Maps are stored in half precision, pooled vectors in full. The encoder is in evaluation mode, so
    neither batch statistics nor dropout move.
    """

    def __init__(
        self,
        encoder: ImageEncoder | ReportFeatureEncoder,
        data: EvaluationDataset,
        reads: Reads,
        device: torch.device,
    ) -> None:
        self._encoder, self._data, self._device, self._maps = (
            encoder.eval(),
            data,
            device,
            reads != "pooled",
        )
        self._record: type[ImagePyramid] | type[ReportFeatures] = (
            ReportFeatures if reads == "report" else ImagePyramid
        )
        spec = encoder.head_spec
        shapes = spec.shapes if self._maps else ()
        count = len(data.studies)
        self._fits_in_memory = (
            count * (4 * spec.pooled + 2 * sum(map(math.prod, shapes))) <= MAX_CACHED_BYTES
        )
        self._is_computed = np.zeros(count, dtype=bool)
        # The system takes memory for an empty array only when its rows are filled.
        if self._fits_in_memory:
            self._pooled = np.empty((count, spec.pooled), dtype=np.float32)
            self._levels = [np.empty((count, *shape), dtype=np.float16) for shape in shapes]
        else:
            _log.info(
                "features of %d images would take more than %d GB: computed anew each time",
                count,
                MAX_CACHED_BYTES // 10**9,
            )

    def __call__(self, rows: RowIndices) -> HeadInputs:
        """Features of ``rows``, on the CPU."""
        if not self._fits_in_memory:
            return self._compute(rows)
        self._fill(rows)
        levels = [torch.from_numpy(level[rows]).float() for level in self._levels]
        return self._record.from_levels(torch.from_numpy(self._pooled[rows]), levels)

    def pooled(self, rows: RowIndices) -> Tensor:
        """Pooled vectors [N, C] alone, because the maps of many rows would not fit."""
        if not self._fits_in_memory:
            parts = [
                self._compute(rows[start : start + _BATCH_SIZE]).pooled
                for start in range(0, len(rows), _BATCH_SIZE)
            ]
            return torch.cat(parts)

        self._fill(rows)

        return torch.from_numpy(self._pooled[rows])

    def _fill(self, rows: RowIndices) -> None:
        missing = np.unique(rows[~self._is_computed[rows]])
        for start in range(0, len(missing), _BATCH_SIZE):
            batch_rows = missing[start : start + _BATCH_SIZE]
            features = self._compute(batch_rows)
            self._pooled[batch_rows] = features.pooled.numpy()
            for level, part in zip(self._levels, features.levels, strict=True):
                level[batch_rows] = part.clamp(-_MAX_FLOAT16, _MAX_FLOAT16).half().numpy()
            self._is_computed[batch_rows] = True

    @torch.no_grad()
    def _compute(self, rows: RowIndices) -> HeadInputs:
        images = load_images(self._data, rows).to(self._device)
        if not self._maps:
            return ImagePyramid(self._encoder(images).pooled.float().cpu())
        features = self._encoder.head_features(images)
        levels = [level.float().cpu() for level in features.levels]
        return self._record.from_levels(features.pooled.float().cpu(), levels)


def load_images(data: EvaluationDataset, rows: RowIndices) -> Tensor:
    """Model input [B, 1, V, V] of ``rows``."""
    return data.view(torch.from_numpy(np.asarray(data.pack.pixels[rows])))


class HeadModel(nn.Module):
    """A head, on an encoder of its own where features cannot be computed once.

    ``encoder`` is copied; ``trains_encoder`` decides whether its weights are trained. Its batch
    statistics move in training either way: fine-tuning does so, and the mgca profile repeats it for
    a frozen encoder.
    """

    def __init__(
        self,
        head: nn.Module,
        reads: Reads,
        encoder: ImageEncoder | ReportFeatureEncoder | None = None,
        trains_encoder: bool = False,
    ) -> None:
        super().__init__()
        self.head = head
        self.encoder = (
            copy.deepcopy(encoder).requires_grad_(trains_encoder) if encoder is not None else None
        )
        self._maps = reads != "pooled"

    def forward(self, inputs: Any) -> Any:
        """A prediction from features, or from images where there is an encoder."""
        if self.encoder is None:
            return self.head(inputs)
        if self._maps:
            return self.head(self.encoder.head_features(inputs))
        return self.head(ImagePyramid(self.encoder(inputs).pooled))
