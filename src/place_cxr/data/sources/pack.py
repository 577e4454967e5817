"""A data set that ``place data pack`` wrote.

Licence, how to get it, counts: those of the data that it was made of.
Layout: ``data/`` with ``pixels``, ``letterboxes``, ``rows``, ``studies.jsonl`` and ``meta.json``.
Labels: those that the studies had; columns of other names were mapped when it was packed.
Splits: those that the studies had when they were packed, else by patient.
Traps: no masks, and no original images: sizes and boxes are of images that need not be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from place_cxr.core.records import Study


def read(root: Path, *, columns: Mapping[str, str] = MappingProxyType({})) -> list[Study]:
    """A folder that ``place data pack`` wrote: pixels, reports, splits, labels and boxes, but no
    masks.

    ``columns`` has no meaning here. The original images need not be there. Raises PL-D410 where
    no whole pack is.
    """
    from place_cxr.data.packs.export import (
        read_packed_studies,  # needs all that packs need, the listing of sources does not
    )

    return read_packed_studies(Path(root))
