"""Read thousands of damaged images: only coded refusals may be raised, soon, in little memory.

    python perf/mutate.py FOLDER [FOLDER ...] --count 1500 --seed 0
    python perf/mutate.py $PLACE_TEST_DATA/dicom --count 1500
    python perf/mutate.py $PLACE_TEST_DATA/raw $PLACE_TEST_DATA/pairs --count 3000

Each round takes one of the folders' image files of at most 3 MB, changes some bytes, cuts it or
doubles a piece, and reads it as a whole and as packs do. Prints counts by code and the worst time
and memory. Exits with 1 when anything but ``PlaceError`` was raised, or a file took more than a
second or 500 MB. Time is CPU time of this process and its decoder together, so that other work on
the machine does not count.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from place_cxr.core.errors import PlaceError
from place_cxr.images.dicom import codecs
from place_cxr.images.read import read_dicom_header, read_image, read_scaled_image_and_size

READERS: tuple[Callable[[Path], Any], ...] = (
    read_image,
    lambda path: read_scaled_image_and_size(path, 224),
    read_dicom_header,
)
SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm", ".tif", ".bmp", ".webp"}
LARGEST_FILE = 3_000_000  # bytes
SECONDS_LIMIT, MEGABYTES_LIMIT = 1.0, 500.0


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change 1 to 30 bytes, most near the start; sometimes cut off the end or double a piece."""
    changed = bytearray(data)
    # Headers lie at the start, and damage there does more than in the pixels.
    for _ in range(rng.choice([1, 3, 10, 30])):
        reach = min(len(changed), rng.choice([64, 400, 2000, len(changed)]))
        changed[rng.randrange(reach)] = rng.randrange(256)
    if rng.random() < 0.2:
        del changed[rng.randrange(len(changed)) :]
    if changed and rng.random() < 0.1:
        start = rng.randrange(len(changed))
        changed[start:start] = changed[start : start + rng.randrange(2000)]
    return bytes(changed)


def cpu_seconds() -> float:
    """Processor time of this process and of the child that decodes."""
    child = codecs._child
    spent = 0.0
    if child is not None and child.poll() is None:
        # proc(5): user and system time, in ticks of 1/100 s, after the name in parentheses.
        fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        spent = (int(fields[11]) + int(fields[12])) / 100
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + spent + ended.ru_utime + ended.ru_stime


def peak_megabytes() -> float:
    """Most memory that this process, or the child that decodes, ever had, in MB."""
    kibibytes = [
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    ]
    child = codecs._child
    if child is not None and child.poll() is None:
        status = Path(f"/proc/{child.pid}/status").read_text().split()
        # Peak resident memory; some kernels do not report it.
        if "VmHWM:" in status:
            kibibytes.append(int(status[status.index("VmHWM:") + 1]))
    return max(kibibytes) / 1024


def _image_files(folders: list[Path]) -> list[Path]:
    paths: list[Path] = []
    for folder in folders:
        paths += [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    return sorted(path for path in paths if 0 < path.stat().st_size <= LARGEST_FILE)


def main() -> int:
    """Mutate and read; 1 where another exception was raised or a limit was passed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    files = _image_files(args.folders)
    contents = [path.read_bytes() for path in files]
    rng = random.Random(args.seed)
    codes, foreign = Counter[str](), Counter[str]()
    slowest = (0.0, "")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated"
        path.write_bytes(contents[0])
        for read in READERS:  # not timed: libraries are loaded, and the decoder is started
            read(path)

        for number in range(args.count):
            index = number % len(files)
            path.write_bytes(mutate(contents[index], rng))
            for read in READERS:
                before = cpu_seconds()
                try:
                    read(path)
                    codes["read"] += 1
                except PlaceError as error:
                    codes[error.code] += 1
                except BaseException as error:  # the failure that this script looks for
                    foreign[type(error).__name__] += 1
                spent = cpu_seconds() - before
                slowest = max(slowest, (spent, f"{files[index].name} round {number}"))

    print(f"{args.count} files from {len(files)}, each read {len(READERS)} ways; seed {args.seed}")
    print("outcomes:", ", ".join(f"{code} {count}" for code, count in sorted(codes.items())))
    print("foreign exceptions:", dict(foreign) or "none")
    print(f"slowest: {slowest[0]:.2f} s ({slowest[1]}); most memory: {peak_megabytes():.0f} MB")
    return int(bool(foreign) or slowest[0] > SECONDS_LIMIT or peak_megabytes() > MEGABYTES_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
