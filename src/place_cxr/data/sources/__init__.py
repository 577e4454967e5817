"""Adapters from files on disk to studies: ``SOURCES[name](folder)``."""

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
    "manifest": DataSource(manifest.read, PROVIDES, (manifest.MANIFEST_NAMES,)),
    "pack": DataSource(pack.read, ("pairs", "reports", "labels", "boxes"), pack.NEEDS),
    "folder": DataSource(folder.read, PROVIDES, folder.NEEDS, folder.MAY_USE),
    "mimic_cxr": DataSource(
        mimic_cxr.read,
        ("pairs", "reports", "labels"),
        mimic_cxr.NEEDS,
        mimic_cxr.MAY_USE,
        mimic_cxr.SPLITS,
    ),
    "chexpert": DataSource(
        chexpert.read,
        ("pairs", "reports", "labels"),
        chexpert.NEEDS,
        chexpert.MAY_USE,
        chexpert.SPLITS,
    ),
    "nih14": DataSource(nih14.read, ("labels", "boxes"), nih14.NEEDS, nih14.MAY_USE, nih14.SPLITS),
    "rsna": DataSource(rsna.read, ("labels", "boxes"), rsna.NEEDS, rsna.MAY_USE, rsna.SPLITS),
    "siim": DataSource(siim.read, ("labels", "masks"), siim.NEEDS, siim.MAY_USE, siim.SPLITS),
    "covidx": DataSource(covidx.read, ("labels",), covidx.NEEDS, covidx.MAY_USE, covidx.SPLITS),
    "object_cxr": DataSource(
        object_cxr.read,
        ("labels", "boxes"),
        object_cxr.NEEDS,
        object_cxr.MAY_USE,
        object_cxr.SPLITS,
    ),
    "iu_xray": DataSource(
        iu_xray.read, ("pairs", "reports", "labels"), iu_xray.NEEDS, iu_xray.MAY_USE, iu_xray.SPLITS
    ),
    "padchest": DataSource(
        padchest.read, ("pairs", "reports", "labels"), padchest.NEEDS, splits=padchest.SPLITS
    ),
    "vindr": DataSource(vindr.read, ("labels", "boxes"), vindr.NEEDS, vindr.MAY_USE, vindr.SPLITS),
    "ms_cxr": DataSource(
        ms_cxr.read, ("pairs", "labels", "boxes"), ms_cxr.NEEDS, ms_cxr.MAY_USE, ms_cxr.SPLITS
    ),
    "covid_collection": DataSource(
        covid_collection.read,
        ("pairs", "labels", "masks", "boxes"),
        covid_collection.NEEDS,
        covid_collection.MAY_USE,
        covid_collection.SPLITS,
    ),
}


def read_named_source(name: str, root: Path, options: Mapping[str, Any]) -> list[Study]:
    """The studies of a data set at ``root``; PL-C002 for an unknown source, and what ``DataSource``
    raises.
    """
    return pick(SOURCES, name, "source")(root, **options)
