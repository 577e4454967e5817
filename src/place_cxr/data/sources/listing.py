"""The list of data sets that `place data ls` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from place_cxr.core.errors import PlaceError
from place_cxr.data.sources.source import DataSource


@dataclass(frozen=True, slots=True)
class SourceListing:
    """One data set.

    ``missing`` are needed files, ``without`` optional files that do not exist below the folder;
    None where no folder was named.
    """

    name: str
    about: str
    provides: tuple[str, ...]
    splits: tuple[str, ...]
    options: tuple[str, ...]
    needs: tuple[str, ...]
    may_use: tuple[str, ...]
    missing: tuple[str, ...] | None
    without: tuple[str, ...] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return asdict(self)

    def text(self) -> str:
        """A few lines of text."""
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
    """All data sets. With a folder, also which files are missing there; complete data sets first.

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

    return sorted(listings, key=lambda listing: (bool(listing.missing), listing.name))


def _join_alternatives(files: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    return tuple(" or ".join(names) for names in files)
