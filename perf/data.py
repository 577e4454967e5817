"""Goals 7, 8 and 9: images a second out of a pack against Pillow on the original file, and what the
loader costs.

The original is a made-up grey JPEG of 2544 x 3056 pixels, quality 95, about as many bytes as one of
MIMIC-CXR-JPG. All files lie in the page cache. Pillow's side is decode, bilinear resize to 256 and
a 224 crop, as peers load an image. Conversion is measured twice: each side in processes of its own,
in turn, as packs are made, and here, where Pillow is a fifth faster because the allocator keeps its
pages (decode.py). What is left of it is Huffman decoding, 0.9 of it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from perf.decode import SIZE, converted, with_pillow
from perf.measure import Figure, interleave, one_thread, ratios, report
from place_cxr.data.loader import Loader, PairDataset, gather_batch
from place_cxr.images.views import UNIFORMS_PER_ROW
from place_cxr.text.tokenizer import EncodedReports

ROWS, BATCH, BATCHES, ROUNDS = 2048, 144, 40, 5
HEIGHT, WIDTH = 3056, 2544


def write_jpeg(path: Path) -> int:
    """A body-like picture with film grain; its size in bytes."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    body = 200 * np.exp(-((across / 0.8) ** 4) - (down / 0.9) ** 4)
    ribs = 15 * np.sin(down * 40 + 4 * across**2)
    grey = body + ribs + rng.normal(0, 1.9, (HEIGHT, WIDTH))
    Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(path, quality=95)
    return path.stat().st_size


def alone(side: str, path: Path) -> float:
    """CPU milliseconds of an image in a process that does nothing else."""
    words = [sys.executable, "-m", "perf.decode", side, str(path)]
    return float(
        subprocess.run(
            words, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
        ).stdout
    )


def dataset(folder: Path) -> PairDataset:
    """A pack of random pictures, memory-mapped, and reports of 89 tokens in 10 sentences."""
    rng = np.random.default_rng(0)
    pixels = np.memmap(folder / "pixels", dtype=np.uint8, mode="w+", shape=(ROWS, SIZE, SIZE))
    pixels[:] = rng.integers(0, 256, pixels.shape, dtype=np.uint8)
    ids = np.zeros((ROWS, 112), dtype=np.uint16)
    ids[:, :89] = rng.integers(5, 28_996, (ROWS, 89))
    sentence = np.where(ids > 0, np.arange(112) // 9, -1).astype(np.int8)
    keys = np.arange(1, ROWS * 10 + 1, dtype=np.int64).reshape(ROWS, 10)
    text = EncodedReports(
        ids=ids,
        sentence=sentence,
        sentence_key=keys,
        report_key=np.arange(ROWS),
        truncated=0,
        pad_id=0,
    )
    rows = np.arange(ROWS)
    return PairDataset(
        np.memmap(folder / "pixels", dtype=np.uint8, mode="r", shape=pixels.shape), text, rows, rows
    )


def figures() -> list[Figure]:
    """Pillow, one conversion, batches gathered from a pack, and the loader with its thread."""
    one_thread()
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        size = write_jpeg(folder / "x.jpg")
        pairs = dataset(folder)
        order = np.random.default_rng(1).permutation(ROWS)
        turns = [
            (alone("pillow", folder / "x.jpg"), alone("convert", folder / "x.jpg"))
            for _ in range(ROUNDS)
        ]
        own = {
            "pillow ms": round(median(p for p, _ in turns), 1),
            "convert ms": round(median(c for _, c in turns), 1),
        }

        def packed() -> None:
            for start in range(0, ROWS - BATCH, BATCH):
                gather_batch(pairs, order[start : start + BATCH])

        sides = {
            "pillow": lambda: with_pillow(folder / "x.jpg"),
            "convert": lambda: converted(folder / "x.jpg"),
        }
        seconds = interleave(
            {**sides, "packed": packed}, ROUNDS, {"pillow": 2, "convert": 4, "packed": 4}
        )
        each = [time / (len(range(0, ROWS - BATCH, BATCH)) * BATCH) for time in seconds["packed"]]
        rate = {
            "pillow/s": round(1 / median(seconds["pillow"]), 1),
            "packed/s": round(1 / median(each)),
        }

        loader = Loader(pairs, BATCH, seed=0, uniforms=UNIFORMS_PER_ROW)
        wall: list[float] = []

        def stream() -> None:
            begin = time.perf_counter()
            batches = loader.batches()
            for _ in islice(batches, BATCHES):
                pass
            batches.close()
            wall.append(BATCHES * BATCH / (time.perf_counter() - begin))

        spent = interleave({"loader": stream}, ROUNDS)["loader"]
        per_image = [time / (BATCHES * BATCH) * 1e3 for time in spent]
    whole = f"Pillow on a {WIDTH} x {HEIGHT} JPEG of {size / 1e6:.2f} MB"
    return [
        Figure(
            "packed images/s",
            whole,
            ratios(seconds["pillow"], each),
            1000,
            "higher",
            number="7",
            about=rate,
        ),
        Figure(
            "conversion images/s",
            whole,
            [p / c for p, c in turns],
            2.2,
            "higher",
            number="8",
            about=own,
        ),
        Figure(
            "conversion images/s, pages kept",
            whole,
            ratios(seconds["pillow"], seconds["convert"]),
            better="higher",
        ),
        Figure(
            "loader, CPU an image, decode excluded",
            "a fixed number",
            per_image,
            0.03,
            unit="ms",
            number="9",
        ),
        Figure(
            "loader, images a second on the clock",
            "a fixed number",
            wall[1:],
            2500,
            "higher",
            unit="/s",
            number="9",
        ),
    ]


if __name__ == "__main__":
    report("data", figures())
