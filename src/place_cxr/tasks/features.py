"""What heads are fed: features of a frozen encoder, computed once, or the pictures themselves."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from place_cxr.models.decoder_inputs import DecoderInputsReader
from place_cxr.models.image import ImageEncoder, ImagePyramid
from place_cxr.tasks.data import Evaluation
from place_cxr.tasks.task import Rows

KEPT = 3_000_000_000  # bytes of features that are kept; beyond, they are computed each time
_AT_ONCE = 64
_HALF = 65504.0  # largest number of half precision
_log = logging.getLogger(__name__)


class Features:
    """A frozen encoder's features by row, each computed at most once: maps in half precision, pooled vectors in full.

    The encoder is in evaluation mode, so neither batch statistics nor dropout move.
    """

    def __init__(
        self,
        encoder: ImageEncoder | DecoderInputsReader,
        data: Evaluation,
        reads: Literal["pooled", "maps"],
        device: torch.device,
    ) -> None:
        self._encoder, self._data, self._device, self._maps = encoder.eval(), data, device, reads == "maps"
        spec = encoder.pyramid_spec
        shapes = spec.shapes if self._maps else ()
        count = len(data.studies)
        self._keeps = count * (4 * spec.pooled + 2 * sum(map(math.prod, shapes))) <= KEPT
        self._known = np.zeros(count, dtype=bool)
        if self._keeps:  # memory is taken when rows are filled
            self._pooled = np.empty((count, spec.pooled), dtype=np.float32)
            self._levels = [np.empty((count, *shape), dtype=np.float16) for shape in shapes]
        else:
            _log.info("features of %d images would take more than %d GB: computed anew each time", count, KEPT // 10**9)

    def __call__(self, rows: Rows) -> ImagePyramid:
        """Features of ``rows``, on the processor."""
        if not self._keeps:
            return self._compute(rows)
        self._fill(rows)
        maps = tuple(torch.from_numpy(level[rows]).float() for level in self._levels)
        return ImagePyramid(torch.from_numpy(self._pooled[rows]), maps)

    def pooled(self, rows: Rows) -> Tensor:
        """Pooled vectors [N, C] alone: of many rows, maps would not fit."""
        if not self._keeps:
            parts = [self._compute(rows[start : start + _AT_ONCE]).pooled for start in range(0, len(rows), _AT_ONCE)]
            return torch.cat(parts)
        self._fill(rows)
        return torch.from_numpy(self._pooled[rows])

    def _fill(self, rows: Rows) -> None:
        missing = np.unique(rows[~self._known[rows]])
        for start in range(0, len(missing), _AT_ONCE):
            part = missing[start : start + _AT_ONCE]
            seen = self._compute(part)
            self._pooled[part] = seen.pooled.numpy()
            for level, found in zip(self._levels, seen.maps, strict=True):
                level[part] = found.clamp(-_HALF, _HALF).half().numpy()
            self._known[part] = True

    @torch.no_grad()
    def _compute(self, rows: Rows) -> ImagePyramid:
        image = pictures(self._data, rows).to(self._device)
        if not self._maps:
            return ImagePyramid(self._encoder(image).pooled.float().cpu())
        seen = self._encoder.pyramid(image)
        return ImagePyramid(seen.pooled.float().cpu(), tuple(found.float().cpu() for found in seen.maps))


def pictures(data: Evaluation, rows: Rows) -> Tensor:
    """Model input [B, 1, V, V] of rows."""
    return data.view(torch.from_numpy(np.asarray(data.pack.pixels[rows])))


class Learner(nn.Module):
    """A head, and below it an encoder of its own where features cannot be computed once.

    ``encoder`` is copied; ``trains`` decides whether its weights learn. Its batch statistics move in training either
    way: that is what fine-tuning does, and the quirk that the mgca profile repeats.
    """

    def __init__(
        self,
        head: nn.Module,
        reads: Literal["pooled", "maps"],
        encoder: ImageEncoder | DecoderInputsReader | None = None,
        trains: bool = False,
    ) -> None:
        super().__init__()
        self.head = head
        self.encoder = copy.deepcopy(encoder).requires_grad_(trains) if encoder is not None else None
        self._maps = reads == "maps"

    def forward(self, inputs: Any) -> Any:
        """A prediction from `ImagePyramid`, or from pictures where there is an encoder."""
        if self.encoder is None:
            return self.head(inputs)
        if self._maps:
            return self.head(self.encoder.pyramid(inputs))
        return self.head(ImagePyramid(self.encoder(inputs).pooled))
