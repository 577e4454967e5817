"""A tree of pictures (DICOM, PNG, JPEG, TIFF, BMP, WEBP) with the reports in one table or in text files beside.

Licence, how to get it, counts: yours.
Layout, with a table: exactly one CSV, JSONL or Parquet file in ``root`` itself (or option ``table``), whose columns
are the manifest's. Its column ``image`` may be a path below ``root``, a file's name, or the name without ending;
``columns`` maps other names. Rows without a picture and pictures without a row are counted and left out.
Layout, with text files: a picture's report is ``<picture>.txt`` beside it, else the only text file of its folder,
else ``<folder>.txt`` beside the folder (as MIMIC-CXR has it); pictures that share a text file are one study.
Patients: from the table's column ``patient``, or the n-th folder below ``root`` (``patient_folder=n``). Without
either, splits are made by study, and a patient with two studies can be on both sides.
Splits: the table's column ``split``, else by patient.
Traps: names of files can hold names of people: nothing of them is logged, but they stand in ids where the table has
no column ``study``; links are not followed; a file without an ending is taken where it is DICOM (by its content).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.data.sources.manifest import Reader, once
from place_cxr.data.sources.tables import header_of, rows

log = logging.getLogger(__name__)
NEEDS = (("**/*.*",),)
MAY_USE = (("*.csv", "*.jsonl", "*.parquet"),)
_PICTURES = frozenset((".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"))
_TABLES = (".csv", ".jsonl", ".parquet")
# Names that tables give the column of the picture, where it is not called image.
_IMAGE_NAMES = ("file", "filename", "file_name", "path", "image_path", "image_id", "dicom", "dicom_id")
_LONGEST = 1_000_000  # bytes of a text file


def read(
    root: Path,
    *,
    table: str = "",
    columns: Mapping[str, str] = MappingProxyType({}),
    patient_folder: int = 0,
    encoding: str = "utf-8-sig",
) -> list[Study]:
    """A study for each picture that has a row or, without a table, for each picture; sorted by path.

    Raises PL-D205 for no pictures or a missing table, PL-D201 to PL-D210 as the manifest does, PL-C001 for a
    ``patient_folder`` that is not there.
    """
    if not root.is_dir():
        raise PlaceError("no such folder", code="PL-D205", file=root, fix="check the path")
    root = Path(os.path.realpath(root))
    pictures, texts = _walk(root)
    if not pictures:
        raise PlaceError("no pictures below it", code="PL-D205", file=root, fix="name the folder of the pictures")
    found = _table(root, table)
    if found is None:
        studies = list(_with_texts(root, pictures, texts, encoding))
    else:
        studies = _with_table(root, found, pictures, columns, encoding)
    if patient_folder:
        studies = [replace(study, patient=_patient(root, study.image, patient_folder)) for study in studies]
    return studies


def _walk(root: Path) -> tuple[list[str], set[str]]:
    """Pictures, sorted, and text files, as paths below ``root`` with forward slashes."""
    pictures, texts = [], set()
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            ending = os.path.splitext(name)[1].lower()
            if ending not in _PICTURES and ending not in (".txt", "") and not ending[1:].isdecimal():
                continue
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            below = os.path.relpath(path, root).replace(os.sep, "/")
            if ending == ".txt":
                texts.add(below)
            elif ending in _PICTURES or _is_dicom(path):
                pictures.append(below)
    return sorted(pictures), texts


def _is_dicom(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _table(root: Path, name: str) -> Path | None:
    if name:
        if Path(name).name != name:
            raise PlaceError("a table of another folder", code="PL-C001", file=root, fix="put it into the data folder")
        return root / name
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in _TABLES)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise PlaceError(f"{len(found)} tables ({names})", code="PL-D205", file=root, fix="name one as option table")
    return found[0] if found else None


def _with_table(root: Path, table: Path, pictures: list[str], columns: Mapping[str, str], encoding: str) -> list[Study]:
    header = header_of(table, encoding)
    guess = next((name for name in _IMAGE_NAMES if name in header), "")
    if "image" not in header and "image" not in columns and guess:
        columns = {**columns, "image": guess}
    reader = Reader(table, columns)
    places = _by_key(pictures)
    studies: list[Study] = []
    lines: list[int] = []
    lost = 0
    for line, cells in rows(table, encoding, reader.choose):
        path = _look_up(places, cells["image"])
        if not path:
            lost += 1
            continue
        if len(path) > 1:
            problem = f"line {line}: {len(path)} pictures have this name"
            raise PlaceError(problem, code="PL-D204", file=table, fix="write paths below the folder")
        study = reader.study(line, {**cells, "image": path[0]}, number=len(studies) + 1)
        named = study if "study" in reader.used else replace(study, id=str(PurePosixPath(path[0]).with_suffix("")))
        studies.append(named)
        lines.append(line)
    reader.check_files()
    if not studies:
        problem = f"none of {lost} rows names one of {len(pictures)} pictures"
        raise PlaceError(
            problem, code="PL-D205", file=table, fix="name the picture's column: data.columns.image=COLUMN"
        )
    kept = once(table, reader.classed(studies), lines, numbered=False)
    if lost or len(kept) < len(pictures):
        log.warning(
            "%s: %d rows have no picture, %d of %d pictures no row: left out",
            table, lost, len(pictures) - len({study.image for study in kept}), len(pictures),
        )  # fmt: skip
    return sorted(kept, key=lambda study: study.image)


def _by_key(pictures: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in pictures:
        pure = PurePosixPath(path)
        for key in {path, str(pure.with_suffix("")), pure.name, pure.stem}:
            found.setdefault(key, []).append(path)
    return found


def _look_up(places: Mapping[str, list[str]], text: str) -> list[str]:
    return places.get(text.strip().removeprefix("./"), [])


def _with_texts(root: Path, pictures: list[str], texts: set[str], encoding: str) -> Iterator[Study]:
    alone: dict[str, list[str]] = {}
    for text in texts:
        alone.setdefault(os.path.dirname(text), []).append(text)
    read_already: dict[str, str] = {}
    for path in pictures:
        folder = os.path.dirname(path)
        own = [f"{os.path.splitext(path)[0]}.txt"]
        only = alone.get(folder, []) if len(alone.get(folder, [])) == 1 else []
        above = [f"{folder}.txt"] if folder else []
        text = next((name for name in (*own, *only, *above) if name in texts), "")
        if text and text not in read_already:
            read_already[text] = _text(root / text, encoding)
        yield Study(id=os.path.splitext(text or path)[0], image=root / path, report=read_already[text] if text else "")


def _text(file: Path, encoding: str) -> str:
    try:
        data = file.read_bytes()[:_LONGEST]
        return data.decode(encoding)
    except OSError:
        raise PlaceError("cannot be read", code="PL-D205", file=file, fix="check its permissions") from None
    except UnicodeDecodeError as error:
        raise PlaceError(
            f"byte {error.start} is not {encoding}", code="PL-D209", file=file, fix="name the encoding, as latin-1"
        ) from None
    except LookupError:
        raise PlaceError(f"unknown encoding '{encoding}'", code="PL-C001", file=file, fix="use utf-8-sig") from None


def _patient(root: Path, image: Path, depth: int) -> str:
    folders = image.relative_to(root).parts[:-1]
    if not 0 < depth <= len(folders):
        problem = f"a picture has no folder number {depth} below the data folder"
        raise PlaceError(problem, code="PL-C001", file=root, fix="set data.options.patient_folder=1, or leave it out")
    return folders[depth - 1]
