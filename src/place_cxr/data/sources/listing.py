"""What `place data ls` tells of the data sets that can be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from place_cxr.core.errors import PlaceError
from place_cxr.data.sources.source import DataSource


@dataclass(frozen=True, slots=True)
class SourceListing:
    """One data set; ``missing`` are files it needs that are not below the folder asked for, None
    without a folder.
    """

    name: str
    about: str
    provides: tuple[str, ...]
    splits: tuple[str, ...]
    options: tuple[str, ...]
    needs: tuple[str, ...]
    may_use: tuple[str, ...]
    missing: tuple[str, ...] | None
    without: tuple[str, ...] | None  # files it may use that are not there

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return asdict(self)

    def text(self) -> str:
        """A few lines for a reader."""
        lines = [f"{self.name:<17} {' '.join(self.provides)}", self.about]
        if self.splits:
            lines.append(f"splits: {', '.join(self.splits)}, split_lists")

        if self.options:
            lines.append(f"options: {', '.join(self.options)}")

        if self.missing is None:
            lines.append(f"looks for: {'; '.join(self.needs)}")
            lines += [f"may use: {'; '.join(self.may_use)}"] if self.may_use else []
        else:
            lines.append(
                f"missing: {'; '.join(self.missing)}" if self.missing else "there: all it needs"
            )
            lines += (
                [f"without: {'; '.join(self.without)}"] if self.without and not self.missing else []
            )

        return "\n    ".join(lines)


def list_sources(
    sources: Mapping[str, DataSource], root: Path | None = None
) -> list[SourceListing]:
    """Every data set and, with a folder, what of it lies below; those that can be read there first.

    Raises PL-D205 where the folder does not exist.
    """
    if root is not None and not root.is_dir():
        raise PlaceError("no such folder", code="PL-D205", file=root, fix="check the path")

    listings = [
        SourceListing(
            name=name,
            about=source.about,
            provides=source.provides,
            splits=source.splits,
            options=source.options,
            needs=_join_alternatives(source.needs),
            may_use=_join_alternatives(source.may_use),
            missing=None if root is None else source.missing(root),
            without=None if root is None else source.missing(root, optional=True),
        )
        for name, source in sources.items()
    ]

    return sorted(listings, key=lambda one: (bool(one.missing), one.name))


def _join_alternatives(files: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    return tuple(" or ".join(names) for names in files)
