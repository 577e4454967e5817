"""Two ways from a JPEG to a square, alone in a process: ``python -m perf.decode pillow|convert
FILE``.

Prints the CPU milliseconds of an image. A process of its own, because Pillow's time depends on what
ran before: as it starts, each picture of 8 megapixels is memory that the system hands out and takes
back, a fifth of the whole; once a large array has been freed, the allocator keeps it. Packs are
made in processes of their own, and so do peers' loaders.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from place_cxr.images.letterbox import Letterbox
from place_cxr.images.read import read_scaled_image_and_size

SIZE, CROP, TIMES = 256, 224, 10


def with_pillow(path: Path) -> np.ndarray:
    """Decode the whole file, shrink its long side to 256, crop 224."""
    with Image.open(path) as image:  # noqa: TID251
        grey = image.convert("L")
        grey = grey.resize((SIZE * image.width // image.height, SIZE), Image.Resampling.BILINEAR)
        return np.asarray(grey)[:CROP, :CROP]


def converted(path: Path) -> np.ndarray:
    """What a pack does once with each file."""
    picture, (height, width) = read_scaled_image_and_size(path, SIZE)
    return Letterbox(height, width, SIZE).to_square(picture)


SIDES = {"pillow": with_pillow, "convert": converted}

if __name__ == "__main__":
    side, file = SIDES[sys.argv[1]], Path(sys.argv[2])
    side(file)
    start = time.process_time()
    for _ in range(TIMES):
        side(file)
    print((time.process_time() - start) / TIMES * 1e3)
