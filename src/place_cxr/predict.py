"""The Python API for trained models: load a run, embed, zero-shot classification, grounding."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import PRIVATE_MODE, atomic_file
from place_cxr.core.records import Box
from place_cxr.core.settings import Settings
from place_cxr.core.tensors import Observations, Tokens, move_to_device
from place_cxr.data.loader import tokens_of
from place_cxr.images.letterbox import Letterbox
from place_cxr.images.read import image_from_memory, read_image
from place_cxr.images.views import ViewSettings, eval_view, view_box
from place_cxr.losses.pathology import observation_similarity, selection_weight
from place_cxr.models.meta_init import init_on_meta_device
from place_cxr.models.place import ImageDescription, ModelSettings, PlaceModel, TextDescription
from place_cxr.text.reports import read_report
from place_cxr.text.tokenizer import Tokenizer
from place_cxr.training import checkpoint

# The temperatures of pathology_pair, of selection and of the contrast (inverse).
SELECTION_TEMPERATURE = 0.1
PATHOLOGY_SCALE = 1 / 0.07
# Weights that smooth a map over patches, along rows and along columns [ours: docs/LOG.md].
_SMOOTHING_KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_BATCH_SIZE = 32  # images that are decoded and encoded together
ImageInput = str | Path | Image.Image | NDArray[Any] | Tensor
_Progress = Callable[[int, int], None]  # (done, total)
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Processor:
    """Prepares images and text as in the training of the model."""

    tokenizer: Tokenizer
    views: ViewSettings
    pack_size: int
    max_tokens: int
    max_sentences: int

    @overload
    def __call__(
        self, *, images: Sequence[ImageInput] | ImageInput
    ) -> Float[Tensor, "N 1 H W"]: ...
    @overload
    def __call__(self, *, text: Sequence[str] | str) -> Tokens: ...
    def __call__(
        self,
        *,
        images: Sequence[ImageInput] | ImageInput | None = None,
        text: Sequence[str] | str | None = None,
    ) -> Float[Tensor, "N 1 H W"] | Tokens:
        """``images`` as model input [N, 1, size, size] in [-1, 1], or ``text`` as Tokens. Give one
        of the two.

        An image is a path, a PIL image, or an array or tensor [H, W] (see `to_gray`). A single
        image or text is a list of one. Raises PlaceError PL-D1xx for an image that cannot be read,
        PL-D301 for an empty text, PL-C020 for an empty list.
        """
        if (images is None) == (text is None):
            raise TypeError("give either images or text")
        if images is not None:
            squares = []
            for gray in map(to_gray, _as_list(images)):
                squares.append(self.letterbox(gray).to_square(gray))
            return eval_view(torch.from_numpy(np.stack(squares)), self.views)

        assert text is not None
        texts = _as_list(text)
        reports = [read_report(text) for text in texts]
        encoded = self.tokenizer.encode(reports, self.max_tokens, self.max_sentences)
        if encoded.truncated:
            _log.warning(
                "%d of %d texts are longer than the model reads, and cut off",
                encoded.truncated,
                len(texts),
            )

        return tokens_of(encoded, np.arange(len(texts)))

    def letterbox(self, gray: NDArray[Any]) -> Letterbox:
        """The geometry between an image [H, W] and its square."""
        return Letterbox(gray.shape[0], gray.shape[1], self.pack_size)


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Scores of C findings in N images, in [0, 1].

    They are not calibrated probabilities: use them to rank images, not with a threshold.
    """

    findings: tuple[str, ...]
    probability: NDArray[np.float32]  # [N, C], mean of the two below
    instance: NDArray[np.float32]  # [N, C]
    observation: NDArray[np.float32]  # [N, C]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, one number for each image."""
        return {"probabilities": dict(zip(self.findings, self.probability.T.tolist(), strict=True))}


@dataclass(frozen=True, slots=True)
class Heat:
    """A heat map of a phrase: ``array`` [H, W] in [0, 1] with maximum 1, in pixels of the original
    image.
    """

    phrase: str
    array: NDArray[np.float32]
    image: NDArray[np.float32]  # the original image, [H, W] in [0, 1]

    def boxes(self, threshold: float = 0.5) -> list[Box]:
        """One box around each connected region at or above ``threshold``, the hottest first."""
        from scipy import ndimage

        regions, _ = ndimage.label(self.array >= threshold)
        slices = ndimage.find_objects(regions)
        slices.sort(key=lambda region: -float(self.array[region].max()))

        return [Box(self.phrase, x.start, y.start, x.stop, y.stop) for y, x in slices]

    def save(self, path: str | Path) -> Path:
        """Write the image with the heat map over it as PNG. The file holds patient pixels."""
        from matplotlib import colormaps

        # Opacity grows with the heat, so the image stays visible where nothing is found.
        color = colormaps["inferno"](self.array)[..., :3]
        alpha = 0.6 * self.array[..., None]
        mixed = (1 - alpha) * self.image[..., None] + alpha * color
        with atomic_file(Path(path), PRIVATE_MODE) as file:
            Image.fromarray(np.uint8(255 * mixed)).save(file, format="PNG")

        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        """Phrase, size and boxes at half of the maximum."""
        boxes = [[b.x0, b.y0, b.x1, b.y1] for b in self.boxes()]
        return {
            "phrase": self.phrase,
            "height": len(self.array),
            "width": self.array.shape[1],
            "boxes": boxes,
        }


class _DataConfig(Settings, extra="ignore"):
    pack_size: int
    max_sentences: int


class _TrainConfig(Settings, extra="ignore"):
    seed: int


class _RunConfig(Settings, extra="ignore"):
    """The part of a run's configuration that is needed to use its model."""

    model: ModelSettings
    views: ViewSettings
    data: _DataConfig
    train: _TrainConfig


def load(
    path: str | Path, *, device: str = "auto", verify: bool = True
) -> tuple[PlaceModel, Processor]:
    """Model (evaluation mode, no gradients) and processor of a run folder or a checkpoint folder.

    ``device`` is auto (the GPU where there is one), cpu or cuda. Without ``verify`` the hashes of
    the checkpoint's files are not checked. Raises PlaceError PL-R1xx without a good checkpoint, see
    `training.checkpoint.load`; PL-E007 without such a device.
    """
    torch_device = _select_device(device)
    saved = checkpoint.load(Path(path), verify=verify)
    config = _read_config(saved)

    # Random weights take seconds to draw, so none are made before those of the file.
    with init_on_meta_device():
        model = _build_model(saved, config)
    checkpoint.load_weights(model, saved.weights, assign=True)
    model.image_encoder.use_fast_layout()

    return model.to(torch_device).eval().requires_grad_(False), _build_processor(saved, config)


def load_untrained(path: str | Path, *, device: str = "auto") -> tuple[PlaceModel, Processor]:
    """The control for a run: its network with the random weights of the run's seed.

    These weights are random even where the run started from pre-trained ones (ImageNet, a BERT).
    Raises as `load`.
    """
    torch_device = _select_device(device)
    saved = checkpoint.load(Path(path))
    config = _read_config(saved)
    torch.manual_seed(config.train.seed)
    model = _build_model(saved, config).to(torch_device).eval().requires_grad_(False)

    return model, _build_processor(saved, config)


def _read_config(saved: checkpoint.Checkpoint) -> _RunConfig:
    try:
        config = _RunConfig.model_validate(saved.config)
    except ValidationError as error:
        paths = [detail["loc"] for detail in error.errors()[:5]]
        keys = ", ".join(".".join(map(str, path)) for path in paths)
        problem = f"its config is not one of a pre-trained model; look at {keys}"
        raise PlaceError(
            problem, code="PL-R109", file=saved.path.name, fix="give a run of place pretrain"
        ) from None

    # Weights come from the checkpoint alone: nothing is fetched or read from their first source.
    image = config.model.image.model_copy(update={"weights": "", "pretrained": False})
    text = config.model.text.model_copy(update={"weights": ""})
    model = config.model.model_copy(update={"image": image, "text": text})

    return config.model_copy(update={"model": model})


def _build_model(saved: checkpoint.Checkpoint, config: _RunConfig) -> PlaceModel:
    try:
        return PlaceModel(config.model)
    except Exception as error:  # numbers that contradict each other fail in any part, in any way
        raise PlaceError(
            "its config describes no network that can be built",
            code="PL-R109",
            file=saved.path.name,
            fix="give a run of place pretrain",
        ) from error


def _build_processor(saved: checkpoint.Checkpoint, config: _RunConfig) -> Processor:
    return Processor(
        tokenizer=Tokenizer.load(saved.path / "tokenizer"),
        views=config.views,
        pack_size=config.data.pack_size,
        max_tokens=config.model.text.max_tokens,
        max_sentences=config.data.max_sentences,
    )


def _select_device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if name.startswith("cuda") and not has_cuda:
        raise PlaceError(
            "there is no usable CUDA device",
            code="PL-E007",
            fix="use --device cpu, or see place doctor",
        )

    if name == "auto":
        name = "cuda" if has_cuda else "cpu"

    return torch.device(name)


@torch.no_grad()
def zero_shot(
    model: PlaceModel,
    processor: Processor,
    images: Sequence[ImageInput] | ImageInput,
    prompts: Mapping[str, Sequence[str] | str],
) -> ZeroShot:
    """Scores of each finding in each image. ``prompts`` are phrases of each finding: ``{"effusion":
    ["pleural effusion"]}``.

    Each phrase is compared with its negation ("No pleural effusion."). Several phrases are
    averaged. Raises PlaceError PL-C020 for no image, no finding or no phrase.
    """
    groups = {name: _as_list(wording) for name, wording in prompts.items() if wording}
    if not groups or len(groups) < len(prompts):
        raise PlaceError(
            "every finding needs at least one phrase",
            code="PL-C020",
            fix="give {name: [phrase, ...]}",
        )

    device = next(model.parameters()).device
    phrases = [phrase.strip().rstrip(".") for phrase in chain(*groups.values())]
    yes = describe_text(model, processor, [f"{p}." for p in phrases])
    no = describe_text(model, processor, [f"No {p[:1].lower()}{p[1:]}." for p in phrases])

    # [phrases, findings]: each column averages over the phrases of one finding.
    phrase_counts = torch.tensor([len(group) for group in groups.values()], device=device)
    group_index = torch.arange(len(groups), device=device).repeat_interleave(phrase_counts)
    averaging = F.one_hot(group_index, len(groups)).float()
    averaging = averaging / averaging.sum(0)

    # How much more similar an image is to a phrase than to its negation, by both scores.
    instance_margins: list[Tensor] = []
    observation_margins: list[Tensor] = []
    for part in _chunks(_as_list(images)):
        description = model.describe_image(processor(images=part).to(device))
        yes_instance, yes_observation = image_text_scores(description, yes)
        no_instance, no_observation = image_text_scores(description, no)
        instance_margins.append(yes_instance - no_instance)
        observation_margins.append(yes_observation - no_observation)

    # The sigmoid of a margin is the softmax over a phrase and its negation, here at the
    # temperatures of training.
    instance = torch.sigmoid(model.scale * (torch.cat(instance_margins) @ averaging))
    observation = torch.sigmoid(PATHOLOGY_SCALE * (torch.cat(observation_margins) @ averaging))
    probability = (instance + observation) / 2

    return ZeroShot(
        tuple(groups),
        probability.cpu().numpy(),
        instance.cpu().numpy(),
        observation.cpu().numpy(),
    )


@torch.no_grad()
def ground(model: PlaceModel, processor: Processor, image: ImageInput, text: str) -> Heat:
    """A heat map of ``text`` in ``image``, in pixels of the original image."""
    device = next(model.parameters()).device
    gray = to_gray(image)
    description = model.describe_image(processor(images=gray).to(device))
    phrase = describe_text(model, processor, text)
    heat = phrase_map(
        description.observations.vectors,
        description.attention,
        description.patches,
        phrase.observations,
        description.grid,
    )

    return Heat(text, heat_to_original(heat[0], processor, processor.letterbox(gray)), gray)


@torch.no_grad()
def embed(
    model: PlaceModel,
    processor: Processor,
    images: Sequence[ImageInput] | ImageInput,
    *,
    progress: _Progress | None = None,
) -> NDArray[np.float32]:
    """Unit-length instance vectors [N, D]. ``progress(done, total)`` is called after each batch.

    Raises PlaceError PL-C020 for no image.
    """
    device = next(model.parameters()).device
    listed = _as_list(images)
    parts: list[NDArray[np.float32]] = []
    for part in _chunks(listed):
        parts.append(model.encode_image(processor(images=part).to(device)).cpu().numpy())
        if progress is not None:
            progress(min(len(parts) * _BATCH_SIZE, len(listed)), len(listed))

    return np.concatenate(parts)


def describe_text(
    model: PlaceModel, processor: Processor, text: Sequence[str] | str
) -> TextDescription:
    """Instance vectors and T-PORs of texts, on the model's device."""
    device = next(model.parameters()).device
    return model.describe_text(move_to_device(processor(text=text), device))


def image_text_scores(
    image: ImageDescription, text: TextDescription
) -> tuple[Float[Tensor, "N R"], Float[Tensor, "N R"]]:
    """Cosine of the instance vectors, and the observation score of PCMA, of every image with every
    text.
    """
    observation = observation_similarity(
        image.observations.vectors,
        text.observations.vectors,
        text.observations.mask,
        SELECTION_TEMPERATURE,
    )

    return image.vector @ text.vector.T, observation


def phrase_map(
    visual: Float[Tensor, "N K D"],
    attention: Float[Tensor, "N K P"],
    patches: Float[Tensor, "N P D"],
    sentences: Observations,
    grid: tuple[int, int],
) -> Float[Tensor, "N rows columns"]:
    """How much each patch of image n adds to its similarity with text n; mean over the sentences of
    a text, smoothed over patches.
    """
    # With selection weights w, attention A and patch vectors u, the similarity of a sentence t to
    # what it selects is proportional to the sum over patches p of (w A)_p (u_p . t). The map shows
    # these terms. Negative ones speak against the sentence and are left out.
    cosine = sentences.vectors @ visual.transpose(1, 2)
    weight = selection_weight(cosine, SELECTION_TEMPERATURE, "soft")
    patch_similarity = (sentences.vectors @ patches.transpose(1, 2)).clamp(min=0)
    contribution = weight @ attention * patch_similarity  # [N, S, P]

    count = sentences.mask.sum(1, keepdim=True).clamp(min=1)
    heat = ((contribution * sentences.mask[..., None]).sum(1) / count).unflatten(1, grid)

    # At the edge the nearest patch stands for those outside, so that edges do not fade.
    kernel = torch.tensor(_SMOOTHING_KERNEL, device=heat.device)
    padded = F.pad(heat[:, None].float(), (2, 2, 2, 2), mode="replicate")

    return F.conv2d(padded, torch.outer(kernel, kernel)[None, None])[:, 0]


def heat_to_original(
    heat: Float[Tensor, "rows columns"], processor: Processor, letterbox: Letterbox
) -> NDArray[np.float32]:
    """A map over patches as a map [H, W] of the original image, scaled to a maximum of 1. It is 0
    outside the model's view.
    """
    # The way back: patches to the view, the view into its square, the square to the image.
    left, top, side = view_box(processor.views, processor.pack_size)
    view = F.interpolate(heat[None, None].float().cpu(), (side, side), mode="bilinear")[0, 0]
    square = np.zeros((processor.pack_size, processor.pack_size), np.float32)
    square[top : top + side, left : left + side] = view.numpy()
    original = letterbox.map_to_original(square)

    return np.asarray(original / max(float(original.max()), 1e-12), dtype=np.float32)


def to_gray(image: ImageInput) -> NDArray[np.float32]:
    """Any accepted image as float32 [H, W] in [0, 1].

    A file is read by `images.read.read_image`. A PIL image, an array or a tensor [H, W] is scaled
    by the same rules: 8 bits are divided by 255, more bits by their largest value, and floats in
    [0, 1] stay. Raises PlaceError PL-D1xx.
    """
    if isinstance(image, (str, Path)):
        return read_image(image)
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()

    return image_from_memory(image)


def _as_list(value: Any) -> list[Any]:
    """The value as a list. Raises PlaceError PL-C020 where it is empty."""
    # Python can iterate over a text, a path or an image [H, W], but each is a single item.
    is_single = isinstance(value, (str, Path, Image.Image)) or getattr(value, "ndim", None) == 2
    listed = [value] if is_single else list(value)
    if not listed:
        raise PlaceError("nothing was given", code="PL-C020", fix="give at least one")

    return listed


def _chunks(listed: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (listed[start : start + _BATCH_SIZE] for start in range(0, len(listed), _BATCH_SIZE))
