"""What is kept of one cell: a result as every task writes it, and the resamples that tests between
methods need.
"""

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

ALL_SITES = "all"  # the name of a part of the test patients that is all of them
DRAWS_FILE = "draws.parquet"
COST_FILE = "cost.json"


@dataclass(frozen=True, slots=True)
class CellKey:
    """Where a cell lies: ``<slug>-s<seed>/cells/<task>/<source>/<percent>/<site>/``."""

    slug: str
    seed: int
    task: str  # with mode, as results are named
    source: str
    fraction: float  # 0: nothing is learned
    site: str = ALL_SITES

    def folder(self, out: Path) -> Path:
        """Its folder in the benchmark's."""
        percent = f"{100 * self.fraction:g}"
        return (
            out
            / f"{self.slug}-s{self.seed}"
            / "cells"
            / self.task
            / self.source
            / percent
            / self.site
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One method, seed, task, source, share and site."""

    place: CellKey
    result: Result
    draws: Mapping[str, NDArray[np.float64]]  # metric -> its value on each resample of patients

    def metric(self, column: str) -> Metric | None:
        """A column's number, or None where the task did not give it; a head's share is part of its
        name.
        """
        return self.result.metrics.get(full_metric_name(column, self.place.fraction))

    def metric_draws(self, column: str) -> NDArray[np.float64] | None:
        """A column's values on resamples of the test patients, the same for all methods."""
        return self.draws.get(full_metric_name(column, self.place.fraction))


@dataclass(frozen=True, slots=True)
class PretrainingCost:
    """What pre-training took. ``None``: not trained here, or not measured."""

    seconds: float | None
    memory_gb: (
        float | None
    )  # highest of the process, libraries included; of the device where it is a GPU
    parameters: int  # of all that was trained
    encoder: int  # of these, the image encoder's
    hardware: str

    def write(self, folder: Path) -> None:
        """Keep it in a row's folder."""
        write_atomic(folder / COST_FILE, (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> PretrainingCost | None:
        """That of a row, if it is there."""
        try:
            table = json.loads((folder / COST_FILE).read_text("utf-8"))
            return cls(**{field.name: table[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError):
            return None


def full_metric_name(column: str, fraction: float) -> str:
    """A column as results name it: ``auroc/macro`` is ``10%/auroc/macro`` where 10 % of the
    patients teach.
    """
    return f"{100 * fraction:g}%/{column}" if fraction else column


def write_cell(key: CellKey, out: Path, result: Result, columns: Sequence[str]) -> None:
    """Write draws of ``columns``, then ``result.json``: a cell with a result is whole."""
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
    """All cells of a benchmark's folder that are whole, in the order of their paths."""
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
