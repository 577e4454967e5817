"""``place data check``: all faults of a data set, row by row, instead of the first one.

``check_dataset`` reads what can be read, measures every image once, and passes the rows to small
functions that return faults. No fault quotes a report, an id or the name of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import sha256_of
from place_cxr.core.records import RunLengths, Study
from place_cxr.core.registry import pick
from place_cxr.core.workers import map_in_chunks
from place_cxr.data.checks.faults import Fault
from place_cxr.data.checks.image_quality import (
    MIN_CHEST_SCORE,
    MIN_GRAY_LEVELS,
    MIN_LETTERS,
    ImageStats,
    chest_template,
    measure_file,
)
from place_cxr.data.checks.near_duplicates import find_near_duplicates
from place_cxr.data.checks.tables import repeat_faults, split_faults, text_faults
from place_cxr.data.sources import SOURCES, read_named_source
from place_cxr.data.sources.conventions import size_problems
from place_cxr.data.sources.lenient import TableWithFaults, read_with_faults
from place_cxr.images.masks import load_mask
from place_cxr.images.read import read_dicom_header

_Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """One image file: its SHA-256 (empty if unreadable), and its measurements or its faults."""

    sha256: str
    stats: ImageStats | None
    faults: tuple[tuple[str, str], ...] = ()  # (code, problem)


@dataclass(frozen=True, slots=True)
class CheckedDataset:
    """N studies that could be read, each with its row and its image, and all faults."""

    studies: list[Study]
    rows: list[int]
    images: list[CheckedImage]
    faults: list[Fault] = field(default_factory=list)
    licenses: list[str] = field(default_factory=list)  # of the rows that name one
    file: Path | None = None  # the table whose lines are ``rows``; None: rows count studies

    @property
    def total(self) -> int:
        """How many rows there are, readable or not."""
        return len({*self.rows, *(fault.row for fault in self.faults if fault.row)})


def check_dataset(
    source: str,
    root: Path,
    options: Mapping[str, Any],
    *,
    split: Callable[[list[Study]], list[Study]] = lambda studies: studies,
    workers: int = 0,
    progress: _Progress | None = None,
) -> CheckedDataset:
    """Check a whole data set. ``options`` are those of its source.

    ``split`` maps the studies to studies with splits from elsewhere. A table that cannot be read at
    all is one fault, of row 0 or of its line. Raises PL-C001 to PL-C003 for settings that name
    nothing that can be checked, PL-D402 when a process dies.
    """
    pick(SOURCES, source, "source")
    if source == "pack":
        fix = "name the data that it was made of"
        raise PlaceError(
            "a pack has no original images to look at", code="PL-C003", file=root, fix=fix
        )

    table = _read_table(source, Path(root), options)
    studies, rows = split(table.studies), table.lines
    faults = _size_faults(source, options, table.studies)
    for line, error in table.faults:
        faults.append(Fault(error.code, line, error.problem.removeprefix(f"line {line}: ")))

    images = _check_images(studies, workers, progress)

    licenses = [name for name in table.licenses if name]
    checked = CheckedDataset(
        studies, rows, images, faults, licenses, table.file if source == "manifest" else None
    )
    for study, row, image, expected_sha256 in zip(studies, rows, images, table.sha256, strict=True):
        faults += [Fault(code, row, problem) for code, problem in image.faults]
        if expected_sha256 and image.sha256 and expected_sha256.lower() != image.sha256:
            faults.append(Fault("PL-D155", row, "the file's SHA-256 is not that of the manifest"))
        if image.stats is not None:
            image_faults = _image_faults(study, image.stats)
            faults += [Fault(code, row, problem) for code, problem in image_faults]

    faults += _copy_faults(checked)
    faults += repeat_faults(studies, rows)
    faults += split_faults(studies, rows)
    faults += text_faults(studies, rows)

    # Each fault gets the hash and the path of its image, for those who ask for names.
    positions = {row: position for position, row in enumerate(rows)}
    base = table.file.resolve()
    base = base if base.is_dir() else base.parent
    for index, fault in enumerate(faults):
        position = positions.get(fault.row)
        if position is not None:
            path = Path(studies[position].image)
            name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name
            faults[index] = replace(fault, sha256=images[position].sha256[:12], file=name)

    return checked


def _read_table(source: str, root: Path, options: Mapping[str, Any]) -> TableWithFaults:
    """Everything that can be read; a table that is refused as a whole is a fault of row 0."""
    try:
        if source == "manifest":
            SOURCES[source].check_options(options)
            return read_with_faults(root, **options)

        studies = read_named_source(source, root, options)
        return TableWithFaults(
            root, studies, list(range(1, len(studies) + 1)), [""] * len(studies), [], []
        )
    except PlaceError as error:
        # Exit code 4 is a fault of the data; others are wrong settings or a missing library.
        if error.exit_code != 4:
            raise
        return TableWithFaults(root, [], [], [], [], [(0, error)])


def _size_faults(source: str, options: Mapping[str, Any], studies: Sequence[Study]) -> list[Fault]:
    """PL-D259: the data set does not have the published size. With options that select a part of
    it, no size is known.
    """
    if not studies or set(options) - {"split"}:
        return []
    split = options.get("split") or next(iter(SOURCES[source].splits), "")
    return [Fault("PL-D259", 0, problem) for problem in size_problems(source, split, studies)]


def _check_images(
    studies: Sequence[Study], workers: int, progress: _Progress | None
) -> list[CheckedImage]:
    jobs = [(str(study.image), tuple(study.masks.items())) for study in studies]
    images: list[CheckedImage] = [CheckedImage("", None)] * len(jobs)
    done = 0
    for start, checked in map_in_chunks(_check_chunk, jobs, workers, (chest_template(),)):
        images[start : start + len(checked)] = checked
        done += len(checked)
        if progress:
            progress(done, len(jobs))

    return images


def _check_chunk(
    start: int, jobs: Sequence[tuple[str, Any]], template: NDArray[np.float32]
) -> list[CheckedImage]:
    return [_check_image(Path(path), masks, template) for path, masks in jobs]


def _check_image(
    path: Path, masks: Sequence[tuple[str, Path | RunLengths]], template: NDArray[np.float32]
) -> CheckedImage:
    sha256 = sha256_of(path)
    try:
        stats = measure_file(path, template)
    except PlaceError as error:
        if error.exit_code != 4:  # not the file: something is not installed
            raise
        return CheckedImage(sha256, None, ((error.code, error.problem),))

    faults = []
    # DICOM may say itself that text is burnt in.
    header = read_dicom_header(path)
    if header and header.burned_in_reason:
        faults.append(("PL-D154", header.burned_in_reason))

    for name, mask in masks:
        try:
            shape = load_mask(mask).shape
            if shape != (stats.height, stats.width):
                size = f"{shape[1]} x {shape[0]} pixels, the image {stats.width} x {stats.height}"
                faults.append(("PL-D258", f"the mask of {name} has {size}"))
        except PlaceError as error:
            faults.append(("PL-D258", f"the mask of {name}: {error.problem}"))

    return CheckedImage(sha256, stats, tuple(faults))


def _image_faults(study: Study, stats: ImageStats) -> list[tuple[str, str]]:
    """(code, problem) of what the measurements of an image show."""
    faults = []
    if any(b.x0 < 0 or b.y0 < 0 or b.x1 > stats.width or b.y1 > stats.height for b in study.boxes):
        faults.append(
            ("PL-D257", f"a box lies outside the image of {stats.width} x {stats.height} pixels")
        )

    if stats.levels < MIN_GRAY_LEVELS:
        faults.append(
            ("PL-D150", f"98 % of the pixels lie within {stats.levels} of 256 grey levels")
        )

    # Lateral views (L, LL, RL, LATERAL) look different from the frontal template.
    if stats.chest < MIN_CHEST_SCORE and not study.view.lower().startswith(("l", "rl")):
        faults.append(
            (
                "PL-D151",
                f"chest score {stats.chest:.2f}, a frontal chest film has {MIN_CHEST_SCORE} or "
                f"more",
            )
        )

    if stats.turn:
        faults.append(("PL-D152", f"looks turned by {90 * stats.turn} degrees counter-clockwise"))

    if stats.negative:
        faults.append(("PL-D153", "looks inverted: black where a radiograph is white"))

    if stats.letters >= MIN_LETTERS:
        faults.append(("PL-D154", f"a line of {stats.letters} letter-like strokes"))

    return faults


def _copy_faults(checked: CheckedDataset) -> list[Fault]:
    """The same file, or nearly the same image, in two rows; images of one study count as well."""
    studies, rows = checked.studies, checked.rows
    faults: list[Fault] = []
    first: dict[str, int] = {}  # SHA-256 -> position of the first such file
    unique: list[int] = []
    thumbs = []
    for position, image in enumerate(checked.images):
        if image.stats is None:
            continue

        earlier = first.setdefault(image.sha256, position)
        if earlier == position:
            unique.append(position)
            thumbs.append(image.stats.thumb)
        elif studies[earlier].image != studies[position].image:
            leak = _describe_leak(studies[earlier], studies[position])
            code = "PL-D251" if leak else "PL-D252"
            problem = f"the same file as row {rows[earlier]}{leak}"
            faults.append(Fault(code, rows[position], problem, rows[earlier]))

    # Files that are equal byte for byte were handled above; here one of each remains.
    for a, b in find_near_duplicates(np.array(thumbs)) if thumbs else []:
        earlier, position = unique[a], unique[b]
        leak = _describe_leak(studies[earlier], studies[position])
        code = "PL-D253" if leak else "PL-D254"
        faults.append(
            Fault(
                code,
                rows[position],
                f"nearly the image of row {rows[earlier]}{leak}",
                rows[earlier],
            )
        )

    return faults


def _describe_leak(a: Study, b: Study) -> str:
    if a.split != b.split:
        return ", which is in another split"
    if a.patient and b.patient and a.patient != b.patient:
        return ", which is another patient's"
    return ""
