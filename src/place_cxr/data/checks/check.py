"""``place data check``: every fault of a data set, row by row, instead of the first one.

``examine`` reads what can be read, looks at every picture once, and gives all to small functions from rows to faults.
No fault quotes a report, an id or a name of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import RunLengths, Study
from place_cxr.core.registry import pick
from place_cxr.core.store import sha256_of
from place_cxr.core.workers import in_chunks
from place_cxr.data.checks.faults import Fault
from place_cxr.data.checks.image_quality import CHEST, LETTERS, LEVELS, Look, chest_template, look
from place_cxr.data.checks.near_duplicates import near_copies
from place_cxr.data.checks.tables import repeats, split_faults, text_faults
from place_cxr.data.sources import SOURCES, read_source
from place_cxr.data.sources.conventions import size_faults
from place_cxr.data.sources.lenient import Table, read_all
from place_cxr.images.masks import load_mask
from place_cxr.images.read import dicom_facts

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture's file: its SHA-256 (empty if unreadable), and its look or its faults."""

    sha256: str
    look: Look | None
    faults: tuple[tuple[str, str], ...] = ()  # (code, problem)


@dataclass(frozen=True, slots=True)
class Examined:
    """N studies that could be read, each with its row and what its picture looks like, and all faults."""

    studies: list[Study]
    rows: list[int]
    seen: list[Seen]
    faults: list[Fault] = field(default_factory=list)
    licences: list[str] = field(default_factory=list)  # of the rows that name one
    file: Path | None = None  # the table whose lines ``rows`` are; None: rows count studies

    @property
    def total(self) -> int:
        """Rows looked at, readable or not."""
        return len({*self.rows, *(fault.row for fault in self.faults if fault.row)})


def examine(
    source: str,
    root: Path,
    options: Mapping[str, Any],
    *,
    split: Callable[[list[Study]], list[Study]] = lambda studies: studies,
    workers: int = 0,
    progress: Progress | None = None,
) -> Examined:
    """Read and look at all of a data set, ``options`` as its source takes them.

    ``split`` puts splits from elsewhere on the studies.

    A table that cannot be read at all is one fault of row 0 or of its line. Raises PL-C001 to PL-C003 for settings that
    name nothing that can be looked at, PL-D402 when a process dies.
    """
    pick(SOURCES, source, "source")
    if source == "pack":
        fix = "name the data that it was made of"
        raise PlaceError("a pack has no original pictures to look at", code="PL-C003", file=root, fix=fix)
    table = _read(source, Path(root), options)
    studies, rows = split(table.studies), table.lines
    faults = _size_faults(source, options, table.studies)
    faults += [Fault(error.code, line, error.problem.removeprefix(f"line {line}: ")) for line, error in table.faults]
    seen = _look_at(studies, workers, progress)
    licences = [name for name in table.licences if name]
    examined = Examined(studies, rows, seen, faults, licences, table.file if source == "manifest" else None)
    for study, row, one, named in zip(studies, rows, seen, table.sha256, strict=True):
        faults += [Fault(code, row, problem) for code, problem in one.faults]
        if named and one.sha256 and named.lower() != one.sha256:
            faults.append(Fault("PL-D155", row, "the file's SHA-256 is not that of the manifest"))
        faults += [Fault(code, row, problem) for code, problem in _judge(study, one.look)]
    faults += _copies(examined)
    faults += repeats(studies, rows)
    faults += split_faults(studies, rows)
    faults += text_faults(studies, rows)
    places = {row: place for place, row in enumerate(rows)}
    base = table.file.resolve()
    base = base if base.is_dir() else base.parent
    for index, fault in enumerate(faults):
        place = places.get(fault.row)
        if place is not None:
            path = Path(studies[place].image)
            name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name
            faults[index] = replace(fault, sha256=seen[place].sha256[:12], file=name)
    return examined


def _read(source: str, root: Path, options: Mapping[str, Any]) -> Table:
    """All that can be read; a refusal of the whole is a fault of row 0."""
    try:
        if source == "manifest":
            SOURCES[source].refuse_unknown(options)
            return read_all(root, **options)
        studies = read_source(source, root, options)
        return Table(root, studies, list(range(1, len(studies) + 1)), [""] * len(studies), [], [])
    except PlaceError as error:
        if error.exit_code != 4:
            raise
        return Table(root, [], [], [], [], [(0, error)])


def _size_faults(source: str, options: Mapping[str, Any], studies: Sequence[Study]) -> list[Fault]:
    """PL-D259: the set has not the published size. Nothing is known of the size of a chosen part of it."""
    if not studies or set(options) - {"split"}:
        return []
    split = options.get("split") or next(iter(SOURCES[source].splits), "")
    return [Fault("PL-D259", 0, problem) for problem in size_faults(source, split, studies)]


def _look_at(studies: Sequence[Study], workers: int, progress: Progress | None) -> list[Seen]:
    jobs = [(str(study.image), tuple(study.masks.items())) for study in studies]
    seen: list[Seen] = [Seen("", None)] * len(jobs)
    done = 0
    for start, found in in_chunks(_look_chunk, jobs, workers, (chest_template(),)):
        seen[start : start + len(found)] = found
        done += len(found)
        if progress:
            progress(done, len(jobs))
    return seen


def _look_chunk(start: int, jobs: Sequence[tuple[str, Any]], template: NDArray[np.float32]) -> list[Seen]:
    return [_see(Path(path), masks, template) for path, masks in jobs]


def _see(path: Path, masks: Sequence[tuple[str, Path | RunLengths]], template: NDArray[np.float32]) -> Seen:
    sha256 = sha256_of(path)
    try:
        found = look(path, template)
    except PlaceError as error:
        if error.exit_code != 4:  # not the file: something is not installed
            raise
        return Seen(sha256, None, ((error.code, error.problem),))
    faults = []
    facts = dicom_facts(path)
    if facts and facts.burnt_in_text:
        faults.append(("PL-D154", facts.burnt_in_text))
    for name, mask in masks:
        try:
            shape = load_mask(mask).shape
            if shape != (found.height, found.width):
                size = f"{shape[1]} x {shape[0]} pixels, the picture {found.width} x {found.height}"
                faults.append(("PL-D258", f"the mask of {name} has {size}"))
        except PlaceError as error:
            faults.append(("PL-D258", f"the mask of {name}: {error.problem}"))
    return Seen(sha256, found, tuple(faults))


def _judge(study: Study, seen: Look | None) -> list[tuple[str, str]]:
    """What the look of one picture says against it."""
    if seen is None:
        return []
    found = []
    if any(b.x0 < 0 or b.y0 < 0 or b.x1 > seen.width or b.y1 > seen.height for b in study.boxes):
        found.append(("PL-D257", f"a box lies outside the picture of {seen.width} x {seen.height} pixels"))
    if seen.levels < LEVELS:
        found.append(("PL-D150", f"98 % of the pixels lie within {seen.levels} of 256 grey levels"))
    if seen.chest < CHEST and not study.view.lower().startswith(("l", "rl")):
        found.append(("PL-D151", f"chest score {seen.chest:.2f}, a frontal chest film has {CHEST} or more"))
    if seen.turn:
        found.append(("PL-D152", f"looks turned by {90 * seen.turn} degrees counter-clockwise"))
    if seen.negative:
        found.append(("PL-D153", "looks inverted: black where a radiograph is white"))
    if seen.letters >= LETTERS:
        found.append(("PL-D154", f"a line of {seen.letters} letter-like strokes"))
    return found


def _copies(examined: Examined) -> list[Fault]:
    """The same file, or nearly the same picture, in two rows. Images of one study are compared as all others."""
    studies, rows = examined.studies, examined.rows
    faults: list[Fault] = []
    first: dict[str, int] = {}
    alone: list[int] = []
    thumbs = []
    for place, one in enumerate(examined.seen):
        if one.look is None:
            continue
        earlier = first.setdefault(one.sha256, place)
        if earlier == place:
            alone.append(place)
            thumbs.append(one.look.thumb)
        elif studies[earlier].image != studies[place].image:
            where = _apart(studies[earlier], studies[place])
            code = "PL-D251" if where else "PL-D252"
            problem = f"the same file as row {rows[earlier]}{where}"
            faults.append(Fault(code, rows[place], problem, rows[earlier]))
    for a, b in near_copies(np.array(thumbs)) if thumbs else []:
        earlier, place = alone[a], alone[b]
        where = _apart(studies[earlier], studies[place])
        code = "PL-D253" if where else "PL-D254"
        faults.append(Fault(code, rows[place], f"nearly the picture of row {rows[earlier]}{where}", rows[earlier]))
    return faults


def _apart(a: Study, b: Study) -> str:
    if a.split != b.split:
        return ", which is in another split"
    if a.patient and b.patient and a.patient != b.patient:
        return ", which is another patient's"
    return ""
