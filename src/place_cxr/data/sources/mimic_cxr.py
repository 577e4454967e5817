"""MIMIC-CXR-JPG 2.0.0 and 2.1.0: radiographs of one Boston hospital with their free-text reports.

Licence: PhysioNet Credentialed Health Data License 1.5.0; no passing on, no third-party services,
no identification. How to get it: physionet.org, training (CITI) and a signed agreement;
MIMIC-CXR-JPG for images and tables, MIMIC-CXR for the reports (``mimic-cxr-reports.zip``).
Layout: ``mimic-cxr-2.0.0-{split,metadata,chexpert}.csv.gz`` (or unpacked; 2.1.0 keeps the names),
images ``files/p10/p10000032/s50414267/<dicom_id>.jpg``, reports
``files/p10/p10000032/s50414267.txt`` in the same tree, in a folder ``mimic-cxr-reports``, or still
in the zip file. Elsewhere: option ``reports``. Counts: 377,110 images of 227,835 studies and 65,379
patients; official split 368,960 / 2,991 / 5,159 images. Labels: CheXpert's labeller on the reports,
so ``labels`` and ``said`` are the same: not a reading of the image. Blank is not mentioned.
Studies without a row in that table have no labels. ``negbio`` is an option. The manual labels of
2.1.0's test set are not read. Text (option ``text``): ``sections`` gives findings and impression,
or the last paragraph where neither is, for our own sentence splitter. ``mgca`` is MGCA's rule:
impression, then findings, lower-case ASCII words, sentences of one word and reports of fewer than
three words dropped; compare with papers under this one. ``full`` is the report as it is. Splits:
``official``; ``mgca`` (its "valid" is validate and test together, and there is no test set). Traps:
one report belongs to several images of a study; a report may describe an image that the PA/AP
filter (option ``views``) leaves out; about 54 studies have their sections where no rule finds them,
and papers treat those by id: here they go by the rule. Reading 227,835 report files takes minutes
from a cold disk; ``text=none`` reads tables alone.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.core.registry import pick
from place_cxr.data.sources.files import (
    LabelParser,
    check_relative_path,
    find_file,
    find_optional_file,
    join_sections,
    read_columns,
)
from place_cxr.text.mimic_sections import mgca_sentences, read_kept_sections

MIMIC_LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum",
    "Fracture", "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other",
    "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
# Name of the split -> their name of a part -> ours. MGCA validates on validate and test together.
_SPLIT_NAMES = {
    "official": {"train": "train", "validate": "val", "test": "test"},
    "mgca": {"train": "train", "validate": "val", "test": "val"},
}
_LABEL_TABLES = {
    "chexpert": "mimic-cxr-2.?.?-chexpert.csv*",
    "negbio": "mimic-cxr-2.?.?-negbio.csv*",
}
_MAX_REPORT_BYTES = 1_000_000  # bytes of a report


def read(
    root: Path,
    split: str = "official",
    *,
    text: str = "sections",
    views: Sequence[str] = (),
    labeller: str = "chexpert",
    reports: str = "",
) -> list[Study]:
    """A study for each image, in the order of the metadata table; images of one study share id,
    report and labels.

    ``views`` keeps images of these view positions only; empty keeps all. ``reports`` is the folder
    or zip file that the reports lie in, if not below ``root``. A study without a text has an empty
    report.
    """
    names = pick(_SPLIT_NAMES, split, "split of this source")
    text_rule = pick(_TEXT_RULES, text, "text rule")
    table = find_file(root, "mimic-cxr-2.?.?-split.csv*")
    split_of = {}
    for _, row in read_columns(table, "dicom_id", "split"):
        split_of[row["dicom_id"]] = row["split"]

    if not set(split_of.values()) <= set(names):
        raise PlaceError(
            "a split is not train, validate or test",
            code="PL-D210",
            file=table,
            fix="copy it again",
        )

    labels = _labels(root, pick(_LABEL_TABLES, labeller, "labeller"))
    report_of_study = _ReportReader(root, reports) if text != "none" else None
    studies: list[Study] = []

    texts: dict[str, str] = {}
    table = find_file(root, "mimic-cxr-2.?.?-metadata.csv*")
    for line, row in read_columns(table, "dicom_id", "subject_id", "study_id", "ViewPosition"):
        if views and row["ViewPosition"] not in views:
            continue

        patient, study = row["subject_id"], row["study_id"]
        study_path = check_relative_path(table, line, f"files/p{patient[:2]}/p{patient}/s{study}")
        # Images of one study share its report: it is read once.
        if report_of_study and study not in texts:
            texts[study] = text_rule(report_of_study(study_path))

        # These labels come from the reports, so they are also what the reports state.
        study_labels = labels.get(study, {})
        studies.append(
            Study(
                id=study,
                image=Path(
                    f"{root}/{study_path}/{check_relative_path(table, line, row['dicom_id'])}.jpg"
                ),
                report=texts.get(study, ""),
                patient=patient,
                split=names.get(split_of.get(row["dicom_id"], ""), ""),
                view=row["ViewPosition"],
                labels=study_labels,
                said=study_labels,
            )
        )

    return studies


def _labels(root: Path, name: str) -> dict[str, dict[str, float]]:
    """Study id -> labels; empty without the table."""
    file = find_optional_file(root, name)
    if file is None:
        return {}

    parser = LabelParser(MIMIC_LABELS, file)

    return {
        row["study_id"]: parser.read(line, row)
        for line, row in read_columns(file, "study_id", *MIMIC_LABELS)
    }


def _sections_text(report: str) -> str:
    sections = read_kept_sections(report)
    # The last paragraph is where reports without headers have their findings.
    if "findings" in sections or "impression" in sections:
        return join_sections(sections.get("findings", ""), sections.get("impression", ""))
    return sections.get("last_paragraph", "")


def _mgca_text(report: str) -> str:
    """The sentences of MGCA, apart by empty lines: our splitter cuts there and only there."""
    sections = read_kept_sections(report)
    sentences = mgca_sentences(sections.get("impression", ""), sections.get("findings", ""))
    return "FINDINGS: " + "\n\n".join(sentences) if sentences else ""


_TEXT_RULES: Mapping[str, Callable[[str], str]] = {
    "sections": _sections_text,
    "mgca": _mgca_text,
    "full": str,
    "none": str,
}


class _ReportReader:
    """The text of a study's report, empty where there is none."""

    def __init__(self, root: Path, location: str) -> None:
        path = (
            root / location
            if location
            else find_optional_file(root, "mimic-cxr-reports.zip", "mimic-cxr-reports") or root
        )
        if not path.exists():
            raise PlaceError(
                "no such folder or file",
                code="PL-D205",
                file=path,
                fix="check data.options.reports",
            )

        self._file = path
        self._zip = None
        self._names: set[str] = set()
        if path.is_file():
            try:
                self._zip = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile):
                raise PlaceError(
                    "not a whole zip file", code="PL-D202", file=path, fix="copy it again"
                ) from None

            self._names = set(self._zip.namelist())

    def __call__(self, study_path: str) -> str:
        """``study_path``: path of the study below the data set, without ending."""
        name = f"{study_path}.txt"
        try:
            if self._zip is None:
                data = (self._file / name).read_bytes()
            elif name in self._names and self._zip.getinfo(name).file_size <= _MAX_REPORT_BYTES:
                data = self._zip.read(name)
            else:
                return ""
        except FileNotFoundError:
            return ""
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError):
            raise PlaceError(
                "a report that cannot be read",
                code="PL-D202",
                file=self._file,
                fix="copy the reports again",
            ) from None

        return data[:_MAX_REPORT_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")
