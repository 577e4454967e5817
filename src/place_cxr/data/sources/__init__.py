"""Adapters from files on disk to studies: ``SOURCES[name](folder)``.

A new data set is one file with ``read`` and one entry here, which states the files it reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from place_cxr.core.records import Study
from place_cxr.core.registry import pick
from place_cxr.data.sources import (
    chexpert,
    covid_collection,
    covidx,
    folder,
    iu_xray,
    manifest,
    mimic_cxr,
    ms_cxr,
    nih14,
    object_cxr,
    pack,
    padchest,
    rsna,
    siim,
    vindr,
)
from place_cxr.data.sources.source import PROVIDES, DataSource

SOURCES: dict[str, DataSource] = {
    "manifest": DataSource(
        manifest.read,
        provides=PROVIDES,
        needs=(manifest.MANIFEST_NAMES,),
    ),
    "pack": DataSource(
        pack.read,
        provides=("pairs", "reports", "labels", "boxes"),
        needs=(("data/meta.json",), ("data/studies.jsonl",)),
    ),
    "folder": DataSource(
        folder.read,
        provides=PROVIDES,
        needs=(("**/*.*",),),
        may_use=(("*.csv", "*.jsonl", "*.parquet"),),
    ),
    "mimic_cxr": DataSource(
        mimic_cxr.read,
        provides=("pairs", "reports", "labels"),
        needs=(("mimic-cxr-2.?.?-split.csv*",), ("mimic-cxr-2.?.?-metadata.csv*",)),
        may_use=(
            ("mimic-cxr-2.?.?-chexpert.csv*",),
            ("mimic-cxr-reports.zip", "mimic-cxr-reports/files", "files/p10/p1000*/s*.txt"),
        ),
        splits=("official", "mgca"),
    ),
    "chexpert": DataSource(
        chexpert.read,
        provides=("pairs", "reports", "labels"),
        needs=(("train.csv", "*/train.csv", "df_chexpert_plus_*.csv"),),
        may_use=(
            ("valid.csv", "*/valid.csv"),
            ("test.csv", "*/test.csv"),
            ("df_chexpert_plus_*.csv",),
        ),
        splits=("official", "mgca", "5x200"),
    ),
    "nih14": DataSource(
        nih14.read,
        provides=("labels", "boxes"),
        needs=(("Data_Entry_2017_v2020.csv", "Data_Entry_2017*.csv"),),
        may_use=(("train_val_list.txt",), ("test_list.txt",), ("BBox_List_2017*.csv",)),
        splits=("official", "patient"),
    ),
    "rsna": DataSource(
        rsna.read,
        provides=("labels", "boxes"),
        needs=(("stage_2_train_labels.csv",),),
        may_use=(("stage_2_detailed_class_info.csv",), ("stage_2_train_images",)),
        splits=("patient", "mgca", "mgca_detection", "benchx"),
    ),
    "siim": DataSource(
        siim.read,
        provides=("labels", "masks"),
        needs=(("train-rle.csv", "stage_2_train.csv"),),
        may_use=(("dicom-images-train", "stage_2_images"),),
        splits=("patient", "mgca"),
    ),
    "covidx": DataSource(
        covidx.read,
        provides=("labels",),
        needs=(
            ("train_COVIDx*.txt", "labels/train_COVIDx*.txt", "train.txt"),
            ("test_COVIDx*.txt", "labels/test_COVIDx*.txt", "test.txt"),
        ),
        may_use=(("train",), ("test",)),
        splits=("official", "mgca"),
    ),
    "object_cxr": DataSource(
        object_cxr.read,
        provides=("labels", "boxes"),
        needs=(("train.csv",), ("dev.csv",)),
        may_use=(("train",), ("dev",)),
        splits=("official", "mgca"),
    ),
    "iu_xray": DataSource(
        iu_xray.read,
        provides=("pairs", "reports", "labels"),
        needs=(("annotation.json", "ecgen-radiology/*.xml", "*.xml"),),
        may_use=(("images", "NLMCXR_png", "*.png"),),
        splits=("r2gen", "patient"),
    ),
    "padchest": DataSource(
        padchest.read,
        provides=("pairs", "reports", "labels"),
        needs=(("PADCHEST_chest_x_ray_images_labels*.csv*",),),
        splits=("patient",),
    ),
    "vindr": DataSource(
        vindr.read,
        provides=("labels", "boxes"),
        needs=(
            ("annotations/image_labels_train.csv", "image_labels_train.csv"),
            ("annotations/image_labels_test.csv", "image_labels_test.csv"),
        ),
        may_use=(
            ("annotations/annotations_train.csv", "annotations_train.csv"),
            ("annotations/annotations_test.csv", "annotations_test.csv"),
            ("train",),
            ("test",),
        ),
        splits=("official", "cxr_clip"),
    ),
    "ms_cxr": DataSource(
        ms_cxr.read,
        provides=("pairs", "labels", "boxes"),
        needs=(("MS_CXR_Local_Alignment_v*.csv",),),
        may_use=(("files",),),
        splits=("test", "published"),
    ),
    "covid_collection": DataSource(
        covid_collection.read,
        provides=("pairs", "labels", "masks", "boxes"),
        needs=(("metadata.csv",),),
        may_use=(
            ("images",),
            ("annotations/lungVAE-masks",),
            ("annotations/imageannotation_ai_lung_bounding_boxes.json",),
        ),
        splits=("patient",),
    ),
}


def read_named_source(name: str, root: Path, options: Mapping[str, Any]) -> list[Study]:
    """The studies of a data set at ``root``; PL-C002 for an unknown source, and what ``DataSource``
    raises.
    """
    return pick(SOURCES, name, "source")(root, **options)
