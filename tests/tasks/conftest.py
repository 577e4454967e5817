"""A model that sees exactly what is there, on pictures of bright squares: every task must find it
out.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from place_cxr.core.records import Study
from place_cxr.core.tensors import Observations
from place_cxr.images.letterbox import Letterbox
from place_cxr.tasks.data import EvaluationDataset
from place_cxr.tasks.prompts import Prompt
from place_cxr.text.tokenizer import EncodedReports

FINDINGS = ("upper", "middle", "lower")
WORDS = ["<pad>", "none", *FINDINGS, "left", "right", "bilateral"]
CELL, GRID, PACK = 8, 4, 40  # view of 4 x 4 cells in a pack with a margin of 4 pixels
VIEW = CELL * GRID
NONE, DARK, AXES = 6, 7, 8  # before these: image side left or right of each of the three rows
PROMPTS = {
    f: Prompt(positive=(f, f"{f} left"), negative=("none",), grounding=f"{{side}} {f}")
    for f in FINDINGS
}


def tokenize(texts):
    """Sentences are separated by '.', words by blanks."""
    ids, sentence = np.zeros((len(texts), 12), np.uint16), np.full((len(texts), 12), -1, np.int8)
    keys = np.zeros((len(texts), 4), np.int64)
    for row, text in enumerate(texts):
        place = 0
        for number, said in enumerate(filter(None, text.split("."))):
            keys[row, number] = 1 + sum(
                (1 + WORDS.index(w)) * 97**i for i, w in enumerate(said.split())
            )
            for word in said.split():
                ids[row, place], sentence[row, place], place = WORDS.index(word), number, place + 1
    report_keys = np.sort(keys, 1) @ np.array([1, 7, 49, 343])
    return EncodedReports(ids, sentence, keys, report_keys, pad_id=0, truncated=0)


class Cells(torch.nn.Module):
    """The brightness of each cell, or noise that has nothing to do with the image."""

    head_spec = SimpleNamespace(pooled=GRID * GRID, shapes=())

    def __init__(self, blind):
        super().__init__()
        self.blind = blind

    def forward(self, image):
        cells = torch.nn.functional.avg_pool2d(image, CELL)[:, 0]
        if self.blind:
            cells = torch.rand(
                cells.shape, generator=torch.Generator().manual_seed(int(cells.numel()))
            )
        return SimpleNamespace(pooled=cells.flatten(1))


class Seer:
    """One query per cell: the axis of its row and side where it is bright; ``blind``: of noise."""

    def __init__(self, blind=False):
        self.image_encoder = Cells(blind)

    def eval(self):
        return self

    def parameters(self):
        yield torch.zeros(1)

    def describe_image(self, image):
        cells = self.image_encoder(image).pooled
        bright = (cells > 0.5).float()
        place = torch.arange(GRID * GRID)
        vectors = torch.zeros(len(cells), GRID * GRID, AXES)
        vectors[:, place, 2 * (place // GRID) + (place % GRID >= GRID // 2)] = bright
        vectors[..., NONE] = (bright.sum(1) == 0).float()[:, None]
        vectors[..., DARK] = (bright.sum(1, keepdim=True) > 0) * (1 - bright)
        mask = torch.ones(vectors.shape[:2], dtype=torch.bool)
        seen = torch.cat([vectors[..., :DARK], torch.zeros(*vectors.shape[:2], 1)], dim=-1).sum(1)
        return SimpleNamespace(
            pooled=cells,
            vector=torch.nn.functional.normalize(seen, dim=-1),
            observations=Observations(vectors, mask),
            attention=torch.eye(GRID * GRID).expand(len(cells), -1, -1),
            patches=vectors,
            grid=(GRID, GRID),
            places=vectors,
            places_grid=(GRID, GRID),
        )

    def describe_text(self, tokens):
        """A row's two axes, of which a side keeps one."""
        words = torch.nn.functional.one_hot(tokens.ids, len(WORDS)).float()
        numbers = torch.arange(tokens.sentence_key.shape[1])
        belongs = (tokens.sentence[:, None, :] == numbers[None, :, None]).float()
        said = (belongs @ words).clamp(max=1)
        rows = said[..., 2:5].repeat_interleave(2, dim=-1)
        sides = 1 - said[..., [WORDS.index("left"), WORDS.index("right")]].repeat(1, 1, 3)
        vectors = torch.cat([rows * sides, said[..., 1:2], torch.zeros_like(said[..., :1])], dim=-1)
        pooled = torch.nn.functional.normalize(vectors.sum(1), dim=-1)
        return SimpleNamespace(
            vector=pooled,
            observations=Observations(
                torch.nn.functional.normalize(vectors, dim=-1), tokens.sentence_mask
            ),
        )


def view(pixels):
    start = (PACK - VIEW) // 2
    return pixels[:, None, start : start + VIEW, start : start + VIEW].float() / 255


@pytest.fixture(scope="session")
def prompt_file(tmp_path_factory):
    """PROMPTS as a file that tasks can be told of."""
    file = tmp_path_factory.mktemp("prompts") / "squares.yaml"
    file.write_text(
        yaml.safe_dump({name: prompt.model_dump(mode="json") for name, prompt in PROMPTS.items()})
    )
    return file


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """240 studies of 120 patients: each finding present with chance .4 as a bright cell; masks
    twice the size.
    """
    folder = tmp_path_factory.mktemp("masks")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 30, (240, PACK, PACK)).astype(np.uint8)
    studies, texts = [], []
    for number in range(240):
        labels, masks, said = {}, {}, []
        for row, finding in enumerate(FINDINGS):
            labels[finding] = float(rng.random() < 0.4)
            if labels[finding]:
                column = int(rng.integers(GRID))
                top, left = (PACK - VIEW) // 2 + row * CELL, (PACK - VIEW) // 2 + column * CELL
                pixels[number, top : top + CELL, left : left + CELL] = 250
                mask = np.zeros((2 * PACK, 2 * PACK), np.uint8)
                mask[2 * top : 2 * (top + CELL), 2 * left : 2 * (left + CELL)] = 255
                masks[finding] = folder / f"{number}_{finding}.png"
                Image.fromarray(mask).save(masks[finding])
                said.append(f"{finding} {'right' if column < GRID / 2 else 'left'}")
        texts.append(".".join(said) or "none")
        patient = number // 2
        split = "train" if patient < 70 else "val" if patient < 85 else "test"
        studies.append(
            Study(
                f"s{number}",
                folder / "x",
                texts[-1],
                f"p{patient}",
                split,
                labels=labels,
                masks=masks,
            )
        )
    return EvaluationDataset(
        source="squares",
        studies=studies,
        pack=SimpleNamespace(
            pixels=pixels, letterbox=lambda row: Letterbox(2 * PACK, 2 * PACK, PACK)
        ),
        reports=tokenize(texts),
        tokenize=tokenize,
        decode=lambda ids: " ".join(WORDS[number] for number in ids),
        view=view,
        view_size=VIEW,
        rows={"train": np.arange(140), "val": np.arange(140, 170), "test": np.arange(170, 240)},
    )
