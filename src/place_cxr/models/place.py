"""PlaceModel: the parts wired together."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from place_cxr.core.settings import Settings
from place_cxr.core.tensors import (
    Correlation,
    Features,
    Observations,
    PlaceOutputs,
    Tokens,
    Views,
    l2_normalize,
)
from place_cxr.models.correlation import (
    CorrelationSettings,
    PatchCorrelation,
    correlation_vectors,
    pixel_patches,
    pooled_map,
)
from place_cxr.models.image import ImageEncoder, ImageSettings
from place_cxr.models.observations import ObservationSettings, SentencePool, VisualObserver
from place_cxr.models.text import TextEncoder, TextSettings
from place_cxr.models.tokens import TokenProjection, TokenSettings


class ModelSettings(Settings):
    """Everything that decides the shape of the network."""

    image: ImageSettings = ImageSettings()
    text: TextSettings = TextSettings()
    shared: int = Field(128, ge=1, le=4096)  # D [MGCA]
    hidden: int = Field(2048, ge=1, le=16384)  # of the instance projections [MGCA]
    temperature: float = 0.07  # start of the learned instance temperature [MGCA]
    observations: ObservationSettings = ObservationSettings()
    correlation: CorrelationSettings | None = CorrelationSettings()  # null: no CCE head is built
    tokens: TokenSettings | None = None  # shared space of single patches and words: GLoRIA and MGCA
    prototypes: int | None = Field(
        None, ge=1, le=16384, description="clusters in the shared space: MGCA, 500 there"
    )


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """What the model computes of images at inference."""

    pooled: Float[Tensor, "B C"]
    vector: Float[Tensor, "B D"]  # unit length
    observations: Observations  # V-PORs, B x K
    attention: Float[Tensor, "B K P"]
    patches: Float[Tensor, "B P D"]  # patch vectors of which V-PORs are weighted sums
    grid: tuple[int, int]
    # The last map, position by position, in the space of `vector`; unit length.
    places: Float[Tensor, "B N D"]
    places_grid: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TextDescription:
    """What the model computes of reports at inference."""

    vector: Float[Tensor, "B D"]  # unit length
    observations: Observations  # T-PORs, B x S


class PlaceModel(nn.Module):
    """Image and text encoders, instance projections, VPOE, sentence pooling, correlation head, and
    the parts that only peer methods use.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.image_encoder = ImageEncoder(settings.image)
        self.text_encoder = TextEncoder(settings.text)
        spec, text_width, shared = self.image_encoder.spec, self.text_encoder.width, settings.shared
        self.image_projection = _projection(spec.pooled, settings.hidden, shared)
        self.text_projection = _projection(text_width, settings.hidden, shared)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / settings.temperature)))
        self.observer = VisualObserver(settings.observations, spec, shared)
        self.sentences = SentencePool(text_width, shared)

        # The parts of each method are optional. Their order decides the random numbers they get.
        self.correlation: PatchCorrelation | None = None
        self.teacher: ImageEncoder | None = None
        if settings.correlation is not None:
            self.correlation = PatchCorrelation(settings.correlation, spec, text_width)
            if settings.correlation.target == "teacher":
                self.teacher = copy.deepcopy(self.image_encoder).requires_grad_(False).eval()

        self.tokens: TokenProjection | None = None
        if settings.tokens is not None:
            self.tokens = TokenProjection(settings.tokens, spec, text_width, shared)

        self.prototypes: nn.Parameter | None = None
        if settings.prototypes is not None:
            self.prototypes = nn.Parameter(torch.randn(settings.prototypes, shared))

    def forward(self, views: Views, tokens: Tokens, monitor: bool = False) -> PlaceOutputs:
        """All that losses may read. ``monitor`` adds the correlation that is predicted with the
        report of another study.
        """
        # Only token-wise peers need the encoders' attentions.
        attend = self.tokens is not None
        image = self.image_encoder(views.image, attend)
        text = self.text_encoder(tokens, attend)
        visual, attention, patches = self.observer(image)

        return PlaceOutputs(
            # Normalized in full precision, as cosines near 1 lose all digits in bf16.
            image=l2_normalize(self.image_projection(image.pooled).float()),
            text=l2_normalize(self.text_projection(text.pooled).float()),
            scale=self.scale,
            visual=visual,
            attention=attention,
            patches=patches,
            textual=self.sentences(text.local, tokens),
            sentence_key=tokens.sentence_key,
            report_key=tokens.report_key,
            correlation=self._correlate(views, image, text, tokens, monitor),
            tokens=None if self.tokens is None else self.tokens(image, text, tokens),
            prototypes=None if self.prototypes is None else l2_normalize(self.prototypes),
        )

    @property
    def scale(self) -> Float[Tensor, ""]:
        """Inverse temperature of the instance loss, at most 100 [CLIP]."""
        return self.log_scale.clamp(max=math.log(100)).exp()

    def freeze_unread(self, fields: Collection[str]) -> None:
        """Parts behind fields of PlaceOutputs that no loss reads take no gradient.

        Then ranks have nothing to synchronise for them, and weight decay does not move them.
        ``fields`` are those that some loss reads.
        """
        # The fields of PlaceOutputs and the parts that only they need.
        behind: dict[str, tuple[nn.Module | nn.Parameter | None, ...]] = {
            "image": (self.image_projection, self.text_projection),
            "scale": (self.log_scale,),
            "visual": (self.observer, self.sentences),
            "correlation": (self.correlation,),
            "tokens": (self.tokens,),
            "prototypes": (self.prototypes,),
        }
        for field, parts in behind.items():
            for part in parts:
                if field not in fields and part is not None:
                    part.requires_grad_(False)

        if "image" not in fields:
            self.image_encoder.freeze_beyond_maps()

    def describe_image(self, image: Float[Tensor, "B 1 H W"]) -> ImageDescription:
        """Everything that zero-shot classification, retrieval, grounding and probes need."""
        features, places, places_grid = self.image_encoder.forward_with_positions(image)
        observations, attention, patches = self.observer(features)

        return ImageDescription(
            pooled=features.pooled,
            vector=l2_normalize(self.image_projection(features.pooled).float()),
            observations=observations,
            attention=attention,
            patches=patches,
            grid=features.grid,
            places=l2_normalize(self.image_projection(places).float()),
            places_grid=places_grid,
        )

    def describe_text(self, tokens: Tokens) -> TextDescription:
        """Instance vector and T-PORs of reports or prompts."""
        text = self.text_encoder(tokens)
        return TextDescription(
            l2_normalize(self.text_projection(text.pooled).float()),
            self.sentences(text.local, tokens),
        )

    def encode_image(self, image: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B D"]:
        """Unit-length instance vectors."""
        return l2_normalize(self.image_projection(self.image_encoder(image).pooled).float())

    def encode_text(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        """Unit-length instance vectors."""
        return l2_normalize(self.text_projection(self.text_encoder(tokens).pooled).float())

    @torch.no_grad()
    def update_teacher(self) -> None:
        """Move the teacher towards the image encoder by 1 - momentum; buffers are copied."""
        if self.teacher is None or self.settings.correlation is None:
            return

        teacher: list[Tensor] = list(self.teacher.parameters())
        student: list[Tensor] = list(self.image_encoder.parameters())
        torch._foreach_lerp_(teacher, student, 1 - self.settings.correlation.momentum)

        for target, source in zip(
            self.teacher.buffers(), self.image_encoder.buffers(), strict=True
        ):
            target.copy_(source)

    def train(self, mode: bool = True) -> PlaceModel:
        """As in torch, but the teacher stays in evaluation mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()

        return self

    def _correlate(
        self, views: Views, image: Features, text: Features, tokens: Tokens, monitor: bool
    ) -> Correlation | None:
        if self.correlation is None:
            return None

        # The monitor shifts reports by one study. A head that uses the report predicts worse then.
        permuted = None
        if monitor:
            with torch.no_grad():
                permuted = self.correlation(
                    image.local, text.local.roll(1, 0), tokens.mask.roll(1, 0)
                )

        return Correlation(
            predicted=self.correlation(image.local, text.local, tokens.mask),
            target=self._target(views.clean, image.grid),
            permuted=permuted,
        )

    # The target takes no gradient, else both sides could agree on a constant.
    @torch.no_grad()
    def _target(self, clean: Tensor, grid: tuple[int, int]) -> Float[Tensor, "B P F"]:
        if self.teacher is not None:
            return correlation_vectors(self.teacher.local(clean))
        if self.settings.correlation is not None and self.settings.correlation.target == "pixels":
            return correlation_vectors(pixel_patches(clean, grid))
        return correlation_vectors(pooled_map(self.image_encoder.shallow(clean), grid))


def _projection(width: int, hidden: int, shared: int) -> nn.Module:
    """MLP without batch statistics, so that micro-batches and ranks do not change it."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, shared)
    )
