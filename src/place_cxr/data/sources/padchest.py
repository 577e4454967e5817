"""PadChest (San Juan Hospital, Alicante): radiographs in six projections with Spanish reports and 174 findings.

Licence: own agreement (BIMCV): research, no passing on, no identification.
How to get it: bimcv.cipf.es/bimcv-projects/padchest (registration).
Layout: ``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`` (or .csv.gz), one row an image; pictures are 16-bit
PNG in ``<ImageDir>/<ImageID>`` (ImageDir 0 to 54, a zip file each) or all in one folder ``images``. Columns as in the
authors' README; the table's first column has no name. Pictures' folders other than these are not verified.
Counts: 160,868 images, 109,931 studies, 67,625 patients.
Text: stemmed Spanish tokens with " . " between sentences, lower case, no accents: not for an English encoder.
Labels: from the reports, by physicians (27 %) or a network (the rest, about 0.93 micro-F1): a list of names as Python
writes it. Listed is PRESENT; nothing else is stated. "normal" alone is "No Finding"; "exclude", "unchanged" and
"suboptimal study" are no findings and are left out, so such an image can be without labels.
Splits: none of its own (``patient``).
Traps: names with blanks around them; ages from the year of birth; rows without report or label; some pictures are
damaged; 16 bits, and MONOCHROME1 in column PhotometricInterpretation_DICOM is said to be inverted already [not
verified].
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from place_cxr.core.records import PRESENT, Study
from place_cxr.data.sources.files import below, cells, find, sex

NEEDS = (("PADCHEST_chest_x_ray_images_labels*.csv*",),)
SPLITS = ("patient",)
_NAME = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_NO_FINDINGS = frozenset(("exclude", "unchanged", "suboptimal study", "normal", ""))
_OPTIONAL = ("PatientSex_DICOM", "PatientBirth", "StudyDate_DICOM", "Projection")


def read(root: Path, split: str = "patient", *, views: Sequence[str] = ()) -> list[Study]:
    """A study for each image; ``views`` (PA, L, AP, AP_horizontal, COSTAL) keeps these projections only."""
    table = find(root, *NEEDS[0])
    folders: dict[str, Path] = {}
    labels: dict[str, dict[str, float]] = {}
    studies = []
    needed = ("ImageID", "ImageDir", "StudyID", "PatientID", "Report", "Labels")
    for line, row in cells(table, *needed, optional=_OPTIONAL):
        view = row.get("Projection", "")
        if views and view not in views:
            continue
        where = row["ImageDir"].removesuffix(".0")
        if where not in folders:
            own = root / below(table, line, where) if where else root
            folders[where] = own if where and own.is_dir() else root / "images"
        if row["Labels"] not in labels:
            labels[row["Labels"]] = _labels(row["Labels"])
        studies.append(
            Study(
                id=row["StudyID"],
                image=Path(f"{folders[where]}/{below(table, line, row['ImageID'])}"),
                report=row["Report"],
                patient=row["PatientID"],
                view=view,
                sex=sex(row.get("PatientSex_DICOM", "")),
                age=_age(row.get("PatientBirth", ""), row.get("StudyDate_DICOM", "")),
                labels=labels[row["Labels"]],
            )
        )
    return studies


def _labels(text: str) -> dict[str, float]:
    names = [(one or other).strip() for one, other in _NAME.findall(text)]
    found = {name: PRESENT for name in names if name not in _NO_FINDINGS}
    return {"No Finding": PRESENT} if names == ["normal"] else found


def _age(born: str, studied: str) -> float | None:
    """Difference of the two years; PatientBirth may be "1950.0", the date is YYYYMMDD."""
    try:
        age = int(studied[:4]) - int(float(born))
    except ValueError:
        return None
    return float(age) if 0 <= age <= 120 else None
