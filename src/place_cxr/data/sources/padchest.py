"""PadChest (San Juan Hospital, Alicante): radiographs in six projections with Spanish reports and
174 findings.

Licence: own agreement (BIMCV): research, no passing on, no identification. How to get it:
bimcv.cipf.es/bimcv-projects/padchest (registration). Layout:
``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`` (or .csv.gz), one row an image; images
are 16-bit PNG in ``<ImageDir>/<ImageID>`` (ImageDir 0 to 54, a zip file each) or all in one folder
``images``. Columns as in the authors' README; the table's first column has no name. Images'
folders other than these are not verified. Counts: 160,868 images, 109,931 studies, 67,625 patients.
Text: stemmed Spanish tokens with " . " between sentences, lower case, no accents: not for an
English encoder. Labels: from the reports, by physicians (27 %) or a network (the rest, about 0.93
micro-F1): a list of names as Python writes it. Listed is PRESENT; nothing else is stated. "normal"
alone is "No Finding"; "exclude", "unchanged" and "suboptimal study" are no findings and are left
out, so such an image can be without labels. Splits: none of its own (``patient``). Traps: names
with blanks around them; ages from the year of birth; rows without report or label; some images
are damaged; 16 bits, and MONOCHROME1 in column PhotometricInterpretation_DICOM is said to be
inverted already [not verified].
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from place_cxr.core.records import PRESENT, Study
from place_cxr.data.sources.files import check_relative_path, find_file, parse_sex, read_columns

_QUOTED_NAME = re.compile(r"'([^']*)'|\"([^\"]*)\"")
# Words among the labels that say nothing of a finding.
_NOT_A_FINDING = frozenset(("exclude", "unchanged", "suboptimal study", "normal", ""))
_OPTIONAL_COLUMNS = ("PatientSex_DICOM", "PatientBirth", "StudyDate_DICOM", "Projection")


def read(root: Path, split: str = "patient", *, views: Sequence[str] = ()) -> list[Study]:
    """A study for each image; ``views`` (PA, L, AP, AP_horizontal, COSTAL) keeps these projections
    only.
    """
    table = find_file(root, "PADCHEST_chest_x_ray_images_labels*.csv*")
    folders: dict[str, Path] = {}
    labels: dict[str, dict[str, float]] = {}

    studies = []
    needed = ("ImageID", "ImageDir", "StudyID", "PatientID", "Report", "Labels")
    for line, row in read_columns(table, *needed, optional=_OPTIONAL_COLUMNS):
        view = row.get("Projection", "")
        if views and view not in views:
            continue

        image_dir = row["ImageDir"].removesuffix(".0")
        # Images lie in a folder of this name or, in some copies, all in one folder.
        if image_dir not in folders:
            candidate = root / check_relative_path(table, line, image_dir) if image_dir else root
            folders[image_dir] = candidate if image_dir and candidate.is_dir() else root / "images"

        if row["Labels"] not in labels:
            labels[row["Labels"]] = _labels(row["Labels"])

        studies.append(
            Study(
                id=row["StudyID"],
                image=Path(
                    f"{folders[image_dir]}/{check_relative_path(table, line, row['ImageID'])}"
                ),
                report=row["Report"],
                patient=row["PatientID"],
                view=view,
                sex=parse_sex(row.get("PatientSex_DICOM", "")),
                age=_age(row.get("PatientBirth", ""), row.get("StudyDate_DICOM", "")),
                labels=labels[row["Labels"]],
            )
        )

    return studies


def _labels(text: str) -> dict[str, float]:
    names = [(single or double).strip() for single, double in _QUOTED_NAME.findall(text)]
    labels = {name: PRESENT for name in names if name not in _NOT_A_FINDING}
    return {"No Finding": PRESENT} if names == ["normal"] else labels


def _age(birth: str, study_date: str) -> float | None:
    """Difference of the two years; PatientBirth may be "1950.0", the date is YYYYMMDD."""
    try:
        age = int(study_date[:4]) - int(float(birth))
    except ValueError:
        return None

    return float(age) if 0 <= age <= 120 else None
