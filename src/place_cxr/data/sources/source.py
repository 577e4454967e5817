"""What a data set's adapter declares beside its reading function."""

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

# pairs: an image and a text about it. reports: the text is a radiologist's report. The others as in
# Study.
PROVIDES = ("pairs", "reports", "labels", "masks", "boxes")
_FIXED_PARAMETERS = ("root", "root_or_file", "split")


@dataclass(frozen=True, slots=True)
class DataSource:
    """One data set: ``read(root, ...)`` makes its studies, from tables alone; no image is opened or
    looked for.

    ``provides`` holds words of PROVIDES. ``needs`` and ``may_use`` are the files it looks for below
    ``root``, each with its alternatives as glob patterns. ``splits`` are the names that ``read``
    takes as ``split``, the default first; ``patient`` leaves splits to be made by patient. The
    module of ``read`` opens with the data card.
    """

    read: Callable[..., list[Study]]
    provides: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]
    may_use: tuple[tuple[str, ...], ...] = ()
    splits: tuple[str, ...] = ()

    def __call__(
        self, root: Path, *, split_lists: Mapping[str, str] | None = None, **options: Any
    ) -> list[Study]:
        """The studies below ``root``. ``split_lists``: files of a published split, instead of a
        named one.

        Raises PL-C001 for an option that ``read`` does not have, PL-C002 for a split without that
        name, PL-D2xx as ``read`` does.
        """
        self.check_options(options)
        studies = self.read(Path(root), **options)

        return split_by_lists(studies, split_lists) if split_lists else studies

    def check_options(self, options: Mapping[str, Any]) -> None:
        """PL-C001 for an option that ``read`` does not have, PL-C002 for a split without that name."""
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
        """What ``read`` takes beside the folder and the split."""
        return tuple(
            name
            for name in inspect.signature(self.read).parameters
            if name not in _FIXED_PARAMETERS
        )

    def missing(self, root: Path, *, optional: bool = False) -> tuple[str, ...]:
        """Files that are needed (or may be used) and are not below ``root``, each as "one or
        another".
        """
        files = self.may_use if optional else self.needs
        return tuple(
            " or ".join(names) for names in files if not any(any(root.glob(name)) for name in names)
        )
