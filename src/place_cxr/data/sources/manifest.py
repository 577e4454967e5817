"""The user's own data: one table with a row for each image (CSV, JSONL or Parquet).

``image`` and ``report`` are enough (or ``findings`` and ``impression`` instead of a report, or a
class, labels, masks or boxes without text). Paths are relative to the table's folder, or to the one
that the option ``folder`` names, and stay inside it. Licence, how to get it, counts: yours. Layout:
``manifest.csv``, ``manifest.jsonl`` or ``manifest.parquet`` in ``root``, or the table itself;
columns in docs/data.md. Splits: the column ``split``, else by patient. Traps: without a column
``patient``, a patient with two studies can be on both sides of a split.
"""

from __future__ import annotations

import json
import logging
import math
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, NOT_MENTIONED, PRESENT, SPLITS, UNCERTAIN, Box, Study
from place_cxr.core.registry import did_you_mean
from place_cxr.data.sources import classes
from place_cxr.data.sources.files import join_sections
from place_cxr.data.sources.tables import read_table_rows

_log = logging.getLogger(__name__)

MANIFEST_NAMES = ("manifest.csv", "manifest.jsonl", "manifest.parquet")
# Columns that have a meaning; all others are ignored.
MANIFEST_COLUMNS = (
    "image", "report", "findings", "impression", "split", "study", "patient", "view", "sex",
    "age", "site", "class", "boxes", "sha256", "license",
)  # fmt: skip
# A table without any of these, and without a column of a prefix, has nothing to learn from.
CONTENT_COLUMNS = ("report", "findings", "impression", "class", "boxes")
COLUMN_PREFIXES = ("labels.", "said.", "mask.")
_LABEL_VALUES = {PRESENT, ABSENT, UNCERTAIN}
_SHOWN = 20  # names or rows in a message
_MAX_AGE = 150  # years


def read(
    root_or_file: Path,
    *,
    columns: Mapping[str, str] = MappingProxyType({}),
    folder: str = "",
    encoding: str = "utf-8-sig",
) -> list[Study]:
    """Studies of a manifest, or of the one manifest in a folder, in file order.

    ``columns`` maps our column name to theirs; ``folder`` is what paths are relative to where it is
    not the table's. Columns without a meaning here are ignored. Without a ``study`` column the id
    is the row's number, from 1. Identical rows are kept once; rows of one study with several images
    stay and share the id. Raises ``PlaceError``: PL-D201 columns, PL-D202 form, PL-D203 ids,
    PL-D204 rows that contradict each other, PL-D205 files that are missing or no regular files,
    PL-D206 paths that leave the folder, PL-D209 encoding, PL-D210 values.
    """
    file = find_manifest(Path(root_or_file))
    reader = ManifestReader(file, columns, folder)

    studies: list[Study] = []
    lines: list[int] = []
    for line, cells in read_table_rows(file, encoding, reader.choose):
        studies.append(reader.study(line, cells, number=len(studies) + 1))
        lines.append(line)

    if not studies:
        raise PlaceError(
            "a header and no rows", code="PL-D201", file=file, fix="write a row for each image"
        )

    reader.check_files()

    return drop_repeated_rows(
        file,
        reader.fill_absent_classes(studies),
        lines,
        numbered="study" not in reader.used_columns,
    )


def find_manifest(path: Path) -> Path:
    """The manifest itself, or the one in a folder; PL-D201 where there is none or several."""
    if not path.is_dir():
        return path

    manifests = [path / name for name in MANIFEST_NAMES if (path / name).exists()]
    if len(manifests) != 1:
        problem = f"{len(manifests)} files named {', '.join(MANIFEST_NAMES)}, expected one"
        raise PlaceError(problem, code="PL-D201", file=path, fix="name the manifest file")

    return manifests[0]


class ManifestReader:
    """Turns rows into studies, also for ``folder``; collects files that are missing.

    The links of a folder are resolved once for all its files.
    """

    def __init__(self, file: Path, columns: Mapping[str, str], folder: str = "") -> None:
        for ours in columns:
            if ours not in MANIFEST_COLUMNS and not ours.startswith(COLUMN_PREFIXES):
                problem = f"no column '{ours}' to map{did_you_mean(ours, MANIFEST_COLUMNS)}"
                raise PlaceError(
                    problem,
                    code="PL-C001",
                    fix=f"map one of {', '.join((*MANIFEST_COLUMNS, *COLUMN_PREFIXES))}",
                )

        self.file = file
        self.columns = columns
        self.used_columns: dict[str, str] = {}
        self._root = os.path.realpath(folder or file.parent)
        self._folders: dict[str, str] = {}
        self._classes: set[str] = set()
        # (line, what is wrong); without the file's name, as it may be the name of a patient.
        self.missing_files: list[tuple[int, str]] = []

    def choose(self, header: Sequence[str]) -> Mapping[str, str]:
        """Our name -> theirs for each column that is read."""

        def is_ours(name: str) -> bool:
            return name in MANIFEST_COLUMNS or name.startswith(COLUMN_PREFIXES)

        recognized = {name: name for name in header if is_ours(name)}
        # A column "class" of 1 and 0 that is mapped to a finding does not name classes.
        if "class" in self.columns.values():
            recognized.pop("class", None)

        self.used_columns = used = recognized | dict(self.columns)
        missing = [theirs for theirs in used.values() if theirs not in header]
        if "image" not in used:
            missing.append("image")

        if not any(name in CONTENT_COLUMNS or name.startswith(COLUMN_PREFIXES) for name in used):
            missing.append("report")

        if missing:
            header_text = f"found {', '.join(header[:_SHOWN])}"
            problem = f"no column '{missing[0]}' ({header_text}){did_you_mean(missing[0], header)}"
            raise PlaceError(
                problem,
                code="PL-D201",
                file=self.file,
                fix="rename the column or map it with columns",
            )

        # A column that was renamed by mistake makes splits leak without any error: warn.
        for ours in ("patient", "study", "split"):
            near = did_you_mean(ours, [name for name in header if name not in used.values()])
            if ours not in used and near:
                _log.warning(
                    "%s: no column '%s'%s Then map it with columns.", self.file, ours, near
                )

        return used

    def study(self, line: int, cells: Mapping[str, str], number: int) -> Study:
        """The study of one row; ``number`` is its id where the table has no study column."""
        if not cells.get("study", "-").strip():
            self._refuse(line, "the study id is empty", "PL-D203", "give each row its study id")

        if not cells["image"]:
            self._refuse(line, "the image path is empty", "PL-D205", "name an image file")

        split = cells.get("split", "")
        if split and split not in SPLITS:
            self._refuse(
                line,
                f"unknown split{did_you_mean(split, SPLITS)}",
                "PL-D210",
                f"write {', '.join(SPLITS)}",
            )

        masks = {name: text for name, text in _strip_prefix(cells, "mask.").items() if text}

        return Study(
            id=cells.get("study", str(number)),
            image=self._path(line, cells["image"]),
            report=cells["report"]
            if cells.get("report", "").strip()
            else join_sections(cells.get("findings", ""), cells.get("impression", "")),
            patient=cells.get("patient", ""),
            split=split,
            view=cells.get("view", ""),
            sex=cells.get("sex", ""),
            age=self._age(line, cells.get("age", "")),
            site=cells.get("site", ""),
            labels={
                name: self._label(line, text)
                for name, text in _strip_prefix(cells, "labels.").items()
            }
            | self._class(line, cells.get("class", "").strip()),
            said={
                name: self._label(line, text)
                for name, text in _strip_prefix(cells, "said.").items()
            },
            masks={name: self._path(line, text) for name, text in masks.items()},
            boxes=self._boxes(line, cells.get("boxes", "")),
        )

    def fill_absent_classes(self, studies: Sequence[Study]) -> list[Study]:
        """All studies of the table, with 0 for every class of the table that is not their own."""
        return classes.fill_absent_classes(studies, self._classes)

    def check_files(self) -> None:
        """PL-D205 with the first files that are missing or not regular files; no file is opened."""
        if self.missing_files:
            shown = "; ".join(f"line {line} ({what})" for line, what in self.missing_files[:_SHOWN])
            count = len(self.missing_files)
            remainder = f"; and {count - _SHOWN} more" if count > _SHOWN else ""
            problem = f"{count} paths without a file to read: {shown}{remainder}"
            raise PlaceError(
                problem, code="PL-D205", file=self.file, fix="copy the files or take these rows out"
            )

    def _path(self, line: int, text: str) -> Path:
        """The real path of a file, which must be inside the table's folder."""
        # A manifest may come from somebody else: it must not name files outside its folder.
        if "\0" in text or "\\" in text:
            mark = "a NUL" if "\0" in text else "backslashes"
            self._refuse(line, f"a path with {mark}", "PL-D206", "write paths with forward slashes")

        if text.startswith("/"):
            self._refuse(
                line, "an absolute path", "PL-D206", "write paths relative to the manifest's folder"
            )

        # Links of the folder are followed once for all its files, which saves most of the time.
        folder, name = os.path.split(text)
        if name in ("", ".", ".."):
            folder, name = text, ""

        if folder not in self._folders:
            self._folders[folder] = self._inside(line, os.path.join(self._root, folder))

        path = os.path.join(self._folders[folder], name)
        try:
            status = os.lstat(path)  # not opened: a FIFO would block
            if stat.S_ISLNK(status.st_mode):
                path = self._inside(line, path)
                status = os.stat(path)

            fault = "" if os.access(path, os.R_OK) else "not readable"
            if not stat.S_ISREG(status.st_mode):
                fault = "not a regular file"
        except OSError:
            fault = "missing"

        if fault:
            self.missing_files.append((line, fault))

        return Path(path)

    def _inside(self, line: int, path: str) -> str:
        real = os.path.realpath(path)
        if real != self._root and not real.startswith(os.path.join(self._root, "")):
            fix = (
                "put the manifest in a folder above the files, or name that folder: "
                "--option folder=PATH"
            )
            self._refuse(line, "a path that leaves the manifest's folder", "PL-D206", fix)

        return real

    def _label(self, line: int, text: str) -> float:
        if not text.strip():
            return NOT_MENTIONED

        value = _number(text)
        # Any other number may be a probability or a class: a guess would spoil the labels.
        if value is None or value not in _LABEL_VALUES:
            kind = "text" if value is None else "another number"
            self._refuse(
                line,
                f"a label is {kind}",
                "PL-D210",
                "write 1, 0, -1 (uncertain) or nothing (not mentioned)",
            )

        return value

    def _class(self, line: int, name: str) -> dict[str, float]:
        if not name:
            return {}

        if name not in self._classes:
            problem = classes.find_class_problem(name)
            if f"labels.{name}" in self.used_columns:
                problem = "a class has a column of labels, too", "leave one of them out"

            if len(self._classes) == classes.MAX_CLASSES:
                problem = f"more than {classes.MAX_CLASSES} classes", "name a column of classes"

            if problem:
                self._refuse(line, problem[0], "PL-D210", problem[1])

            self._classes.add(name)

        return {name: PRESENT}

    def _age(self, line: int, text: str) -> float | None:
        if not text.strip():
            return None

        value = _number(text)
        if value is None or not 0 <= value <= _MAX_AGE:
            self._refuse(
                line,
                "an age is no number of years",
                "PL-D210",
                "write years, as 63 or 0.5, or nothing",
            )

        return value

    def _boxes(self, line: int, text: str) -> tuple[Box, ...]:
        if not text.strip():
            return ()

        try:
            boxes = tuple(_parse_box(entry) for entry in json.loads(text))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            boxes = None

        if boxes is None:
            fix = (
                'write [{"finding": "effusion", "x0": 10, "y0": 20, "x1": 90, "y1": 80}] '
                "with x0 < x1 and y0 < y1"
            )
            self._refuse(line, "boxes that cannot be read", "PL-D210", fix)

        return boxes

    def _refuse(self, line: int, problem: str, code: str, fix: str) -> NoReturn:
        raise PlaceError(f"line {line}: {problem}", code=code, file=self.file, fix=fix)


def _parse_box(entry: Mapping[str, Any]) -> Box:
    sides = [float(entry[name]) for name in ("x0", "y0", "x1", "y1")]
    box = Box(entry["finding"], *sides)
    if not isinstance(box.finding, str) or not all(map(math.isfinite, sides)):
        raise ValueError
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        raise ValueError

    return box


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None

    return value if math.isfinite(value) else None


def _strip_prefix(cells: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): text for name, text in cells.items() if name.startswith(prefix)
    }


def drop_repeated_rows(
    file: Path, studies: Sequence[Study], lines: Sequence[int], *, numbered: bool
) -> list[Study]:
    """The studies without repeated rows. ``numbered``: ids are row numbers and are not compared.

    PL-D204, with both lines, for an image or a study with two contents.
    """
    kept: list[Study] = []

    images: dict[Path, tuple[int, Study]] = {}
    ids: dict[str, tuple[int, Study]] = {}
    for line, study in zip(lines, studies, strict=True):
        # The same image again is left out if all is equal, and refused if not.
        first_line, same_image = images.setdefault(study.image, (line, study))
        if first_line != line:
            repeat = replace(study, id=same_image.id) if numbered else study
            if repeat != same_image:
                _refuse_contradiction(file, "image", first_line, line)
            continue

        # Another image of a study: what they share must be equal.
        study_line, same_study = ids.setdefault(study.id, (line, study))
        if _study_content(same_study) != _study_content(study):
            _refuse_contradiction(file, "study", study_line, line)

        kept.append(study)

    if len(kept) < len(studies):
        _log.warning(
            "%s: %d rows repeat an earlier one and are left out", file, len(studies) - len(kept)
        )

    return kept


def _study_content(study: Study) -> tuple[object, ...]:
    """What the images of one study share.

    NaN labels are the one object NOT_MENTIONED; Python takes identical objects in dicts for equal.
    """
    return study.report, study.patient, study.split, study.sex, study.labels, study.said


def _refuse_contradiction(file: Path, what: str, first: int, second: int) -> NoReturn:
    problem = f"lines {first} and {second} have the same {what} and contradict each other"
    raise PlaceError(problem, code="PL-D204", file=file, fix="take one of them out")
