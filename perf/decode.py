"""Two ways from a JPEG to a square, alone in a process.

``python -m perf.decode pillow|convert FILE`` prints the CPU milliseconds of an image. Each way has
a process of its own, because Pillow's time depends on what ran before. In a new process each image
of 8 megapixels is memory that the system hands out and takes back, a fifth of the whole time; once
a large array has been freed, the allocator keeps it. Packs are made in processes of their own, and
so do peers' loaders work.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from place_cxr.images.letterbox import Letterbox
from place_cxr.images.read import read_scaled_image_and_size

SIZE, CROP, REPEATS = 256, 224, 10  # pixels, pixels, timed images in a process


def load_with_pillow(path: Path) -> np.ndarray:
    """Decode the whole file, shrink its long side to 256 px, crop 224 px."""
    with Image.open(path) as image:  # noqa: TID251
        gray = image.convert("L")
        gray = gray.resize((SIZE * image.width // image.height, SIZE), Image.Resampling.BILINEAR)
        return np.asarray(gray)[:CROP, :CROP]


def convert_for_pack(path: Path) -> np.ndarray:
    """What making a pack does once with each file."""
    image, (height, width) = read_scaled_image_and_size(path, SIZE)
    return Letterbox(height, width, SIZE).to_square(image)


SIDES = {"pillow": load_with_pillow, "convert": convert_for_pack}

if __name__ == "__main__":
    side, file = SIDES[sys.argv[1]], Path(sys.argv[2])
    side(file)  # not timed: imports, and the file goes into the page cache

    start = time.process_time()
    for _ in range(REPEATS):
        side(file)
    print((time.process_time() - start) / REPEATS * 1e3)
