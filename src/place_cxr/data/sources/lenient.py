"""Read a manifest to its end and list what is wrong, for ``place data check``."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import create_private_text_file
from place_cxr.core.records import Study
from place_cxr.data.sources.manifest import ManifestReader, find_manifest
from place_cxr.data.sources.tables import LineFaults, read_table_rows


@dataclass(frozen=True, slots=True)
class TableWithFaults:
    """The studies of a manifest with their lines and the columns ``sha256`` and ``license``, and
    the faults of other lines.
    """

    file: Path
    studies: list[Study]
    lines: list[int]
    sha256: list[str]
    licenses: list[str]
    faults: LineFaults


def read_with_faults(
    root_or_file: Path,
    *,
    columns: Mapping[str, str] = MappingProxyType({}),
    folder: str = "",
    encoding: str = "utf-8-sig",
) -> TableWithFaults:
    """As ``manifest.read``, but a faulty line is listed and skipped, and repeated rows stay.

    Raises as ``manifest.read`` where nothing can be read: header, encoding, a quote that is not
    closed.
    """
    file = find_manifest(Path(root_or_file))

    reader = ManifestReader(file, columns, folder)
    table = TableWithFaults(file, [], [], [], [], [])
    table_rows = read_table_rows(file, encoding, reader.choose, table.faults)
    for number, (line, cells) in enumerate(table_rows, start=1):
        try:
            study = reader.study(line, cells, number)
        except PlaceError as error:
            table.faults.append((line, error))
            continue

        # The reader collects missing files instead of raising, so that it can list many at once.
        if reader.missing_files and reader.missing_files[-1][0] == line:
            problem = f"a path without a file to read ({reader.missing_files[-1][1]})"
            table.faults.append((line, PlaceError(problem, code="PL-D205", file=file)))
            continue

        table.studies.append(study)
        table.lines.append(line)
        table.sha256.append(cells.get("sha256", "").strip())
        table.licenses.append(cells.get("license", "").strip())

    if not table.studies and not table.faults:
        raise PlaceError(
            "a header and no rows", code="PL-D201", file=file, fix="write a row for each image"
        )

    return replace(table, studies=reader.fill_absent_classes(table.studies))


def write_clean_manifest(file: Path, out: Path, leave_out: Collection[int]) -> int:
    """Write the manifest as CSV with all its columns, without the lines ``leave_out`` and those
    with a wrong number of fields.

    Returns the number of rows. Raises PL-C004 where ``out`` lies in another folder, where its
    relative paths would be wrong, and PL-D201 where no row is left.
    """
    if out.resolve().parent != file.resolve().parent:
        fix = f"write it into {file.parent}"
        raise PlaceError(
            "a cleaned manifest belongs beside the first one", code="PL-C004", file=out, fix=fix
        )

    kept = [
        cells
        for line, cells in read_table_rows(file, "utf-8-sig", _every_column, [])
        if line not in leave_out
    ]
    if not kept:
        raise PlaceError(
            "no row is without an error", code="PL-D201", file=file, fix="correct the rows by hand"
        )

    with create_private_text_file(out) as target:
        writer = csv.DictWriter(target, list(kept[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)

    return len(kept)


def _every_column(header: Sequence[str]) -> dict[str, str]:
    return {name: name for name in header}
