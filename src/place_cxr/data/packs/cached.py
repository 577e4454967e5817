"""Packs: every image decoded once into a square of uint8, every report tokenised once, both
memory-mapped.

The name of a pack is a salted hash of everything that its bytes depend on: the versions of our
rules and of the libraries, the size, and the path, length and time of change of each file (or the
text of each report and the tokenizer). The contents of image files do not go into the name: to read
them takes as long as to decode them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import create_private_file, make_private_folder, sha256_of
from place_cxr.core.records import Study
from place_cxr.core.store import NamedArrays, build_once, open_arrays, salted_hash, write_arrays
from place_cxr.core.workers import map_in_chunks
from place_cxr.images.letterbox import Letterbox
from place_cxr.images.read import CONSTANT_IMAGE_CODE, is_constant_image, read_scaled_image_and_size
from place_cxr.text.reports import read_report
from place_cxr.text.tokenizer import EncodedReports, Tokenizer

_log = logging.getLogger(__name__)
_Progress = Callable[[int, int], None]
# Height, width, code of the refusal or "", start of the file's SHA-256 if refused.
DecodeOutcome = tuple[int, int, str, str]

# Raise a version when the same files give other bytes; otherwise earlier packs would be taken for
# new ones. A golden test of the digests of known files fails until that is done.
PIXEL_RULE = 2
TEXT_RULE = 2

# With more refused images than both limits, the data set is wrong and not single files [ours].
MAX_REJECTED = 10
MAX_REJECTED_FRACTION = 0.001  # of all images


@dataclass(frozen=True, slots=True)
class PixelPack:
    """Row i belongs to study i. Rows of refused images are black and are not in ``rows``.

    ``folder`` also holds quarantine.jsonl: row, code and start of the SHA-256 of every refused
    image.
    """

    pixels: NDArray[np.uint8]  # [N, size, size]
    letterboxes: NDArray[np.int32]  # [N, 2] original height and width
    rows: NDArray[np.int64]  # usable rows, ascending
    folder: Path
    digest: str  # SHA-256 of the pixels, in hex

    @property
    def rejected(self) -> int:
        """How many images were refused."""
        return len(self.pixels) - len(self.rows)

    def letterbox(self, row: int) -> Letterbox:
        """The geometry between a row's square and the original pixels."""
        height, width = self.letterboxes[row]
        return Letterbox(int(height), int(width), self.pixels.shape[1])


def cache_root() -> Path:
    """``$PLACE_CACHE``, else the user's cache folder: on Linux ``~/.cache/place-cxr``, or below
    ``$XDG_CACHE_HOME``.
    """
    return Path(os.environ.get("PLACE_CACHE") or user_cache_path("place-cxr", appauthor=False))


def pack_pixels(
    studies: Sequence[Study],
    size: int,
    root: Path | None = None,
    workers: int = 0,
    progress: _Progress | None = None,
) -> PixelPack:
    """The images of the studies as squares of ``size`` pixels: decoded now, or read from ``root``
    (default ``cache_root()``).

    ``workers``: decoding processes, 0 for one per core. ``progress(done, total)`` is called in this
    process. An image that cannot be read or shows nothing is listed in the pack's
    ``quarantine.jsonl`` and left out of ``rows``.

    Raises PL-D400 when more than max(10, 0.1 %) of the images, or all, are refused; PL-D401 for no
    studies; PL-D402 when a decoding process dies; PL-E002 when the disk is too full; PL-E010,
    PL-E011 when the folder cannot be used.
    """
    if not studies:
        raise PlaceError(
            "no studies to pack", code="PL-D401", fix="check the source and its filters"
        )

    root = make_private_folder(cache_root() if root is None else root)
    # The name is found before anything is decoded: an existing pack costs one stat per file.
    paths = [os.path.abspath(study.image) for study in studies]
    name = "pixels-" + salted_hash(root, _pixel_key_parts(paths, size))

    def build(folder: Path) -> None:
        refused: dict[int, DecodeOutcome] = {}

        def on_chunk(done: int, refused_chunk: Mapping[int, DecodeOutcome]) -> None:
            refused.update(refused_chunk)
            check_rejected(refused, done, len(paths), root / f"{name}.quarantine.jsonl")
            if progress:
                progress(done, len(paths))

        outcomes = decode_images(folder / "pixels", paths, size, workers, on_chunk)
        finish_pack(folder, outcomes, size)

    pack, _ = open_pack(build_once(root, name, build))
    if pack.rejected:
        quarantine = pack.folder / "quarantine.jsonl"
        _log.warning(
            "%d of %d images are left out, see %s", pack.rejected, len(studies), quarantine
        )

    return pack


def decode_images(
    target: Path,
    paths: Sequence[str],
    size: int,
    workers: int,
    on_chunk: Callable[[int, Mapping[int, DecodeOutcome]], None],
) -> list[DecodeOutcome]:
    """Decode images into the new file ``target`` (rows of ``size`` x ``size`` bytes).

    ``on_chunk`` gets how many are done, and which rows of the latest chunk are refused.

    Raises PL-E002 where the disk is too full for all of them, PL-D402 when a decoding process dies.
    """
    # Refuse at once instead of after an hour of decoding.
    needed, free = len(paths) * size * size, shutil.disk_usage(target.parent).free
    if needed > free:
        problem = f"a pack needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free"
        raise PlaceError(
            problem, code="PL-E002", file=target.parent, fix="free space, or set PLACE_CACHE"
        )

    # A sparse file of zeros: workers write their rows at their place, in any order.
    with create_private_file(target) as file:
        file.truncate(needed)

    outcomes: list[DecodeOutcome] = [(0, 0, "", "")] * len(paths)
    done = 0
    for start, decoded in map_in_chunks(_decode_chunk, paths, workers, (target, size)):
        outcomes[start : start + len(decoded)] = decoded
        done += len(decoded)
        on_chunk(done, select_refused(decoded, start))

    return outcomes


def select_refused(outcomes: Sequence[DecodeOutcome], start: int = 0) -> dict[int, DecodeOutcome]:
    """Row -> outcome of the refused images; the first outcome is that of row ``start``."""
    return {row: outcome for row, outcome in enumerate(outcomes, start) if outcome[2]}


def finish_pack(
    folder: Path,
    outcomes: Sequence[DecodeOutcome],
    size: int,
    metadata: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write everything of a pack except its pixels, which are in ``folder`` already; ``metadata``
    is stored with it.
    """
    _write_quarantine(folder / "quarantine.jsonl", select_refused(outcomes))

    packed: NamedArrays = {
        "pixels": np.memmap(
            folder / "pixels", dtype=np.uint8, mode="r", shape=(len(outcomes), size, size)
        ),
        "letterboxes": np.array([outcome[:2] for outcome in outcomes], dtype=np.int32),
        "rows": np.array(
            [row for row, outcome in enumerate(outcomes) if not outcome[2]], dtype=np.int64
        ),
    }
    with open(folder / "pixels", "rb") as file:
        write_arrays(
            folder, packed, {"digest": hashlib.file_digest(file, "sha256").hexdigest(), **metadata}
        )


def open_pack(folder: Path) -> tuple[PixelPack, dict[str, Any]]:
    """A finished pack, and the metadata that are stored with it."""
    arrays, metadata = open_arrays(folder)
    return PixelPack(
        arrays["pixels"], arrays["letterboxes"], arrays["rows"], folder, metadata["digest"]
    ), metadata


def pixel_rule_bytes(size: int) -> bytes:
    """What decides how a file becomes pixels: our version, libraries and the size."""
    libraries = ("pillow", "simplejpeg", "numpy", "pydicom", "imagecodecs")
    return _rule_bytes(PIXEL_RULE, libraries) + f" {size}".encode()


def pack_text(
    studies: Sequence[Study],
    tokenizer: Tokenizer,
    root: Path | None = None,
    max_tokens: int = 112,
    max_sentences: int = 16,
) -> EncodedReports:
    """The reports of the studies as tokens, row i for study i: encoded now, or read from ``root``;
    arrays are memory-mapped.

    Raises PL-D401 for no studies, and PL-E010, PL-E011 as ``pack_pixels``.
    """
    if not studies:
        raise PlaceError(
            "no studies to pack", code="PL-D401", fix="check the source and its filters"
        )

    root = make_private_folder(cache_root() if root is None else root)
    rule = _rule_bytes(TEXT_RULE, ("tokenizers",))
    limits = f"{tokenizer.hash} {max_tokens} {max_sentences}"
    # surrogatepass: a report may hold bytes that no encoding explains, and must still have a name.
    texts = (study.report.encode("utf-8", "surrogatepass") for study in studies)
    name = "text-" + salted_hash(root, (rule, limits.encode(), *texts))

    def build(folder: Path) -> None:
        reports = [read_report(study.report) for study in studies]
        encoded = tokenizer.encode(reports, max_tokens, max_sentences)
        values = {field.name: getattr(encoded, field.name) for field in fields(encoded)}
        arrays: NamedArrays = {
            key: value for key, value in values.items() if isinstance(value, np.ndarray)
        }
        write_arrays(
            folder, arrays, {key: value for key, value in values.items() if key not in arrays}
        )

    arrays, numbers = open_arrays(build_once(root, name, build))
    stored: dict[str, Any] = {**arrays, **numbers}

    return EncodedReports(**stored)


def _pixel_key_parts(paths: Sequence[str], size: int) -> Iterator[bytes]:
    """Everything that the bytes of a pixel pack depend on."""
    yield pixel_rule_bytes(size)
    for path in paths:
        try:
            status = os.stat(path)
            yield os.fsencode(path) + f"\0{status.st_size} {status.st_mtime_ns}".encode()
        except (OSError, ValueError):  # no such file: it will be refused, by name
            yield path.encode("utf-8", "surrogatepass")


def _rule_bytes(number: int, libraries: Sequence[str]) -> bytes:
    """The version of a rule and of the libraries that it uses."""
    return " ".join([str(number), *map(_version, libraries)]).encode()


def _version(library: str) -> str:
    """The version of a library; empty where it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _decode_chunk(start: int, paths: Sequence[str], target: Path, size: int) -> list[DecodeOutcome]:
    """Decode consecutive rows and write them in their place of the file ``target``."""
    block = np.zeros((len(paths), size, size), dtype=np.uint8)
    outcomes = []
    for square, path in zip(block, paths, strict=True):
        try:
            image, (height, width) = read_scaled_image_and_size(path, size)
            if is_constant_image(image):
                raise PlaceError(
                    "shows nothing, all pixels are equal", code=CONSTANT_IMAGE_CODE, file=path
                )

            square[:] = Letterbox(height, width, size).to_square(image)
            outcomes.append((height, width, "", ""))
        except PlaceError as error:
            if error.code.startswith("PL-E"):  # not the file: something is not installed
                raise
            outcomes.append((0, 0, error.code, sha256_of(path)[:12]))

    # Not a memory map: there, a full disk kills the process instead of raising an error.
    with open(target, "r+b") as file:
        file.seek(start * size * size)
        file.write(block.data)

    return outcomes


def check_rejected(
    refused: Mapping[int, DecodeOutcome], done: int, total: int, quarantine: Path
) -> None:
    """PL-D400 where more than max(10, 0.1 %) of all images, or all, are refused; the file
    ``quarantine`` then lists them.
    """
    if len(refused) > max(MAX_REJECTED, MAX_REJECTED_FRACTION * total) or len(refused) == total:
        _write_quarantine(quarantine, refused)
        codes = Counter(outcome[2] for outcome in refused.values())
        kinds = ", ".join(f"{count} x {code}" for code, count in codes.most_common())
        raise PlaceError(
            f"{len(refused)} of the first {done} images cannot be used ({kinds})",
            code="PL-D400",
            fix=f"look at the rows listed in {quarantine}, correct or remove them",
        )


def _write_quarantine(path: Path, refused: Mapping[int, DecodeOutcome]) -> None:
    with create_private_file(path) as file:
        for row, (_, _, code, sha256) in sorted(refused.items()):
            file.write(json.dumps({"row": row, "code": code, "sha256": sha256}).encode() + b"\n")
