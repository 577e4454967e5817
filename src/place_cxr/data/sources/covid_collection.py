"""COVID-19 Image Data Collection: radiographs of published cases with their clinical notes; small,
free, and mixed.

Licence: for each image its own, in the table (CC BY, CC BY-SA, CC BY-NC-SA and others; some
unknown): look before use. How to get it: github.com/ieee8023/covid-chestxray-dataset. Cohen et al.,
arXiv:2003.11597 and 2006.11988. Layout: ``metadata.csv``, images in ``images/``, lung masks
``annotations/lungVAE-masks/<stem>_mask.png``, lung boxes
``annotations/imageannotation_ai_lung_bounding_boxes.json`` (COCO form, General Blockchain). Counts:
grew over 2020 to about 950 rows, CT slices among them; 224 images have lung boxes. Text:
``clinical_notes``: can tell history, laboratory values or CT, and one note can belong to several
images; no radiologist's report of this image. CT (``modality``, in early versions ``view``) is
left out. Labels: parts of ``finding`` ("Pneumonia/Viral/COVID-19", early "COVID-19, ARDS") are
PRESENT; nothing else is stated; "todo" and "Unknown" state nothing. Splits: none of its own
(``patient``). Traps: images from figures of papers, with arrows and letters; names of columns
changed over time (``Patientid``, `` url``, ``notes``); one case can have several patient ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import PRESENT, Study
from place_cxr.data.sources.coco import read_coco_boxes
from place_cxr.data.sources.files import (
    check_relative_path,
    find_file,
    find_optional_file,
    index_files,
    parse_age,
    parse_sex,
    read_columns,
)
from place_cxr.data.sources.tables import read_header

_PART = re.compile(r"[/,]")
_NO_FINDING_WORDS = frozenset(("todo", "unknown", ""))
# Views of the CT slices that the table also holds.
_CT = ("ct", "axial", "coronal")


def read(root: Path, split: str = "patient") -> list[Study]:
    """A study for each radiograph, in the order of the table."""
    table = find_file(root, "metadata.csv")
    # Versions of the table differ in case, blanks and underscores.
    column_names = {}
    for theirs in map(str.strip, read_header(table)):
        column_names[theirs.lower().replace(" ", "_")] = theirs

    for needed in ("patientid", "filename", "finding"):
        if needed not in column_names:
            raise PlaceError(
                f"no column '{needed}'", code="PL-D201", file=table, fix="take the published table"
            )

    notes = column_names.get("clinical_notes", column_names.get("notes", ""))
    masks = index_files(root / "annotations" / "lungVAE-masks")
    boxes_file = find_optional_file(root, "annotations/imageannotation_ai_lung_bounding_boxes.json")

    boxes = read_coco_boxes(boxes_file) if boxes_file else {}
    studies = []
    for line, row in read_columns(table, *(name for name in column_names.values() if name)):
        record = {name: row[theirs] for name, theirs in column_names.items() if theirs}
        if _is_ct(record):
            continue

        name = check_relative_path(table, line, record["filename"].strip())
        mask = masks.get(f"{Path(name).stem}_mask.png")
        studies.append(
            Study(
                id=name,
                image=root
                / (check_relative_path(table, line, record.get("folder", "").strip() or "images"))
                / name,
                report=row.get(notes, ""),
                patient=record["patientid"].strip(),
                view=record.get("view", "").strip(),
                sex=parse_sex(record.get("sex", "")),
                age=parse_age(record.get("age", "")),
                labels=_labels(record["finding"]),
                masks={"Lungs": Path(mask)} if mask else {},
                boxes=boxes.get(name, ()),
            )
        )

    return studies


def _is_ct(row: Mapping[str, str]) -> bool:
    modality = row.get("modality", "").strip().lower()
    view = row.get("view", "").strip().lower()
    return modality == "ct" or view.startswith(_CT)


def _labels(text: str) -> dict[str, float]:
    names = [part.strip() for part in _PART.split(text)]
    return {name: PRESENT for name in names if name.lower() not in _NO_FINDING_WORDS}
