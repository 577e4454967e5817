"""A trained run in use: the model as it was saved, pictures of every kind, words, and maps in the
right place.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from place_cxr import predict
from place_cxr.core.errors import PlaceError
from place_cxr.core.tensors import Observations
from place_cxr.images.read import read_image
from place_cxr.images.views import ViewSettings
from place_cxr.models.place import ImageDescription, PlaceModel, TextDescription
from place_cxr.predict import Heat, Processor
from place_cxr.training import checkpoint
from tests.small import digest

WORDS = [
    "Small left pleural effusion.",
    "No pneumothorax.",
    "The heart is enlarged. There is a nodule. Lungs are clear.",
]


@pytest.fixture(scope="module")
def loaded(trained: Path) -> tuple[PlaceModel, Processor]:
    return predict.load(trained, device="auto")


@pytest.fixture(scope="module")
def pictures(phantom: Path) -> list[Path]:
    return sorted((phantom.parent / "images").iterdir())[:5]


# ---- loading -------------------------------------------------------------------------------------


def test_load_gives_the_weights_that_were_trained(
    trained: Path, loaded: tuple[PlaceModel, Processor]
) -> None:
    model, processor = loaded
    saved = checkpoint.load(trained)
    assert digest({k: v.cpu() for k, v in model.state_dict().items()}) == digest(saved.weights)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert (
        processor.tokenizer.hash
        == json.loads((trained / "data.lock.json").read_text())["tokenizer"]
    )
    assert (
        processor.pack_size,
        processor.views.size,
        processor.max_tokens,
        processor.max_sentences,
    ) == (64, 48, 64, 6)
    one, _ = predict.load(saved.path, device="cpu")
    assert digest(one.state_dict()) == digest(saved.weights)


@pytest.mark.fault("C9")
def test_load_refuses_the_config_of_something_else(tmp_path: Path) -> None:
    checkpoint.save(
        tmp_path, 1, {"weight": torch.ones(2)}, config={"model": {"depth": 3}, "views": {}}
    )
    with pytest.raises(PlaceError, match=r"model\.depth, data") as refusal:
        predict.load(tmp_path)
    assert refusal.value.code == "PL-R109"


def test_load_says_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(PlaceError) as refusal:
        predict.load(tmp_path / "nowhere")
    assert refusal.value.code == "PL-R101"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(trained: Path) -> None:
    with pytest.raises(PlaceError) as refusal:
        predict.load(trained, device="cuda")
    assert refusal.value.code == "PL-E007"


# ---- encoding ------------------------------------------------------------------------------------


def test_vectors_have_length_1_and_do_not_depend_on_the_batch(
    loaded: tuple[PlaceModel, Processor], pictures: list[Path]
) -> None:
    model, processor = loaded
    for encode, inputs in (
        (
            model.encode_image,
            [processor(images=pictures), *(processor(images=one) for one in pictures)],
        ),
        (model.encode_text, [processor(text=WORDS), *(processor(text=one) for one in WORDS)]),
    ):
        together, *alone = (encode(given) for given in inputs)
        torch.testing.assert_close(together.norm(dim=-1), torch.ones(len(together)))
        torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
        assert (together[0] - together[1]).abs().max() > 1e-4


def test_embed_is_encode_image_a_few_at_a_time(
    loaded: tuple[PlaceModel, Processor], pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = loaded
    monkeypatch.setattr(predict, "_BATCH_SIZE", 2)
    heard: list[tuple[int, int]] = []
    vectors = predict.embed(model, processor, pictures, progress=lambda *now: heard.append(now))
    assert vectors.dtype == np.float32
    assert heard == [(2, 5), (4, 5), (5, 5)]
    np.testing.assert_allclose(
        vectors, model.encode_image(processor(images=pictures)).numpy(), atol=1e-5
    )


def test_a_text_that_is_cut_off_is_told(
    loaded: tuple[PlaceModel, Processor], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "place_cxr"):
        loaded[1](text=[*WORDS, "The heart is enlarged and there is a nodule. " * 20])
    assert "1 of 4 texts are longer" in caplog.text
    assert "nodule" not in caplog.text


# ---- pictures of every kind ----------------------------------------------------------------------


def test_all_kinds_of_pictures_agree(
    loaded: tuple[PlaceModel, Processor], pictures: list[Path]
) -> None:
    processor = loaded[1]
    grey = np.asarray(Image.open(pictures[0]))
    kinds: list[Any] = [
        str(pictures[0]),
        Image.open(pictures[0]),
        Image.fromarray(grey).convert("RGB"),
        grey,
        torch.from_numpy(grey.copy()),
        torch.from_numpy(grey.astype(np.int64)),
        grey.astype(np.float32) / np.float32(255),
        torch.from_numpy(grey / np.float32(255)).requires_grad_(),
    ]
    expected = processor(images=[pictures[0]])
    for kind in kinds:
        assert torch.equal(processor(images=[kind]), expected), type(kind)
        assert torch.equal(processor(images=kind), expected), type(kind)


def test_more_than_8_bits_are_not_clipped(tmp_path: Path) -> None:
    deep = (np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)) * 16
    Image.fromarray(deep).save(tmp_path / "deep.png")
    expected = read_image(tmp_path / "deep.png")
    assert len(np.unique(expected)) == 64 * 64
    for kind in (deep, Image.open(tmp_path / "deep.png"), torch.from_numpy(deep.astype(np.int32))):
        np.testing.assert_array_equal(predict.to_gray(kind), expected)


@pytest.mark.fault("I1")
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (np.zeros((64, 64, 3), np.uint8), "PL-D107"),
        (np.zeros(64), "PL-D107"),
        (np.full((64, 64), np.nan), "PL-D106"),
        (np.zeros((64, 64), complex), "PL-D107"),
        (np.zeros((2, 64), np.uint8), "PL-D105"),
        (Image.new("CMYK", (4, 64)), "PL-D105"),
        ("nowhere.png", "PL-D100"),
    ],
)
def test_what_is_no_grey_picture_is_refused(wrong: Any, code: str) -> None:
    with pytest.raises(PlaceError) as refusal:
        predict.to_gray(wrong)
    assert refusal.value.code == code


def test_nothing_given_is_an_error_of_use(
    loaded: tuple[PlaceModel, Processor], pictures: list[Path]
) -> None:
    model, processor = loaded
    for call in (
        lambda: predict.embed(model, processor, []),
        lambda: predict.zero_shot(model, processor, [], {"a": ["b"]}),
        lambda: predict.zero_shot(model, processor, pictures, {}),
        lambda: predict.zero_shot(model, processor, pictures, {"a": ["b"], "c": []}),
        lambda: predict.zero_shot(model, processor, pictures, {"a": ""}),
        lambda: processor(text=[]),
    ):
        with pytest.raises(PlaceError) as refusal:
            call()
        assert refusal.value.exit_code == 2
    with pytest.raises(TypeError):
        processor()  # type: ignore[call-overload]


# ---- words ---------------------------------------------------------------------------------------

PROMPTS = {"effusion": ["pleural effusion", "fluid in the pleural space."], "nodule": "nodule"}


def test_zero_shot_gives_a_probability_for_each_picture(
    loaded: tuple[PlaceModel, Processor], pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = predict.zero_shot(*loaded, pictures, PROMPTS)
    assert found.findings == ("effusion", "nodule")
    for numbers in (found.probability, found.instance, found.observation):
        assert numbers.shape == (5, 2)
        assert ((numbers > 0) & (numbers < 1)).all()
    np.testing.assert_allclose(
        found.probability, (found.instance + found.observation) / 2, atol=1e-6
    )
    probabilities = json.loads(json.dumps(found.to_dict()))["probabilities"]
    np.testing.assert_allclose(probabilities["nodule"], found.probability[:, 1], atol=1e-6)
    monkeypatch.setattr(predict, "_BATCH_SIZE", 2)
    np.testing.assert_allclose(
        predict.zero_shot(*loaded, pictures, PROMPTS).probability, found.probability, atol=1e-5
    )
    alone = predict.zero_shot(*loaded, pictures[2], {"nodule": ["nodule"]})
    np.testing.assert_allclose(alone.probability, found.probability[2:3, 1:], atol=1e-5)


def test_zero_shot_turns_round_with_the_negation(
    loaded: tuple[PlaceModel, Processor], pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said of a finding and what is said against it exchanged: each probability becomes 1
    minus itself.
    """
    before = predict.zero_shot(*loaded, pictures, PROMPTS)
    said: list[str] = []

    def exchanged(model: PlaceModel, processor: Processor, text: list[str]) -> TextDescription:
        said.extend(text)
        return describe(
            model, processor, [t[3:] if t.startswith("No ") else f"No {t}" for t in text]
        )

    describe = predict.describe_text
    monkeypatch.setattr(predict, "describe_text", exchanged)
    after = predict.zero_shot(*loaded, pictures, PROMPTS)
    assert said == [
        "pleural effusion.",
        "fluid in the pleural space.",
        "nodule.",
        "No pleural effusion.",
        "No fluid in the pleural space.",
        "No nodule.",
    ]
    np.testing.assert_allclose(after.probability, 1 - before.probability, atol=1e-5)
    assert np.abs(before.probability - 0.5).max() > 1e-3


# ---- where ---------------------------------------------------------------------------------------


class Bright(torch.nn.Module):
    """A model whose one query per patch looks at its patch, and which finds the brightest patch for
    any text.
    """

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch, self.weight = patch, torch.nn.Parameter(torch.zeros(1))

    def describe_image(self, image: torch.Tensor) -> ImageDescription:
        pooled = torch.nn.functional.avg_pool2d(image, self.patch)[0, 0]
        rows, columns = pooled.shape
        patches = rows * columns
        vectors = torch.zeros(1, patches, 2)
        vectors[0, :, 1] = 1.0  # "something else"
        vectors[0, pooled.argmax()] = torch.tensor([1.0, 0.0])  # what the text names
        empty = torch.zeros(1, 2)
        mask = torch.ones(1, patches, dtype=torch.bool)
        attention = torch.eye(patches)[None]
        return ImageDescription(
            empty,
            empty,
            Observations(vectors, mask),
            attention,
            vectors,
            (rows, columns),
            empty[None],
            (1, 1),
        )

    def describe_text(self, tokens: Any) -> TextDescription:
        named = torch.tensor([[[1.0, 0.0]]])
        return TextDescription(named[0], Observations(named, torch.ones(1, 1, dtype=torch.bool)))


def planted(height: int, width: int, box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    picture = np.random.default_rng(0).integers(0, 60, (height, width)).astype(np.uint8)
    x0, y0, x1, y1 = box
    picture[y0:y1, x0:x1] = 255
    return picture


@pytest.mark.parametrize("view", [64, 48], ids=["whole pack", "centre crop"])
@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (200, 300, (190, 70, 230, 110)),
        (200, 300, (60, 120, 100, 150)),
        (300, 200, (60, 200, 100, 240)),
        (64, 64, (40, 16, 48, 24)),
        (97, 131, (30, 60, 50, 80)),
    ],
)
def test_a_bright_spot_is_found_where_it_lies_in_the_original(
    loaded: tuple[PlaceModel, Processor],
    height: int,
    width: int,
    box: tuple[int, int, int, int],
    view: int,
) -> None:
    trained = loaded[1]
    processor = Processor(trained.tokenizer, ViewSettings(size=view), 64, 64, 6)
    heat = predict.ground(
        Bright(4), processor, planted(height, width, box), "left pleural effusion"
    )  # type: ignore[arg-type]
    assert heat.array.shape == heat.image.shape == (height, width)
    assert heat.array.max() == 1 and heat.array.min() >= 0
    x0, y0, x1, y1 = box
    patch = 4 * max(height, width) / 64
    weight = np.where(heat.array > 0.5, heat.array, 0)
    middle = (
        (np.arange(width) + 0.5) @ weight.sum(0) / weight.sum(),
        (np.arange(height) + 0.5) @ weight.sum(1) / weight.sum(),
    )
    assert abs(middle[0] - (x0 + x1) / 2) <= patch and abs(middle[1] - (y0 + y1) / 2) <= patch
    y, x = np.unravel_index(heat.array.argmax(), heat.array.shape)
    assert x0 - 1 <= x < x1 + 1 and y0 - 1 <= y < y1 + 1
    [found] = heat.boxes(0.5)
    assert found.finding == "left pleural effusion"
    assert x0 <= (found.x0 + found.x1) / 2 <= x1 and y0 <= (found.y0 + found.y1) / 2 <= y1
    assert found.x1 - found.x0 <= 4 * patch and found.y1 - found.y0 <= 4 * patch


def test_ground_follows_the_words_of_a_real_model(
    loaded: tuple[PlaceModel, Processor], pictures: list[Path], tmp_path: Path
) -> None:
    heat = predict.ground(*loaded, pictures[0], "left pleural effusion")
    assert heat.array.dtype == np.float32 and heat.array.max() == pytest.approx(1)
    np.testing.assert_array_equal(heat.image, read_image(pictures[0]))
    other = predict.ground(*loaded, pictures[0], "the heart is enlarged")
    assert np.abs(heat.array - other.array).max() > 0
    model, processor = loaded
    seen = model.describe_image(processor(images=pictures[0]))
    said = predict.describe_text(model, processor, WORDS[2])
    drawn = predict.phrase_map(
        seen.observations.vectors, seen.attention, seen.patches, said.observations, seen.grid
    )
    assert drawn.shape == (1, *seen.grid) and drawn.min() >= 0


def test_a_map_is_what_patches_add_in_closed_form() -> None:
    """Two sentences, of which the second is padding; one query looks at the corner, the other at
    the middle.
    """
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    attention = torch.zeros(1, 2, 25)
    attention[0, 0, 0], attention[0, 0, 24], attention[0, 1, 12] = 0.75, 0.25, 1.0
    patches = torch.zeros(1, 25, 2)
    patches[0, 0], patches[0, 24], patches[0, 12] = (
        torch.tensor(v) for v in ([4.0, 0.0], [-4.0, 0.0], [9.0, 5.0])
    )
    said = Observations(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[True, False]]))
    drawn = predict.phrase_map(vectors, attention, patches, said, (5, 5))[0]
    selected = torch.tensor([1.0, 0.0]).div(predict.SELECTION_TEMPERATURE).softmax(0)
    corner = 11 / 16  # of the kernel, when what lies outside repeats the edge
    assert drawn[0, 0] == pytest.approx(float(selected[0]) * 0.75 * 4 * corner**2, rel=1e-4)
    assert drawn[4, 4] == pytest.approx(
        float(selected[1]) * 9 / 256, rel=1e-3
    )  # the middle's, from two patches away
    assert int(drawn.argmax()) == 0


def heat_of(array: NDArray[np.float32]) -> Heat:
    return Heat("spot", array, np.linspace(0, 1, array.size, dtype=np.float32).reshape(array.shape))


def test_boxes_hold_connected_regions_the_hottest_first() -> None:
    array = np.zeros((20, 30), np.float32)
    array[2:5, 3:9], array[10:18, 20:22], array[10, 22] = 0.6, 0.7, 1.0
    heat = heat_of(array)
    assert [(b.x0, b.y0, b.x1, b.y1) for b in heat.boxes(0.5)] == [(20, 10, 23, 18), (3, 2, 9, 5)]
    assert [(b.x0, b.y0, b.x1, b.y1) for b in heat.boxes(0.7)] == [(20, 10, 23, 18)]
    assert heat.boxes(1.1) == []
    assert json.loads(json.dumps(heat.to_dict())) == {
        "phrase": "spot",
        "height": 20,
        "width": 30,
        "boxes": [[20, 10, 23, 18], [3, 2, 9, 5]],
    }


def test_a_saved_heat_is_the_picture_where_it_is_cold(tmp_path: Path) -> None:
    array = np.zeros((20, 30), np.float32)
    array[5:8, 6:9] = 1
    heat = heat_of(array)
    (tmp_path / "heat.png").touch(0o644)  # a file of before does not keep its rights
    assert heat.save(tmp_path / "heat.png").stat().st_mode & 0o777 == 0o600
    with Image.open(tmp_path / "heat.png") as saved:
        assert (saved.format, saved.mode, saved.size) == ("PNG", "RGB", (30, 20))
        pixels = np.asarray(saved).astype(int)
    assert np.abs(pixels[array == 0] - np.uint8(255 * heat.image[array == 0])[:, None]).max() <= 1
    assert (pixels[6, 7] != int(255 * heat.image[6, 7])).any()


# ---- a stranger's checkpoint ---------------------------------------------------------------------


class _Unpickled:
    """Its pickle makes a folder when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("image", "options"), {"checkpoint_path": "EVIL"}),
        (("image", "options"), {"pretrained_cfg": {"file": "EVIL"}}),
        (("image", "name"), "hf-hub:someone/evil"),
        (("image", "name"), "local-dir:EVIL"),
        (("image", "size"), 10**9),
        (("text", "bert"), {"_attn_implementation": "someone/evil"}),
        (("text", "bert"), {"hidden_size": 16, "num_attention_heads": 7}),
        (("text", "vocab_size"), 10**9),
        (("shared",), 10**12),
        (("prototypes",), 10**9),
        (("observations", "queries"), 10**9),
        (("observations", "queries"), 10**4000),
    ],
)
def test_a_config_opens_no_file_and_no_code(
    trained: Path, tmp_path: Path, keys: tuple[str, ...], value: Any
) -> None:
    mark, evil = tmp_path / "ran", tmp_path / "evil.pth"
    evil.write_bytes(pickle.dumps(_Unpickled(mark)))
    saved = checkpoint.load(trained)
    config = copy.deepcopy(saved.config)
    node = config["model"]
    for key in keys[:-1]:
        node = node[key]

    node[keys[-1]] = json.loads(json.dumps(value).replace("EVIL", str(evil)))
    checkpoint.save(
        tmp_path / "foreign",
        1,
        saved.weights,
        config=config,
        extra_files={
            "tokenizer/tokenizer.json": (saved.path / "tokenizer/tokenizer.json").read_bytes()
        },
    )

    with pytest.raises(PlaceError) as caught:
        predict.load(tmp_path / "foreign", device="cpu")
    assert caught.value.code in ("PL-R107", "PL-R109")
    assert not mark.exists()
