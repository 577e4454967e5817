"""What a report decoder reads of an image: patch tokens and V-PORs; with them the instance vector,
and their places.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from place_cxr.core.tensors import Features, l2_normalize
from place_cxr.models.image import ImagePyramid
from place_cxr.models.place import PlaceModel


@dataclass(frozen=True, slots=True)
class DecoderInputsSpec:
    """What a decoder is built for: P patch tokens on a grid, K V-PORs, and the vocabulary.

    ``shapes`` are ((P, C), (K, D), (K, P)).
    """

    pooled: int
    shapes: tuple[tuple[int, int], ...]
    grid: tuple[int, int]
    vocabulary: int


class DecoderInputsReader(nn.Module):
    """The image side of a model, in place of an encoder. The parts are the model's own, not copies."""

    def __init__(self, model: PlaceModel) -> None:
        super().__init__()
        self.image_encoder, self.observer, self.projection = (
            model.image_encoder,
            model.observer,
            model.image_projection,
        )
        spec, settings = model.image_encoder.spec, model.settings
        patches = (spec.grid[0] * spec.grid[1], spec.local)
        vpors = (settings.observations.queries, settings.shared)
        shapes = (patches, vpors, (vpors[0], patches[0]))
        self.pyramid_spec = DecoderInputsSpec(
            settings.shared, shapes, spec.grid, settings.text.vocab_size
        )

    def forward(self, image: Float[Tensor, "B 1 H W"]) -> ImagePyramid:
        """The instance vectors alone, of unit length."""
        return self._seen(self.image_encoder(image), ())

    def pyramid(self, image: Float[Tensor, "B 1 H W"]) -> ImagePyramid:
        """Instance vectors [B, D]; patch tokens [B, P, C], V-PORs [B, K, D], where each V-POR
        looked [B, K, P].
        """
        features = self.image_encoder(image)
        visual, attention, _ = self.observer(features)
        return self._seen(features, (features.local, visual.vectors, attention))

    def _seen(self, features: Features, maps: tuple[Tensor, ...]) -> ImagePyramid:
        return ImagePyramid(l2_normalize(self.projection(features.pooled).float()), maps)
