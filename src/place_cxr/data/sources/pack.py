"""A data set that ``place data pack`` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from place_cxr.data.packed import read_packed
from place_cxr.records import Study


def read(root: Path, *, columns: Mapping[str, str] = MappingProxyType({})) -> list[Study]:
    """A folder that ``place data pack`` wrote: pixels, reports, splits, labels and boxes, but no masks.

    ``columns`` has no meaning here. The original pictures need not be there. Raises PL-D410 where no whole pack is.
    """
    return read_packed(Path(root))
