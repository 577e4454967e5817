"""Predictions as they are kept: one Parquet file from which every metric can be computed again.

It holds rows of the source, a number for each patient (its own, no id), truth and prediction; no
text and no pixel.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import atomic_file
from place_cxr.core.records import Study, patient_key

PREDICTIONS_FILE = "predictions.parquet"
# A value of free text that fewer patients share is stored as "other".
MIN_SHARED_PATIENTS = 5
_METADATA_KEY = b"place"
# Shares of age, in years, that hospitals report by.
_AGE_BANDS = ((0, "under 18"), (18, "18-39"), (40, "40-59"), (60, "60-79"), (80, "80 and over"))


@dataclass(frozen=True)
class Predictions:
    """Rows of all fractions, seeds and splits; ``about`` is the task behind them, in plain values.

    Columns of every task: fraction, seed, split, row, patient (a number), sex, age, view, site. The
    rest is the task's.
    """

    about: Mapping[str, Any]
    # A pyarrow.Table.
    table: Any

    @property
    def fractions(self) -> list[float]:
        """Fractions of the training patients, rising."""
        return sorted(set(self.table["fraction"].to_pylist()))

    def subset(self, split: str = "test", fraction: float | None = None) -> Predictions:
        """Rows of one split and one fraction."""
        keep = pc.equal(self.table["split"], split)
        if fraction is not None:
            keep = pc.and_(keep, pc.equal(self.table["fraction"], fraction))
        return Predictions(self.about, self.table.filter(keep))

    def of_site(self, site: str) -> Predictions:
        """Test rows of one site; what chooses thresholds stays."""
        keep = pc.or_(pc.not_equal(self.table["split"], "test"), pc.equal(self.table["site"], site))
        return Predictions(self.about, self.table.filter(keep))

    def numbers(self, *names: str) -> NDArray[np.float64]:
        """Columns of numbers side by side, [L, M]; NaN where a value is missing."""
        columns = [
            self.table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in names
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((self.table.num_rows, 0))

    def matrix(self, name: str) -> NDArray[np.float32]:
        """A column of `matrix_column`, [L, C]."""
        flat = self.table[name].combine_chunks().flatten().to_numpy()
        return np.asarray(flat, dtype=np.float32).reshape(self.table.num_rows, -1)

    def values(self, name: str) -> list[Any]:
        """A column as plain values."""
        return list(self.table[name].to_pylist())

    @property
    def seeds(self) -> NDArray[np.int64]:
        """Seed of each row."""
        return np.asarray(self.table["seed"].to_numpy(), dtype=np.int64)

    @property
    def patients(self) -> list[str]:
        """Patient of each row: what resampling keeps together."""
        return [str(number) for number in self.table["patient"].to_pylist()]

    def left_out(self, fraction: float) -> dict[str, str]:
        """Names that the training rows of some seed of this fraction could not teach, and why."""
        return dict(self.about["left_out"].get(f"{fraction:g}", {}))

    def write(self, folder: Path) -> Path:
        """Write ``predictions.parquet`` whole or not at all."""
        target = folder / PREDICTIONS_FILE
        table = self.table.replace_schema_metadata({_METADATA_KEY: json.dumps(self.about).encode()})
        with atomic_file(target) as file:
            pq.write_table(table, file, compression="zstd")

        return target

    @classmethod
    def read(cls, path: str | Path) -> Predictions:
        """The predictions of a file, or of a result's folder. Raises PlaceError PL-R021 if there
        are none.
        """
        file = Path(path) / PREDICTIONS_FILE if Path(path).is_dir() else Path(path)
        try:
            table = pq.read_table(file)
            task_record = json.loads(table.schema.metadata[_METADATA_KEY])
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise PlaceError(
                "no predictions of a task", code="PL-R021", file=file, fix="run the task again"
            ) from error

        return cls(task_record, table)


def common_columns(studies: Sequence[Study], rows: NDArray[np.int64]) -> dict[str, Any]:
    """Who is in ``rows``, as far as scores are told apart by it: patients as numbers, no id.

    Sex, view and site are free text in a table. One that fewer than ``MIN_SHARED_PATIENTS``
    patients have might name somebody, and becomes "other".
    """
    owners = [patient_key(studies[row]) for row in rows]
    numbers = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    row_studies = [studies[row] for row in rows]

    return {
        "row": rows,
        "patient": [numbers[owner] for owner in owners],
        "sex": _hide_rare_values([study.sex for study in row_studies], owners),
        "age": [age_band(study.age) for study in row_studies],
        "view": _hide_rare_values([study.view for study in row_studies], owners),
        "site": _hide_rare_values([study.site for study in row_studies], owners),
    }


def _hide_rare_values(values: Sequence[str], owners: Sequence[tuple[str, str]]) -> list[str]:
    patients = Counter(value for value, _ in set(zip(values, owners, strict=True)))
    return [
        value if not value or patients[value] >= MIN_SHARED_PATIENTS else "other"
        for value in values
    ]


def list_column(values: Sequence[Sequence[float] | None], *, integers: bool = False) -> Any:
    """A column of lists of numbers, of one type however empty they are; ``integers``: of
    integers.
    """
    return pa.array(values, pa.list_(pa.int64() if integers else pa.float64()))


def matrix_column(table: NDArray[np.float32]) -> Any:
    """A column of the rows of a matrix [L, C]; no number of it becomes an object on the way."""
    starts = np.arange(len(table) + 1, dtype=np.int64) * table.shape[1]
    return pa.LargeListArray.from_arrays(pa.array(starts), pa.array(table.ravel()))


def age_band(age: float | None) -> str:
    """The band of an age in years; empty where it is not known."""
    return "" if age is None else [name for start, name in _AGE_BANDS if age >= start][-1]


def stack_cells(cells: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Any:
    """One table of cells: (constants such as the seed, columns) each."""
    tables = []
    for constants, columns in cells:
        count = len(columns["row"])
        tables.append(
            pa.table({name: [value] * count for name, value in constants.items()} | dict(columns))
        )

    return concat_tables(tables)


def concat_tables(tables: Sequence[Any]) -> Any:
    """Tables one below the other; what one of them lacks is missing there."""
    return pa.concat_tables(tables, promote_options="default")


def add_columns(table: Any, columns: Mapping[str, Any]) -> Any:
    """A table with more columns."""
    for name, column in columns.items():
        table = table.append_column(name, [column])
    return table
