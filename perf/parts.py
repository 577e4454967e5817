"""The network and batches that are measured.

Shapes are those of the recipe mimic-vitb16; weights are random and reports synthetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from place_cxr.core.settings import load_settings
from place_cxr.core.tensors import Features, Tokens, Views, move_to_device
from place_cxr.losses import total_loss
from place_cxr.models.correlation import CorrelationSettings
from place_cxr.models.observations import ObservationSettings
from place_cxr.models.place import ModelSettings, PlaceModel
from place_cxr.pretrain import PretrainConfig, recipe_path

# Tokens in a padded report, sentences in a report, entries of BERT's vocabulary.
LENGTH, SENTENCES, VOCABULARY = 112, 12, 28_996
# ViT-B/16 at 224 px: 14 x 14 patches, 768 numbers each.
PATCHES, WIDTH, GRID = 196, 768, (14, 14)
_TOKENS_PER_SENTENCE = 9


def recipe() -> PretrainConfig:
    """The paper's setting with ViT-B/16."""
    return load_settings(PretrainConfig, recipe_path("mimic-vitb16"), [])


def settings(full: bool = False, *, depth: int = 12, text_layers: int = 12) -> ModelSettings:
    """ViT-B/16 and BERT.

    ``full``: the observer and the correlation block are as wide as the encoders (768). Otherwise
    they have the recipe's width (256).
    """
    model = recipe().model
    image = model.image.model_copy(update={"options": {"depth": depth}})
    text = model.text.model_copy(update={"vocab_size": VOCABULARY, "layers": text_layers})
    updates: dict[str, Any] = {"image": image, "text": text}

    if full:
        updates["observations"] = ObservationSettings(width=WIDTH, heads=12)
        updates["correlation"] = CorrelationSettings(width=WIDTH, heads=12)
    return model.model_copy(update=updates)


def tokens(batch: int, *, mean: int = 89, seed: int = 0) -> Tokens:
    """Reports of ``mean`` tokens on average, at most 112, of up to 12 sentences, all different."""
    generator = torch.Generator().manual_seed(seed)
    # Lengths are spread evenly around the mean, up to the longest, in random order.
    spread = torch.zeros(1)
    if batch > 1:
        spread = torch.linspace(-1, 1, batch)[torch.randperm(batch, generator=generator)]
    length = (mean + (LENGTH - mean) * spread).round().long()[:, None]

    position = torch.arange(LENGTH)[None]
    mask = position < length
    # Position 0 is [CLS] and belongs to no sentence, nor does what follows the last sentence.
    number = (position - 1) // _TOKENS_PER_SENTENCE
    sentence = number.where(mask & (position > 0) & (number < SENTENCES), -1)

    exists = torch.stack([(sentence == s).any(1) for s in range(SENTENCES)], 1)
    key = (torch.arange(batch * SENTENCES).view(batch, SENTENCES) + 1) * exists
    ids = torch.randint(1000, VOCABULARY, mask.shape, generator=generator) * mask
    return Tokens(
        ids, mask, sentence, key, torch.arange(batch), mask.flatten().nonzero().squeeze(1)
    )


def views(batch: int, seed: int = 0) -> Views:
    """Two random views of 224 px for each image, values in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(2, batch, 1, 224, 224, generator=generator) * 2 - 1
    return Views(pixels[0], pixels[1])


class StoredFeatures(nn.Module):
    """Stands in for an encoder: returns the same features for every input."""

    def __init__(self, features: Features, trained: bool = True) -> None:
        super().__init__()
        self.features = Features(
            features.pooled.detach().requires_grad_(trained),
            features.local.detach().requires_grad_(trained),
            features.grid,
        )

    def forward(self, *_: Any) -> Features:
        """The stored features, without the gradient of an earlier call."""
        # In the whole model the gradient goes on into the encoder and is not accumulated here.
        self.features.pooled.grad = self.features.local.grad = None
        return self.features

    def local(self, _: Any) -> Tensor:
        """The stored patch tokens."""
        return self.features.local


def heads_only(model: PlaceModel, batch: int, seed: int = 0) -> PlaceModel:
    """``model`` with its encoders, the teacher's too, replaced by random stored features."""
    generator = torch.Generator().manual_seed(seed)

    def features(count: int, grid: tuple[int, int], trained: bool = True) -> StoredFeatures:
        local = torch.randn(batch, count, WIDTH, generator=generator)
        pooled = torch.randn(batch, WIDTH, generator=generator)
        return StoredFeatures(Features(pooled, local, grid), trained)

    model.image_encoder = features(PATCHES, GRID)  # type: ignore[assignment]
    model.text_encoder = features(LENGTH, (1, LENGTH))  # type: ignore[assignment]
    model.teacher = features(PATCHES, GRID, trained=False)  # type: ignore[assignment]
    return model


def heads_call(full: bool) -> Callable[[int], Callable[[], None]]:
    """For a batch size, a call that runs the heads and all losses of the recipe.

    Forward and backward. The calls of several batch sizes share one model.
    """
    torch.manual_seed(0)
    model = PlaceModel(settings(full, depth=1, text_layers=1))
    terms = recipe().losses

    def call_for(batch: int) -> Callable[[], None]:
        text, images = tokens(batch), views(1)
        stored = heads_only(model, batch)
        encoders = (stored.image_encoder, stored.text_encoder, stored.teacher)

        def run() -> None:
            # Another batch size may have put its own features into the model since.
            model.image_encoder, model.text_encoder, model.teacher = encoders
            model.zero_grad(set_to_none=True)
            total_loss(model(images, text), terms)[0].backward()

        return run

    return call_for


def encoders_call(model: PlaceModel, batch: int) -> Callable[[], None]:
    """A call that runs both encoders forward and backward.

    The gradient starts at all outputs that the heads read.
    """
    device = next(model.parameters()).device
    text, images = move_to_device(tokens(batch), device), move_to_device(views(batch), device)

    def run() -> None:
        model.zero_grad(set_to_none=True)
        image_features, text_features = model.image_encoder(images.image), model.text_encoder(text)
        outputs: list[Tensor] = [
            image_features.pooled,
            image_features.local,
            text_features.pooled,
            text_features.local,
        ]
        torch.autograd.backward(outputs, [torch.full_like(out, 1e-3) for out in outputs])

    return run
