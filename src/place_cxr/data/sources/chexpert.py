"""CheXpert v1.0 (small and full size) and CheXpert Plus, which adds the reports: radiographs of
Stanford Hospital.

Licence: Stanford University Dataset Research Use Agreement; non-commercial, no passing on, no
identification. How to get it: stanfordaimi.azurewebsites.net (registration); the small version has
shrunk images. Layout: ``train.csv``, ``valid.csv`` and, for those who have the later released
test set, ``test.csv``, in the folder that holds ``train/`` and ``valid/``; the column Path starts
with the name of that folder (``CheXpert-v1.0-small/...``), which may have been renamed. ``root`` is
that folder or the one above. CheXpert Plus: ``df_chexpert_plus_240401.csv`` beside, with columns
path_to_image, deid_patient_id, section_findings, section_impression, report, split; images as PNG
below ``PNG/`` [not verified]; without ``train.csv`` it is read alone, without labels (its own label
files are not read). Counts: 223,414 rows of 64,540 patients in train (191,027 frontal), 234 in
valid (202 frontal); Plus has 223,228 pairs. Labels: 14 in 1, 0, -1 (uncertain), blank (not
mentioned): train from a rule-based labeller on the reports, valid and test by radiologists. What -1
and blank become is the task's decision. Splits: ``official`` (train, valid as val, test.csv if
there). ``mgca``: GLoRIA's and MGCA's linear probe, frontal views; its val of 5,000 rows is drawn by
position but taken out of train by label, so most of val STAYS IN TRAIN and other rows are lost:
studies occur twice, and checks of splits refuse it. Only for numbers to compare with MGCA's.
``5x200``: 200 frontal images of each of 5 findings that are alone (MGCA's draw, seed 0), all as
test; GLoRIA's and PRIOR's own draws are lists. MRM's split is a list. Traps: the full version is
also distributed in batches whose folders are to be merged first [not verified]; patients of
``5x200`` have other images in train: leave the patients out, not the images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from place_cxr.core.records import PRESENT, UNCERTAIN, Study
from place_cxr.data.sources.conventions import RowPositions, assign_splits, sample_positions
from place_cxr.data.sources.files import (
    LabelParser,
    check_relative_path,
    find_file,
    find_optional_file,
    join_sections,
    parse_age,
    parse_sex,
    read_columns,
)

CHEXPERT_LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion",
    "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
COMPETITION_FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
_LATERAL = "LATERAL"
_MGCA_VAL = 5_000  # rows [MGCA]
_PER_CLASS = 200  # images of each finding in 5x200
_OPTIONAL_COLUMNS = ("Sex", "Age", "Frontal/Lateral", "AP/PA")


def read(root: Path, split: str = "official", *, views: Sequence[str] = ()) -> list[Study]:
    """A study for each image; ``views`` (AP, PA, LATERAL, ...) keeps images of these views only,
    after the split.
    """
    table = find_optional_file(root, "train.csv", "*/train.csv")
    # CheXpert Plus alone has no labels.
    if table is None:
        studies = _read_plus(
            root, find_file(root, "train.csv", "*/train.csv", "df_chexpert_plus_*.csv")
        )
    else:
        studies = list(_read_table(table, "train"))
        if split == "official":
            studies += [
                *_read_sibling_table(table, "valid.csv", "val"),
                *_read_sibling_table(table, "test.csv", "test"),
            ]

        reports = _read_plus_reports(root, table.parent)
        if reports:
            keys = [_image_key(study.image) for study in studies]
            studies = [
                replace(study, report=reports.get(key, ""))
                for study, key in zip(studies, keys, strict=True)
            ]

    if split == "mgca":
        train, val = mgca_positions(studies)
        studies = assign_splits(studies, {"train": train, "val": val})
        studies += _read_sibling_table(table, "valid.csv", "test") if table else []
        studies = [study for study in studies if study.view != _LATERAL]

    if split == "5x200":
        studies = assign_splits(studies, {"test": select_five_by_200(studies)})

    return [study for study in studies if not views or study.view in views]


def select_five_by_200(studies: Sequence[Study], per_class: int = _PER_CLASS) -> RowPositions:
    """Positions of the 5x200 set: frontal images with one competition finding and no other finding,
    drawn by class.

    Order and draw are those of MGCA: pandas' ``sample`` with random_state 0 for each class. PL-D231
    where a class has too few images.
    """
    positions_by_finding: dict[str, list[int]] = {name: [] for name in COMPETITION_FINDINGS}
    # Keyed by the object: rows with equal labels share one mapping.
    finding_of: dict[int, str] = {}
    for position, study in enumerate(studies):
        if study.view != _LATERAL:
            key = id(study.labels)
            if key not in finding_of:
                finding_of[key] = _only_finding(study.labels)
            if finding_of[key]:
                positions_by_finding[finding_of[key]].append(position)

    drawn = []
    for positions in positions_by_finding.values():
        sample = sample_positions(len(positions), per_class, np.random.RandomState(0))
        drawn.append(np.array(positions)[sample])

    return np.concatenate(drawn)


def _only_finding(labels: Mapping[str, float]) -> str:
    """The only finding, where it is one of the competition; else empty.

    Blank counts as absent here, uncertain does not.
    """
    stated = [
        name
        for name, value in labels.items()
        if name != "No Finding" and value in (PRESENT, UNCERTAIN)
    ]
    is_single = (
        len(stated) == 1 and stated[0] in COMPETITION_FINDINGS and labels[stated[0]] == PRESENT
    )

    return stated[0] if is_single else ""


def mgca_positions(studies: Sequence[Study]) -> tuple[RowPositions, RowPositions]:
    """(train, val) of the training table, all views, with MGCA's overlap: see the card."""
    # MGCA first takes the 5x200 set out of train.
    remaining = np.setdiff1d(np.arange(len(studies)), select_five_by_200(studies))
    positions = sample_positions(len(remaining), _MGCA_VAL, np.random.RandomState(0))
    # A fault of MGCA, kept: positions among the remaining rows are taken for rows of the whole
    # table, so the rows that are removed from train are not those of val.
    return np.setdiff1d(remaining, positions), remaining[positions]


def _read_table(table: Path, split: str) -> Iterator[Study]:
    parser = LabelParser(CHEXPERT_LABELS, table)
    folder = table.parent
    for line, row in read_columns(table, "Path", *CHEXPERT_LABELS, optional=_OPTIONAL_COLUMNS):
        path = check_relative_path(table, line, row["Path"])
        # The first folder of a path is the name of the data set, which the user may have renamed.
        first_folder, _, relative = path.partition("/")
        if first_folder in ("train", "valid", "test"):
            relative = path

        parts = relative.split("/")  # train, patient, study, image
        view = row.get("AP/PA", "").strip() or "FRONTAL"
        lateral = row.get("Frontal/Lateral", parts[-1]).lower().find("lateral") >= 0
        yield Study(
            id="/".join(parts[-3:-1]),
            image=Path(f"{folder}/{relative}"),
            report="",
            patient=parts[-3] if len(parts) > 2 else "",
            split=split,
            view=_LATERAL if lateral else view,
            sex=parse_sex(row.get("Sex", "")),
            age=parse_age(row.get("Age", "")),
            labels=parser.read(line, row),
        )


def _read_sibling_table(table: Path, name: str, split: str) -> list[Study]:
    sibling = table.with_name(name)
    return list(_read_table(sibling, split)) if sibling.exists() else []


def _image_key(image: Path) -> str:
    """What an image is called in CheXpert and in CheXpert Plus: patient, study and view, without
    the kind of file.
    """
    return "/".join((*image.parts[-3:-1], image.stem))


def _read_plus_reports(*folders: Path) -> dict[str, str]:
    table = next(
        (
            path
            for folder in folders
            if (path := find_optional_file(folder, "df_chexpert_plus_*.csv"))
        ),
        None,
    )
    if table is None:
        return {}

    return {
        _image_key(Path(row["path_to_image"])): _plus_report(row) for _, row in _plus_rows(table)
    }


def _plus_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    sections = ("section_findings", "section_impression")
    optional_columns = (
        "report",
        "frontal_lateral",
        "ap_pa",
        "deid_patient_id",
        "age",
        "sex",
        "split",
    )

    return read_columns(table, "path_to_image", *sections, optional=optional_columns)


def _plus_report(row: dict[str, str]) -> str:
    return join_sections(row["section_findings"], row["section_impression"]) or row.get(
        "report", ""
    )


def _read_plus(root: Path, table: Path) -> list[Study]:
    png = (table.parent / "PNG").is_dir()
    studies = []
    for line, row in _plus_rows(table):
        path = Path(check_relative_path(table, line, row["path_to_image"]))
        lateral = row.get("frontal_lateral", path.stem).lower().find("lateral") >= 0
        studies.append(
            Study(
                id="/".join(path.parts[-3:-1]),
                image=table.parent / "PNG" / path.with_suffix(".png")
                if png
                else table.parent / path,
                report=_plus_report(row),
                patient=path.parts[-3] if len(path.parts) > 2 else row.get("deid_patient_id", ""),
                split={"train": "train", "valid": "val"}.get(row.get("split", path.parts[0]), ""),
                view=_LATERAL if lateral else row.get("ap_pa", "").strip() or "FRONTAL",
                sex=parse_sex(row.get("sex", "")),
                age=parse_age(row.get("age", "")),
            )
        )

    return studies
