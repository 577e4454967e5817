"""The network and batches that are measured: shapes of the recipe mimic-vitb16, random weights,
made-up tokens.
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

LENGTH, SENTENCES, VOCABULARY = 112, 12, 28_996
PATCHES, WIDTH, GRID = 196, 768, (14, 14)


def recipe() -> PretrainConfig:
    """The paper setting with ViT-B/16."""
    return load_settings(PretrainConfig, recipe_path("mimic-vitb16"), [])


def settings(full: bool = False, *, depth: int = 12, text_layers: int = 12) -> ModelSettings:
    """ViT-B/16 + BERT; ``full``: observer and correlation block as wide as the encoders, else the
    recipe's 256.
    """
    model = recipe().model
    image = model.image.model_copy(update={"options": {"depth": depth}})
    text = model.text.model_copy(update={"vocab_size": VOCABULARY, "layers": text_layers})
    wide = {
        "observations": ObservationSettings(width=WIDTH, heads=12),
        "correlation": CorrelationSettings(width=WIDTH, heads=12),
    }
    return model.model_copy(update={"image": image, "text": text, **(wide if full else {})})


def tokens(batch: int, *, mean: int = 89, seed: int = 0) -> Tokens:
    """Reports of ``mean`` tokens on average, at most 112, of up to 12 sentences, all different."""
    generator = torch.Generator().manual_seed(seed)
    spread = (
        torch.linspace(-1, 1, batch)[torch.randperm(batch, generator=generator)]
        if batch > 1
        else torch.zeros(1)
    )
    used = (mean + (LENGTH - mean) * spread).round().long()[:, None]
    place = torch.arange(LENGTH)[None]
    mask = place < used
    sentence = ((place - 1) // 9).where(mask & (place > 0) & ((place - 1) // 9 < SENTENCES), -1)
    stated = torch.stack([(sentence == s).any(1) for s in range(SENTENCES)], 1)
    key = (torch.arange(batch * SENTENCES).view(batch, SENTENCES) + 1) * stated
    ids = torch.randint(1000, VOCABULARY, mask.shape, generator=generator) * mask
    return Tokens(
        ids, mask, sentence, key, torch.arange(batch), mask.flatten().nonzero().squeeze(1)
    )


def views(batch: int, seed: int = 0) -> Views:
    """Two random pictures of 224 px an image."""
    picture = (
        torch.rand(2, batch, 1, 224, 224, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    )
    return Views(picture[0], picture[1])


class Stored(nn.Module):
    """In place of an encoder: gives back what it gave once."""

    def __init__(self, features: Features, trained: bool = True) -> None:
        super().__init__()
        self.features = Features(
            features.pooled.detach().requires_grad_(trained),
            features.local.detach().requires_grad_(trained),
            features.grid,
        )

    def forward(self, *_: Any) -> Features:
        """The stored features, whatever comes in; their gradient would go on into the encoder, so
        none is kept.
        """
        self.features.pooled.grad = self.features.local.grad = None
        return self.features

    def local(self, _: Any) -> Tensor:
        """Their patch tokens."""
        return self.features.local


def heads_only(model: PlaceModel, batch: int, seed: int = 0) -> PlaceModel:
    """``model`` with its encoders, the teacher's too, replaced by random outputs of theirs: what is
    left is heads.
    """
    generator = torch.Generator().manual_seed(seed)

    def features(places: int, grid: tuple[int, int], trained: bool = True) -> Stored:
        local = torch.randn(batch, places, WIDTH, generator=generator)
        return Stored(
            Features(torch.randn(batch, WIDTH, generator=generator), local, grid), trained
        )

    model.image_encoder = features(PATCHES, GRID)  # type: ignore[assignment]
    model.text_encoder = features(LENGTH, (1, LENGTH))  # type: ignore[assignment]
    model.teacher = features(PATCHES, GRID, trained=False)  # type: ignore[assignment]
    return model


def heads(full: bool) -> Callable[[int], Callable[[], None]]:
    """For a batch size, a call that runs the heads and all losses of the recipe, forward and
    backward.
    """
    torch.manual_seed(0)
    model = PlaceModel(settings(full, depth=1, text_layers=1))
    terms = recipe().losses

    def of(batch: int) -> Callable[[], None]:
        text, pictures, stored = tokens(batch), views(1), heads_only(model, batch)
        kept = (stored.image_encoder, stored.text_encoder, stored.teacher)

        def run() -> None:
            model.image_encoder, model.text_encoder, model.teacher = kept
            model.zero_grad(set_to_none=True)
            total_loss(model(pictures, text), terms)[0].backward()

        return run

    return of


def encoders(model: PlaceModel, batch: int) -> Callable[[], None]:
    """A call that runs both encoders forward and backward, from a gradient on all that heads read."""
    device = next(model.parameters()).device
    text, pictures = move_to_device(tokens(batch), device), move_to_device(views(batch), device)

    def run() -> None:
        model.zero_grad(set_to_none=True)
        image, said = model.image_encoder(pictures.image), model.text_encoder(text)
        ends: list[Tensor] = [image.pooled, image.local, said.pooled, said.local]
        torch.autograd.backward(ends, [torch.full_like(end, 1e-3) for end in ends])

    return run
