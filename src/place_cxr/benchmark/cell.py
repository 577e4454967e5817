"""Files of one cell: the result of a task, and the resamples for tests between methods."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import write_atomic
from place_cxr.core.results import RESULT_FILE, Metric, Result

# Name of the folder of a cell that was tested on the patients of all sites.
ALL_SITES = "all"
DRAWS_FILE = "draws.parquet"
COST_FILE = "cost.json"


@dataclass(frozen=True, slots=True)
class CellKey:
    """The coordinates of a cell: ``<slug>-s<seed>/cells/<task>/<source>/<percent>/<site>/``."""

    slug: str
    seed: int
    task: str  # with mode and profile, as in result.json
    source: str
    fraction: float  # of the training patients; 0: the task has no head
    site: str = ALL_SITES

    def folder(self, out: Path) -> Path:
        """Its folder, below the benchmark's folder ``out``."""
        percent = f"{100 * self.fraction:g}"
        cells = out / f"{self.slug}-s{self.seed}" / "cells"
        return cells / self.task / self.source / percent / self.site


@dataclass(frozen=True, slots=True)
class Cell:
    """The result of one method, seed, task, source, fraction and site."""

    key: CellKey
    result: Result
    draws: Mapping[str, NDArray[np.float64]]  # metric -> its value on each resample of patients

    def metric(self, column: str) -> Metric | None:
        """The metric of a column; None where the task does not give it."""
        return self.result.metrics.get(full_metric_name(column, self.key.fraction))

    def metric_draws(self, column: str) -> NDArray[np.float64] | None:
        """The values of a column on resamples of the test patients, the same for all methods."""
        return self.draws.get(full_metric_name(column, self.key.fraction))


@dataclass(frozen=True, slots=True)
class PretrainingCost:
    """Cost of pre-training. ``None``: not trained here, or not measured."""

    seconds: float | None
    # Peak of the process, libraries included; on a GPU the peak of its memory.
    memory_gb: float | None
    parameters: int  # of all that was trained
    encoder: int  # of these, the image encoder's
    hardware: str

    def write(self, folder: Path) -> None:
        """Write it into the folder of a row."""
        write_atomic(folder / COST_FILE, (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> PretrainingCost | None:
        """Read it from the folder of a row; None where it is absent or unreadable."""
        try:
            table = json.loads((folder / COST_FILE).read_text("utf-8"))
            return cls(**{field.name: table[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError):
            return None


def full_metric_name(column: str, fraction: float) -> str:
    """The name of a column in results: ``auroc/macro`` of 10 % is ``10%/auroc/macro``."""
    return f"{100 * fraction:g}%/{column}" if fraction else column


def write_cell(key: CellKey, out: Path, result: Result, columns: Sequence[str]) -> None:
    """Write the draws of ``columns``, then ``result.json``."""
    # The result comes last: a cell that has one is complete, also after a crash.
    folder = key.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    names = [full_metric_name(column, key.fraction) for column in columns]
    drawn = [(name, result.metrics[name].draws) for name in names if name in result.metrics]
    rows = [(name, values) for name, values in drawn if values is not None]

    table = pa.table(
        {
            "metric": [name for name, _ in rows],
            "draws": pa.array([values for _, values in rows], pa.list_(pa.float64())),
        }
    )
    pq.write_table(table, folder / DRAWS_FILE)

    result.write(folder)


def read_cells(out: Path) -> Iterator[Cell]:
    """All complete cells in a benchmark's folder, in the order of their paths."""
    for file in sorted(out.glob(f"*-s*/cells/*/*/*/*/{RESULT_FILE}")):
        task, source, percent, site = file.parent.relative_to(out).parts[2:]
        name = re.fullmatch(r"(.+)-s(\d+)", file.relative_to(out).parts[0])
        if name is None:
            continue

        key = CellKey(name[1], int(name[2]), task, source, float(percent) / 100, site)
        try:
            table = pq.read_table(file.with_name(DRAWS_FILE)).to_pydict()
        except (OSError, pa.ArrowException) as error:
            raise PlaceError(
                "no resamples beside a result", code="PL-R030", file=file, fix="delete both"
            ) from error

        draws = {
            name: np.array(values)
            for name, values in zip(table["metric"], table["draws"], strict=True)
        }
        yield Cell(key, Result.read(file), draws)
