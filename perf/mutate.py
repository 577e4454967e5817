"""Damaged files by the thousand: does anything but a coded refusal leave the reader, and what does
a file cost?

    python perf/mutate.py FOLDER [FOLDER ...] --count 1500 --seed 0
    python perf/mutate.py $PLACE_TEST_DATA/dicom --count 1500
    python perf/mutate.py $PLACE_TEST_DATA/raw $PLACE_TEST_DATA/pairs --count 3000

Each round takes one of the folders' picture files of at most 3 MB, changes some bytes, cuts it or
doubles a piece, and reads it as a whole and as packs do. Prints counts by code and the worst time
and memory; exits with 1 when something else than ``PlaceError`` came out, or a file took more than
a second or 500 MB. Time is that of this process and its decoder's together, so that other work on
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
LARGEST = 3_000_000
SECONDS, MEGABYTES = 1.0, 500.0


def mutated(data: bytes, picks: random.Random) -> bytes:
    """One to thirty bytes changed, most often near the start; sometimes the end cut off or a piece
    doubled.
    """
    changed = bytearray(data)
    for _ in range(picks.choice([1, 3, 10, 30])):
        reach = min(len(changed), picks.choice([64, 400, 2000, len(changed)]))
        changed[picks.randrange(reach)] = picks.randrange(256)
    if picks.random() < 0.2:
        del changed[picks.randrange(len(changed)) :]
    if changed and picks.random() < 0.1:
        start = picks.randrange(len(changed))
        changed[start:start] = changed[start : start + picks.randrange(2000)]
    return bytes(changed)


def seconds() -> float:
    """Processor time of this process and of the child that decodes."""
    child = codecs._child
    spent = 0.0
    if child is not None and child.poll() is None:
        fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        spent = (int(fields[11]) + int(fields[12])) / 100
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + spent + ended.ru_utime + ended.ru_stime


def peak() -> float:
    """Most memory that this process, or the child that decodes, ever had, in MB."""
    child, most = codecs._child, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if child is not None and child.poll() is None:
        status = Path(f"/proc/{child.pid}/status").read_text().split()
        most = max(most, int(status[status.index("VmHWM:") + 1]) if "VmHWM:" in status else 0)
    return max(most, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def main() -> int:
    """Mutate and read; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    files = sorted(
        path
        for folder in asked.folders
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
    )
    seeds = [path.read_bytes() for path in files if 0 < path.stat().st_size <= LARGEST]
    picks, codes, foreign, slowest = (
        random.Random(asked.seed),
        Counter[str](),
        Counter[str](),
        (0.0, ""),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated"
        path.write_bytes(seeds[0])
        for read in READERS:  # libraries are loaded, and the decoder is started
            read(path)
        for number in range(asked.count):
            path.write_bytes(mutated(seeds[number % len(seeds)], picks))
            for read in READERS:
                before = seconds()
                try:
                    read(path)
                    codes["read"] += 1
                except PlaceError as error:
                    codes[error.code] += 1
                except BaseException as error:  # what must not be
                    foreign[type(error).__name__] += 1
                slowest = max(
                    slowest,
                    (seconds() - before, f"{files[number % len(seeds)].name} round {number}"),
                )
    print(
        f"{asked.count} files from {len(seeds)}, each read {len(READERS)} ways; seed {asked.seed}"
    )
    print("outcomes:", ", ".join(f"{code} {count}" for code, count in sorted(codes.items())))
    print("foreign exceptions:", dict(foreign) or "none")
    print(f"slowest: {slowest[0]:.2f} s ({slowest[1]}); most memory: {peak():.0f} MB")
    return int(bool(foreign) or slowest[0] > SECONDS or peak() > MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
