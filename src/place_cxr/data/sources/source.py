"""The record of a data set: its reading function, and what it declares beside."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.core.registry import did_you_mean, pick
from place_cxr.data.sources.conventions import split_by_lists

# pairs: an image and a text about it; reports: the text is a radiologist's report; the others as
# in Study.
PROVIDES = ("pairs", "reports", "labels", "masks", "boxes")
_FIXED_PARAMETERS = ("root", "root_or_file", "split")


@dataclass(frozen=True, slots=True)
class DataSource:
    """One data set: ``read(root, ...)`` makes its studies from tables alone; it opens no image and
    does not check that images exist.

    ``provides`` holds words of PROVIDES. ``needs`` and ``may_use`` are files below ``root``, each
    with its alternatives as glob patterns. ``splits`` are the names that ``read`` takes as
    ``split``, the default first; with ``patient``, splits are made later, by patient. The docstring
    of the module of ``read`` is the data card.
    """

    read: Callable[..., list[Study]]
    provides: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]
    may_use: tuple[tuple[str, ...], ...] = ()
    splits: tuple[str, ...] = ()

    def __call__(
        self, root: Path, *, split_lists: Mapping[str, str] | None = None, **options: Any
    ) -> list[Study]:
        """The studies below ``root``. ``split_lists``: split -> file of a published list, instead
        of a named split.

        Raises PL-C001 for an option that ``read`` does not have, PL-C002 for a split without that
        name, PL-D2xx as ``read`` does.
        """
        self.check_options(options)
        studies = self.read(Path(root), **options)

        return split_by_lists(studies, split_lists) if split_lists else studies

    def check_options(self, options: Mapping[str, Any]) -> None:
        """PL-C001 for an option that ``read`` does not have, PL-C002 for an unknown split."""
        allowed = [*self.options, *(["split"] if self.splits else [])]
        for name in options:
            if name not in allowed:
                problem = f"this source has no option '{name}'{did_you_mean(name, allowed)}"
                raise PlaceError(
                    problem,
                    code="PL-C001",
                    fix=f"options are {', '.join([*allowed, 'split_lists'])}",
                )

        if "split" in options:
            pick(dict.fromkeys(self.splits), options["split"], "split of this source")

    @property
    def card(self) -> str:
        """The data card: licence, how to get it, layout, counts, traps."""
        return (sys.modules[self.read.__module__].__doc__ or "").strip()

    @property
    def about(self) -> str:
        """The card's first line."""
        return self.card.partition("\n")[0]

    @property
    def options(self) -> tuple[str, ...]:
        """Parameters of ``read`` beside the folder and the split."""
        names = inspect.signature(self.read).parameters
        return tuple(name for name in names if name not in _FIXED_PARAMETERS)

    def missing(self, root: Path, *, optional: bool = False) -> tuple[str, ...]:
        """Needed (or optional) files that do not exist below ``root``, each as "a or b"."""

        def exists(pattern: str) -> bool:
            return next(root.glob(pattern), None) is not None

        files = self.may_use if optional else self.needs
        return tuple(" or ".join(names) for names in files if not any(map(exists, names)))
