"""What ``place data check`` finds: a code, a row, and a sentence without data of patients.

Codes of errors are those of the reader that would refuse the row (D1 images, D2 tables and
splits, D3 reports), and:

======  ======================================================================
code    meaning
======  ======================================================================
D155    the file is not the one that the manifest's SHA-256 names
D251    the same file twice: in two splits, or for two patients
D257    a box that lies outside its image
D258    a mask that cannot be read, or of another size than its image
======  ======================================================================
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from place_cxr.core.files import create_private_text_file

# Worth a look, but no reason to refuse: they do not change the exit code.
WARNING_CODES = {
    "PL-D150": "images with few grey levels",
    "PL-D151": "images that do not look like a frontal chest radiograph",
    "PL-D152": "images that lie on their side or upside down",
    "PL-D153": "images with black and white exchanged",
    "PL-D154": "images with text burnt in",
    "PL-D250": "rows that repeat an earlier one",
    "PL-D252": "rows whose file is that of an earlier row",
    "PL-D253": "near-copies in two splits or of two patients",
    "PL-D254": "near-copies of one patient",
    "PL-D255": "data without patients: splits keep only studies together",
    "PL-D259": "sets that are not as large as published, as a subset is",
    "PL-D301": "rows without a report, which pre-training leaves out",
    "PL-D351": "reports without findings and impression",
    "PL-D352": "reports with lost or control characters",
    "PL-D353": "very long reports, of which training reads the start",
    "PL-D354": "long reports that another patient has word for word",
}
ERROR_CODES = {
    "PL-D100": "images that cannot be opened",
    "PL-D101": "files that are no images",
    "PL-D102": "images that are cut off",
    "PL-D103": "damaged images",
    "PL-D104": "images over the limits of size",
    "PL-D105": "images that show nothing",
    "PL-D106": "images with values that are not finite",
    "PL-D107": "images of an unknown colour model",
    "PL-D109": "files with several frames",
    "PL-D110": "DICOM files without an image",
    "PL-D111": "DICOM files of another modality",
    "PL-D112": "DICOM files in a transfer syntax that is not read",
    "PL-D155": "files that are not those of the manifest's SHA-256",
    "PL-D201": "a header that cannot be used",
    "PL-D202": "lines that cannot be read",
    "PL-D203": "rows without a proper id",
    "PL-D204": "rows that contradict an earlier one",
    "PL-D205": "paths without a file to read",
    "PL-D206": "paths that leave the data's folder",
    "PL-D207": "rows whose split cannot be trusted",
    "PL-D209": "text in another encoding",
    "PL-D210": "values that cannot be understood",
    "PL-D251": "files that are in two splits or belong to two patients",
    "PL-D257": "boxes outside their image",
    "PL-D258": "masks that do not fit their image",
}
_SHOWN = 20
_COLUMNS = ("code", "level", "row", "other_row", "sha256", "problem")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a row.

    ``row`` is a line of the table or, without a table, the number of a study, from 1; 0 means the
    whole data set.
    ``other``: the earlier row that this one conflicts with. ``sha256``: the first 12 hex digits of
    the image file. ``file``: its path, for those who ask for names; it may name a patient.
    """

    code: str
    row: int
    problem: str
    other: int = 0
    sha256: str = ""
    file: str = ""

    @property
    def level(self) -> str:
        """``error`` or ``warning``."""
        return "warning" if self.code in WARNING_CODES else "error"


def count_by_code(faults: Iterable[Fault]) -> dict[str, int]:
    """How many of each code, errors first."""
    ordered = sorted(faults, key=lambda fault: (fault.level, fault.code))
    return dict(Counter(fault.code for fault in ordered))


def describe_code(code: str) -> str:
    """What a code means, in the plural."""
    return WARNING_CODES.get(code) or ERROR_CODES.get(code) or "data that the source refuses"


def fault_summary(faults: Sequence[Fault], rows: int, *, names: bool) -> str:
    """Counts by code, then the first 20 faults, errors first."""
    errors = sum(fault.level == "error" for fault in faults)
    lines = [f"{rows} rows: {errors} errors, {len(faults) - errors} warnings"]
    for code, count in count_by_code(faults).items():
        lines.append(f"{count:7d}  {code}  {describe_code(code)}")

    ordered = sorted(faults, key=lambda fault: (fault.level, fault.row, fault.code))
    for fault in ordered[:_SHOWN]:
        where = f"row {fault.row}" if fault.row else "all rows"
        name = f" ({fault.sha256})" if fault.sha256 else ""
        if names and fault.file:
            name = f" {fault.file}"

        lines.append(f"{fault.level}[{fault.code}] {where}{name}: {fault.problem}")

    if len(ordered) > _SHOWN:
        lines.append(f"and {len(ordered) - _SHOWN} more")

    return "\n".join(lines)


def write_faults(faults: Sequence[Fault], path: Path, *, names: bool) -> None:
    """Write all faults as CSV, one a line, in order of rows; private to the user. Paths of files
    are written only with ``names``.
    """
    with create_private_text_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*_COLUMNS, "file") if names else _COLUMNS)
        for fault in sorted(faults, key=lambda fault: (fault.row, fault.code)):
            cells = [
                fault.code,
                fault.level,
                fault.row,
                fault.other or "",
                fault.sha256,
                fault.problem,
            ]
            writer.writerow([*cells, fault.file] if names else cells)
