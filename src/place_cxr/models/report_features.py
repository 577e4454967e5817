"""What a report decoder reads of an image: patch tokens and V-PORs, beside the instance vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from place_cxr.core.tensors import Features, l2_normalize
from place_cxr.models.image import ImagePyramid
from place_cxr.models.place import PlaceModel


@dataclass(frozen=True, slots=True)
class ReportFeatures:
    """What a report decoder reads of B images."""

    pooled: Float[Tensor, "B D"]  # the instance vector, of unit length
    patches: Float[Tensor, "B P C"]
    observations: Float[Tensor, "B K D"]  # V-PORs
    attention: Float[Tensor, "B K P"]  # where each V-POR looked

    @property
    def levels(self) -> tuple[Tensor, ...]:
        """All but the instance vector, in the order of `ReportFeatureSpec.shapes`."""
        return self.patches, self.observations, self.attention

    @classmethod
    def from_levels(cls, pooled: Tensor, levels: Sequence[Tensor]) -> ReportFeatures:
        """The record of which these are the parts."""
        return cls(pooled, *levels)


@dataclass(frozen=True, slots=True)
class ReportFeatureSpec:
    """The sizes that a decoder is built for: P patch tokens on a grid, K V-PORs, the vocabulary.

    ``shapes`` are ((P, C), (K, D), (K, P)).
    """

    pooled: int
    shapes: tuple[tuple[int, int], ...]
    grid: tuple[int, int]
    vocabulary: int


class ReportFeatureEncoder(nn.Module):
    """The image side of a model, used in place of an image encoder. It shares the model's parts."""

    def __init__(self, model: PlaceModel) -> None:
        super().__init__()
        self.image_encoder = model.image_encoder
        self.observer = model.observer
        self.projection = model.image_projection

        # The shapes of `ReportFeatures.levels` for one image.
        spec, settings = model.image_encoder.spec, model.settings
        patches = (spec.grid[0] * spec.grid[1], spec.local)
        vpors = (settings.observations.queries, settings.shared)
        shapes = (patches, vpors, (vpors[0], patches[0]))
        self.head_spec = ReportFeatureSpec(
            settings.shared, shapes, spec.grid, settings.text.vocab_size
        )

    def forward(self, image: Float[Tensor, "B 1 H W"]) -> ImagePyramid:
        """The instance vectors alone, of unit length."""
        return ImagePyramid(self._instance(self.image_encoder(image)))

    def head_features(self, image: Float[Tensor, "B 1 H W"]) -> ReportFeatures:
        """All that a decoder reads."""
        features = self.image_encoder(image)
        visual, attention, _ = self.observer(features)

        return ReportFeatures(self._instance(features), features.local, visual.vectors, attention)

    def _instance(self, features: Features) -> Tensor:
        return l2_normalize(self.projection(features.pooled).float())
