"""Goals 7, 8 and 9: images a second out of a pack, conversion, and the cost of the loader.

The baseline is Pillow on the original file: decode, bilinear resize to 256 and a 224 crop, as peers
load an image. The original is a synthetic gray JPEG of 2544 x 3056 pixels, quality 95, about as
many bytes as one of MIMIC-CXR-JPG. All files lie in the page cache.

Conversion is measured twice. First each side runs in processes of its own, in turn, as packs are
made. Then both run in this process, where Pillow is a fifth faster because the allocator keeps its
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

from perf.decode import SIZE, convert_for_pack, load_with_pillow
from perf.measure import Figure, interleave, ratios, record_figures, use_one_thread
from place_cxr.data.loader import Loader, PairDataset, collate
from place_cxr.images.views import UNIFORMS_PER_ROW
from place_cxr.text.tokenizer import EncodedReports

ROWS, BATCH, BATCHES, ROUNDS = 2048, 144, 40, 5
HEIGHT, WIDTH = 3056, 2544


def write_jpeg(path: Path) -> int:
    """A body-like image with film grain; returns its size in bytes."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    body = 200 * np.exp(-((across / 0.8) ** 4) - (down / 0.9) ** 4)
    ribs = 15 * np.sin(down * 40 + 4 * across**2)

    # The noise is what makes the file as large as a real one.
    gray = body + ribs + rng.normal(0, 1.9, (HEIGHT, WIDTH))
    Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8)).save(path, quality=95)
    return path.stat().st_size


def cpu_milliseconds_in_own_process(side: str, path: Path) -> float:
    """CPU milliseconds of an image in a process that does nothing else."""
    process = subprocess.run(
        [sys.executable, "-m", "perf.decode", side, str(path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    return float(process.stdout)


def write_random_pack(folder: Path) -> PairDataset:
    """A pack of random images, memory-mapped, and reports of 89 tokens in 10 sentences."""
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
    mapped = np.memmap(folder / "pixels", dtype=np.uint8, mode="r", shape=pixels.shape)
    return PairDataset(mapped, text, rows, rows)


def figures() -> list[Figure]:
    """Pillow, one conversion, batches gathered from a pack, and the loader with its thread."""
    use_one_thread()
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        size = write_jpeg(folder / "x.jpg")
        pairs = write_random_pack(folder)
        baseline = f"Pillow on a {WIDTH} x {HEIGHT} JPEG of {size / 1e6:.2f} MB"

        conversion = _conversion_in_own_processes(folder / "x.jpg", baseline)
        packed, pages_kept = _pack_and_conversion(folder / "x.jpg", pairs, baseline)
        loader = _loader(pairs)
    return [packed, conversion, pages_kept, *loader]


def _conversion_in_own_processes(file: Path, baseline: str) -> Figure:
    pillow, convert = [], []
    for _ in range(ROUNDS):
        pillow.append(cpu_milliseconds_in_own_process("pillow", file))
        convert.append(cpu_milliseconds_in_own_process("convert", file))

    notes = {"pillow ms": round(median(pillow), 1), "convert ms": round(median(convert), 1)}
    return Figure(
        "conversion images/s",
        baseline,
        ratios(pillow, convert),
        2.2,
        "higher",
        number="8",
        notes=notes,
    )


def _pack_and_conversion(file: Path, pairs: PairDataset, baseline: str) -> tuple[Figure, Figure]:
    order = np.random.default_rng(1).permutation(ROWS)
    starts = range(0, ROWS - BATCH, BATCH)

    def gather_all() -> None:
        for start in starts:
            collate(pairs, order[start : start + BATCH])

    sides = {
        "pillow": lambda: load_with_pillow(file),
        "convert": lambda: convert_for_pack(file),
        "packed": gather_all,
    }
    seconds = interleave(sides, ROUNDS, {"pillow": 2, "convert": 4, "packed": 4})

    # One call gathers many images; the other sides load one.
    per_image = [time / (len(starts) * BATCH) for time in seconds["packed"]]
    notes = {
        "pillow/s": round(1 / median(seconds["pillow"]), 1),
        "packed/s": round(1 / median(per_image)),
    }
    packed = Figure(
        "packed images/s",
        baseline,
        ratios(seconds["pillow"], per_image),
        1000,
        "higher",
        number="7",
        notes=notes,
    )
    pages_kept = Figure(
        "conversion images/s, pages kept",
        baseline,
        ratios(seconds["pillow"], seconds["convert"]),
        better="higher",
    )
    return packed, pages_kept


def _loader(pairs: PairDataset) -> list[Figure]:
    loader = Loader(pairs, BATCH, seed=0, uniforms=UNIFORMS_PER_ROW)
    rates: list[float] = []

    def load_batches() -> None:
        start = time.perf_counter()
        batches = loader.batches()
        for _ in islice(batches, BATCHES):
            pass
        batches.close()
        rates.append(BATCHES * BATCH / (time.perf_counter() - start))

    cpu_seconds = interleave({"loader": load_batches}, ROUNDS)["loader"]
    per_image = [time / (BATCHES * BATCH) * 1e3 for time in cpu_seconds]
    return [
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
            rates[1:],  # the first round does not count
            2500,
            "higher",
            unit="/s",
            number="9",
        ),
    ]


if __name__ == "__main__":
    record_figures("data", figures())
