"""What users, tasks and pages call: load a run, encode, classify without training, point at what a
phrase names.
"""

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

SELECTION_TEMPERATURE = 0.1  # that of pathology_pair
PATHOLOGY_SCALE = 1 / 0.07  # inverse temperature of pathology_pair
_SMOOTHING_KERNEL = [
    1 / 16,
    4 / 16,
    6 / 16,
    4 / 16,
    1 / 16,
]  # over patches, by row and column [ours: docs/LOG.md]
_BATCH_SIZE = 32  # pictures decoded and encoded together
ImageInput = str | Path | Image.Image | NDArray[Any] | Tensor
_Progress = Callable[[int, int], None]  # (done, total)
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Processor:
    """Pictures and text as the model was trained to see them."""

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
        """``images`` as model input [N, 1, size, size] in [-1, 1], or ``text`` as Tokens; give one
        of the two.

        A picture is a path, a PIL image, or an array or tensor [H, W] (see `to_gray`); a single
        one, or a single text, is a list of one. Raises PlaceError PL-D1xx for a picture that cannot
        be read, PL-D301 for an empty text, PL-C020 for an empty list.
        """
        if (images is None) == (text is None):
            raise TypeError("give either images or text")
        if images is not None:
            squares = [
                self.letterbox(gray).to_square(gray) for gray in map(to_gray, _as_list(images))
            ]
            return eval_view(torch.from_numpy(np.stack(squares)), self.views)

        assert text is not None
        texts = _as_list(text)
        encoded = self.tokenizer.encode(
            [read_report(t) for t in texts], self.max_tokens, self.max_sentences
        )
        if encoded.truncated:
            _log.warning(
                "%d of %d texts are longer than the model reads, and cut off",
                encoded.truncated,
                len(texts),
            )

        return tokens_of(encoded, np.arange(len(texts)))

    def letterbox(self, gray: NDArray[Any]) -> Letterbox:
        """The geometry between a picture [H, W] and its square."""
        return Letterbox(gray.shape[0], gray.shape[1], self.pack_size)


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """How likely each finding is, by name. Scores are not calibrated; rank with them, do not
    threshold them.
    """

    findings: tuple[str, ...]
    probability: NDArray[np.float32]  # [N, C], mean of the two below
    instance: NDArray[np.float32]  # [N, C]
    observation: NDArray[np.float32]  # [N, C]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, one number per picture."""
        return {"probabilities": dict(zip(self.findings, self.probability.T.tolist(), strict=True))}


@dataclass(frozen=True, slots=True)
class Heat:
    """Where a phrase is seen: ``array`` [H, W] in [0, 1] (maximum 1) in pixels of the original
    picture.
    """

    phrase: str
    array: NDArray[np.float32]
    image: NDArray[np.float32]  # the picture, [H, W] in [0, 1]

    def boxes(self, threshold: float = 0.5) -> list[Box]:
        """One box around each connected region at or above ``threshold``, the hottest first."""
        from scipy import ndimage

        regions, _ = ndimage.label(self.array >= threshold)
        slices = ndimage.find_objects(regions)
        slices.sort(key=lambda cut: -float(self.array[cut].max()))
        return [Box(self.phrase, x.start, y.start, x.stop, y.stop) for y, x in slices]

    def save(self, path: str | Path) -> Path:
        """The picture with the heat laid over it, as PNG. Holds patient pixels."""
        from matplotlib import colormaps

        color = colormaps["inferno"](self.array)[..., :3]
        alpha = 0.6 * self.array[..., None]
        mixed = (1 - alpha) * self.image[..., None] + alpha * color
        Image.fromarray(np.uint8(255 * mixed)).save(path, format="PNG")

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
    """What of a run's configuration decides how a model is used."""

    model: ModelSettings
    views: ViewSettings
    data: _DataConfig
    train: _TrainConfig


def load(
    path: str | Path, *, device: str = "auto", verify: bool = True
) -> tuple[PlaceModel, Processor]:
    """Model (evaluation mode, no gradients) and processor of a run folder or a checkpoint folder.

    ``device`` is auto (the GPU where there is one), cpu or cuda. Raises PlaceError PL-R1xx when
    there is no good checkpoint, see `training.checkpoint.load`; PL-E007 where there is no such
    device.
    """
    torch_device = _select_device(device)
    saved = checkpoint.load(Path(path), verify=verify)
    config = _read_config(saved)
    with init_on_meta_device():  # random weights take seconds to draw
        model = PlaceModel(config.model)
    checkpoint.load_weights(model, saved.weights, assign=True)
    model.image_encoder.use_fast_layout()

    return model.to(torch_device).eval().requires_grad_(False), _build_processor(saved, config)


def load_untrained(path: str | Path, *, device: str = "auto") -> tuple[PlaceModel, Processor]:
    """The control for a run: its network with the random weights that a run of its seed starts
    from.

    Where a run starts from given weights (ImageNet, a BERT), they are random here all the same.
    Raises as `load`.
    """
    torch_device = _select_device(device)
    saved = checkpoint.load(Path(path))
    config = _read_config(saved)
    torch.manual_seed(config.train.seed)

    return PlaceModel(config.model).to(torch_device).eval().requires_grad_(False), _build_processor(
        saved, config
    )


def _read_config(saved: checkpoint.Checkpoint) -> _RunConfig:
    try:
        config = _RunConfig.model_validate(saved.config)
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, detail["loc"])) for detail in error.errors()[:5])
        problem = f"its config is not one of a pre-trained model; look at {keys}"
        raise PlaceError(
            problem, code="PL-R109", file=saved.path.name, fix="give a run of place pretrain"
        ) from None

    # Weights come from the checkpoint: nothing is fetched or read from where they once came.
    image = config.model.image.model_copy(update={"weights": "", "pretrained": False})
    text = config.model.text.model_copy(update={"weights": ""})
    model = config.model.model_copy(update={"image": image, "text": text})

    return config.model_copy(update={"model": model})


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

    return torch.device(("cuda" if has_cuda else "cpu") if name == "auto" else name)


@torch.no_grad()
def zero_shot(
    model: PlaceModel,
    processor: Processor,
    images: Sequence[ImageInput] | ImageInput,
    prompts: Mapping[str, Sequence[str] | str],
) -> ZeroShot:
    """Probability of each finding in each picture, from what it is called: ``{"effusion": ["pleural
    effusion"]}``.

    Each phrase is held against its own negation ("No pleural effusion."); several phrases are
    averaged. Raises PlaceError PL-C020 for no picture, no finding or no phrase.
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
    margins: list[tuple[Tensor, Tensor]] = []

    for part in _chunks(_as_list(images)):
        description = model.describe_image(processor(images=part).to(device))
        agreement, negated = image_text_scores(description, yes), image_text_scores(description, no)
        margins.append((agreement[0] - negated[0], agreement[1] - negated[1]))

    by_instance, by_observation = (
        torch.cat(parts) @ averaging for parts in zip(*margins, strict=True)
    )
    instance, observation = (
        torch.sigmoid(model.scale * by_instance),
        torch.sigmoid(PATHOLOGY_SCALE * by_observation),
    )

    return ZeroShot(
        tuple(groups),
        *(t.cpu().numpy() for t in ((instance + observation) / 2, instance, observation)),
    )


@torch.no_grad()
def ground(model: PlaceModel, processor: Processor, image: ImageInput, text: str) -> Heat:
    """Where ``text`` is seen in ``image``, in the pixels of the original picture."""
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
    """Unit-length instance vectors [N, D], a few pictures at a time; ``progress(done, total)`` is
    told after each few.

    Raises PlaceError PL-C020 for no picture.
    """
    device, listed = next(model.parameters()).device, _as_list(images)
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
    return model.describe_text(
        move_to_device(processor(text=text), next(model.parameters()).device)
    )


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
    """How much each patch adds to the agreement of image n with text n, where it adds; mean over a
    text's sentences.

    With w the selection weights, A the attention and u what the patches say, a sentence t agrees
    with what it selects in proportion to the sum over patches p of (w A)_p (u_p . t): these
    summands, those below 0 left out, smoothed.
    """
    weight = selection_weight(
        sentences.vectors @ visual.transpose(1, 2), SELECTION_TEMPERATURE, "soft"
    )
    contribution = weight @ attention * (sentences.vectors @ patches.transpose(1, 2)).clamp(min=0)
    count = sentences.mask.sum(1, keepdim=True).clamp(min=1)
    heat = ((contribution * sentences.mask[..., None]).sum(1) / count).unflatten(1, grid)
    kernel = torch.tensor(_SMOOTHING_KERNEL, device=heat.device)
    padded = F.pad(heat[:, None].float(), (2, 2, 2, 2), mode="replicate")

    return F.conv2d(padded, torch.outer(kernel, kernel)[None, None])[:, 0]


def heat_to_original(
    heat: Float[Tensor, "rows columns"], processor: Processor, letterbox: Letterbox
) -> NDArray[np.float32]:
    """A map over patches as [H, W] of the original picture, scaled to a maximum of 1; 0 outside the
    model's view.
    """
    left, top, side = view_box(processor.views, processor.pack_size)
    view = F.interpolate(heat[None, None].float().cpu(), (side, side), mode="bilinear")[0, 0]
    square = np.zeros((processor.pack_size, processor.pack_size), np.float32)
    square[top : top + side, left : left + side] = view.numpy()
    original = letterbox.map_to_original(square)

    return np.asarray(original / max(float(original.max()), 1e-12), dtype=np.float32)


def to_gray(image: ImageInput) -> NDArray[np.float32]:
    """Any accepted picture as float32 [H, W] in [0, 1].

    A file is read by `data.images.read_image`; a PIL image, an array or a tensor [H, W] is scaled
    by the same rules: 8 bits are divided by 255, more bits by what they can hold, floats in [0, 1]
    stay. Raises PlaceError PL-D1xx.
    """
    if isinstance(image, (str, Path)):
        return read_image(image)
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()

    return image_from_memory(image)


def _as_list(value: Any) -> list[Any]:
    """A list of what was given; text, a path or one picture is one thing, though Python can iterate
    over it.
    """
    is_single = isinstance(value, (str, Path, Image.Image)) or getattr(value, "ndim", None) == 2
    listed = [value] if is_single else list(value)
    if not listed:
        raise PlaceError("nothing was given", code="PL-C020", fix="give at least one")

    return listed


def _chunks(listed: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (listed[start : start + _BATCH_SIZE] for start in range(0, len(listed), _BATCH_SIZE))
