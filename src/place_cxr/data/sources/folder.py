"""A tree of images (DICOM, PNG, JPEG, TIFF, BMP, WEBP) with the reports in one table or in text
files beside them.

Licence, how to get it, counts: yours. Layout, with a table: exactly one CSV, JSONL or Parquet file
in ``root`` itself (or option ``table``), whose columns are the manifest's. Its column ``image`` may
be a path below ``root``, a file's name, or the name without ending; ``columns`` maps other names.
Rows without an image and images without a row are counted and left out. Layout, with text files:
the report of an image is ``<image>.txt`` beside it, else the only text file of its folder, else
``<folder>.txt`` beside the folder (as in MIMIC-CXR); images that share a text file are one study.
Patients: from the table's column ``patient``, or the n-th folder below ``root``
(``patient_folder=n``). Without either, splits are made by study, and a patient with two studies can
be on both sides. Splits: the table's column ``split``, else by patient. Traps: names of files can
hold names of people: nothing of them is logged, but they stand in ids where the table has no column
``study``; links are not followed; a file without an ending is taken where it is DICOM (by its
content).
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
from place_cxr.data.sources.manifest import ManifestReader, drop_repeated_rows
from place_cxr.data.sources.tables import read_header, read_table_rows

_log = logging.getLogger(__name__)
_IMAGE_SUFFIXES = frozenset(
    (".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
)
_TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")
# Other names of the image column; the first one that the header has is taken.
_IMAGE_NAMES = (
    "file",
    "filename",
    "file_name",
    "path",
    "image_path",
    "image_id",
    "dicom",
    "dicom_id",
)
_MAX_TEXT_BYTES = 1_000_000  # bytes of a text file


def read(
    root: Path,
    *,
    table: str = "",
    columns: Mapping[str, str] = MappingProxyType({}),
    patient_folder: int = 0,
    encoding: str = "utf-8-sig",
) -> list[Study]:
    """A study for each image that has a row or, without a table, for each image; sorted by path.

    Raises PL-D205 for no images or a missing table, PL-D201 to PL-D210 as the manifest does,
    PL-C001 for a ``patient_folder`` that is not there.
    """
    if not root.is_dir():
        raise PlaceError("no such folder", code="PL-D205", file=root, fix="check the path")

    root = Path(os.path.realpath(root))
    images, texts = _list_files(root)
    if not images:
        raise PlaceError(
            "no images below it", code="PL-D205", file=root, fix="name the folder of the images"
        )

    table_path = _find_table(root, table)
    if table_path is None:
        studies = list(_read_with_texts(root, images, texts, encoding))
    else:
        studies = _read_with_table(root, table_path, images, columns, encoding)

    if patient_folder:
        studies = [
            replace(study, patient=_patient(root, study.image, patient_folder)) for study in studies
        ]

    return studies


def _list_files(root: Path) -> tuple[list[str], set[str]]:
    """Images, sorted, and text files, as paths below ``root`` with forward slashes."""
    images, texts = [], set()
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            ending = os.path.splitext(name)[1].lower()
            # Files of a DICOM archive often have no suffix, or a number that looks like one.
            may_be_dicom = ending == "" or ending[1:].isdecimal()
            if ending not in _IMAGE_SUFFIXES and ending != ".txt" and not may_be_dicom:
                continue

            # Links could lead out of the folder, or to one file under two names.
            if os.path.islink(path) or not os.path.isfile(path):
                continue

            relative = os.path.relpath(path, root).replace(os.sep, "/")
            if ending == ".txt":
                texts.add(relative)
            elif ending in _IMAGE_SUFFIXES or _is_dicom(path):
                images.append(relative)

    return sorted(images), texts


def _is_dicom(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"  # DICOM part 10: a preamble of 128 bytes
    except OSError:
        return False


def _find_table(root: Path, name: str) -> Path | None:
    if name:
        if Path(name).name != name:
            raise PlaceError(
                "a table of another folder",
                code="PL-C001",
                file=root,
                fix="put it into the data folder",
            )

        return root / name

    tables = sorted(path for path in root.iterdir() if path.suffix.lower() in _TABLE_SUFFIXES)
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise PlaceError(
            f"{len(tables)} tables ({names})",
            code="PL-D205",
            file=root,
            fix="name one as option table",
        )

    return tables[0] if tables else None


def _read_with_table(
    root: Path, table: Path, images: list[str], columns: Mapping[str, str], encoding: str
) -> list[Study]:
    header = read_header(table, encoding)
    guess = next((name for name in _IMAGE_NAMES if name in header), "")
    if "image" not in header and "image" not in columns and guess:
        columns = {**columns, "image": guess}

    reader = ManifestReader(table, columns)
    paths_by_key = _index_by_key(images)
    studies: list[Study] = []

    lines: list[int] = []
    missing = 0
    for line, cells in read_table_rows(table, encoding, reader.choose):
        paths = _look_up(paths_by_key, cells["image"])
        if not paths:
            missing += 1
            continue

        if len(paths) > 1:
            problem = f"line {line}: {len(paths)} images have this name"
            raise PlaceError(
                problem, code="PL-D204", file=table, fix="write paths below the folder"
            )

        study = reader.study(line, {**cells, "image": paths[0]}, number=len(studies) + 1)
        identified = (
            study
            if "study" in reader.used_columns
            else replace(study, id=str(PurePosixPath(paths[0]).with_suffix("")))
        )
        studies.append(identified)
        lines.append(line)

    reader.check_files()
    if not studies:
        problem = f"none of {missing} rows names one of {len(images)} images"
        raise PlaceError(
            problem,
            code="PL-D205",
            file=table,
            fix="name the image's column: data.columns.image=COLUMN",
        )

    kept = drop_repeated_rows(table, reader.fill_absent_classes(studies), lines, numbered=False)
    if missing or len(kept) < len(images):
        _log.warning(
            "%s: %d rows have no image, %d of %d images no row: left out",
            table, missing, len(images) - len({study.image for study in kept}), len(images),
        )  # fmt: skip

    return sorted(kept, key=lambda study: study.image)


def _index_by_key(images: list[str]) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for path in images:
        pure = PurePosixPath(path)
        # A table may name an image by its path or by its file name, with or without suffix.
        for key in {path, str(pure.with_suffix("")), pure.name, pure.stem}:
            paths.setdefault(key, []).append(path)

    return paths


def _look_up(paths_by_key: Mapping[str, list[str]], text: str) -> list[str]:
    return paths_by_key.get(text.strip().removeprefix("./"), [])


def _read_with_texts(
    root: Path, images: list[str], texts: set[str], encoding: str
) -> Iterator[Study]:
    texts_by_folder: dict[str, list[str]] = {}
    for text in texts:
        texts_by_folder.setdefault(os.path.dirname(text), []).append(text)

    read_texts: dict[str, str] = {}
    for path in images:
        folder = os.path.dirname(path)
        # In this order: the image's own text, the only text of its folder, the text of the folder.
        beside = [f"{os.path.splitext(path)[0]}.txt"]
        folder_texts = texts_by_folder.get(folder, [])
        single = folder_texts if len(folder_texts) == 1 else []
        above = [f"{folder}.txt"] if folder else []
        text = next((name for name in (*beside, *single, *above) if name in texts), "")
        if text and text not in read_texts:
            read_texts[text] = _read_text(root / text, encoding)

        yield Study(
            id=os.path.splitext(text or path)[0],
            image=root / path,
            report=read_texts[text] if text else "",
        )


def _read_text(file: Path, encoding: str) -> str:
    try:
        data = file.read_bytes()[:_MAX_TEXT_BYTES]
        return data.decode(encoding)
    except OSError:
        raise PlaceError(
            "cannot be read", code="PL-D205", file=file, fix="check its permissions"
        ) from None
    except UnicodeDecodeError as error:
        raise PlaceError(
            f"byte {error.start} is not {encoding}",
            code="PL-D209",
            file=file,
            fix="name the encoding, as latin-1",
        ) from None
    except LookupError:
        raise PlaceError(
            f"unknown encoding '{encoding}'", code="PL-C001", file=file, fix="use utf-8-sig"
        ) from None


def _patient(root: Path, image: Path, depth: int) -> str:
    folders = image.relative_to(root).parts[:-1]
    if not 0 < depth <= len(folders):
        problem = f"an image has no folder number {depth} below the data folder"
        raise PlaceError(
            problem,
            code="PL-C001",
            file=root,
            fix="set data.options.patient_folder=1, or leave it out",
        )

    return folders[depth - 1]
