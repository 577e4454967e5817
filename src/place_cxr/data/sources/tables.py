"""Rows of a CSV (also gzipped), JSONL or Parquet file as exact text, each with its line number.

CSV is read with the csv module and a count of fields, not with pandas. pandas shifts columns or
drops fields of a ragged line without an error; it reads the id ``00123`` as 123 and the report
``NA`` as missing.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from place_cxr.core.errors import PlaceError

TableRow = tuple[int, dict[str, str]]
ColumnChooser = Callable[[Sequence[str]], Mapping[str, str]]
LineFaults = list[tuple[int, PlaceError]]  # (line, what is wrong with it)
ID_COLUMNS = ("study", "patient")
_NESTED_COLUMNS = ("labels", "said", "mask")
# A gzipped table may unpack to so many bytes: a zip bomb is refused before it fills the memory.
MAX_UNZIPPED_BYTES = 2_000_000_000


def read_table_rows(
    file: Path, encoding: str, choose: ColumnChooser, faults: LineFaults | None = None
) -> Iterator[TableRow]:
    """Yield ``(line, cells)`` of each row. ``choose`` gets the header and returns the columns to
    read, our name -> theirs.

    Lines count from 1 and include the header; Parquet has rows, counted from 1. Cells are text;
    missing values are empty. Raises PL-D201 (header), PL-D202 (form), PL-D203 (ids stored as
    decimal numbers), PL-D209 (encoding). With a list of ``faults``, a CSV line with too many or too
    few fields is added there and skipped.
    """
    suffixes = file.suffixes[-2:] if file.suffix.lower() == ".gz" else file.suffixes[-1:]
    kind = "".join(suffixes).lower()
    reader = {".csv": _csv, ".csv.gz": _csv, ".jsonl": _jsonl, ".parquet": _parquet}.get(kind)
    if reader is None:
        raise PlaceError(
            f"a table of the kind '{kind}'",
            code="PL-D202",
            file=file,
            fix="save it as .csv, .jsonl or .parquet",
        )

    try:
        regular = stat.S_ISREG(file.stat().st_mode)
    except OSError:
        regular = False

    if not regular:
        raise PlaceError("no such file", code="PL-D205", file=file, fix="check the path")

    return reader(file, encoding, choose, faults)


def read_header(file: Path, encoding: str = "utf-8-sig") -> list[str]:
    """The column names of a table, as they are written there."""
    names: list[str] = []

    def keep(header: Sequence[str]) -> Mapping[str, str]:
        names.extend(header)
        return {}

    # `keep` is called before the first row; a table without rows has a header, too.
    next(read_table_rows(file, encoding, keep), None)

    return names


def _csv(
    file: Path, encoding: str, choose: ColumnChooser, faults: LineFaults | None
) -> Iterator[TableRow]:
    reader = csv.reader(io.StringIO(_text(file, encoding), newline=""), strict=True)
    header: list[str] = []

    indices: dict[str, int] = {}
    line = 1
    try:
        for cells in reader:
            # Empty lines are skipped. The first other line is the header.
            if not cells:
                pass
            elif not header:
                header = cells
                _check_delimiter(file, header)
                columns = _choose_columns(file, header, choose)
                indices = {ours: header.index(theirs) for ours, theirs in columns.items()}
            elif len(cells) != len(header):
                problem = f"line {line} has {len(cells)} fields, the header has {len(header)}"
                error = PlaceError(
                    problem, code="PL-D202", file=file, fix="quote fields that hold commas"
                )
                if faults is None:
                    raise error
                faults.append((line, error))
            else:
                yield line, {ours: cells[index] for ours, index in indices.items()}

            # A quoted field may hold line breaks: the next row starts after all lines read so far.
            line = reader.line_num + 1
    except csv.Error:
        limit = csv.field_size_limit()
        problem = (
            f"line {line}: a quote is not closed or stands inside a field, or a field is over "
            f"{limit} characters"
        )
        _refuse(file, problem, "close the quote; write a quote inside a quoted field twice")

    if not header:
        raise PlaceError(
            "the file is empty", code="PL-D201", file=file, fix="write a header line and rows"
        )


def _jsonl(
    file: Path, encoding: str, choose: ColumnChooser, faults: LineFaults | None
) -> Iterator[TableRow]:
    records: list[tuple[int, dict[str, Any]]] = []
    for line, text in enumerate(_text(file, encoding).split("\n"), start=1):
        if not text.strip():
            continue

        try:
            record = json.loads(text, object_pairs_hook=_refuse_repeated_keys)
        except (ValueError, RecursionError):
            _refuse(
                file,
                f"line {line} is not JSON, or names a key twice",
                "write one JSON object a line",
            )

        if not isinstance(record, dict):
            _refuse(file, f"line {line} is not a JSON object", "write one JSON object a line")

        records.append((line, _flatten(record)))

    if not records:
        raise PlaceError(
            "the file is empty", code="PL-D201", file=file, fix="write one JSON object a line"
        )

    # The header is every key of any record, in the order of first use.
    header = dict.fromkeys(chain.from_iterable(record for _, record in records))
    columns = _choose_columns(file, list(header), choose)
    for line, record in records:
        cells = {}
        for ours, theirs in columns.items():
            cells[ours] = _cell(record.get(theirs), file, line, ours)
        yield line, cells


def _parquet(
    file: Path, encoding: str, choose: ColumnChooser, faults: LineFaults | None
) -> Iterator[TableRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            columns = _choose_columns(file, table.schema_arrow.names, choose)
            row = 0
            # Batch by batch: a table of reports may not fit into memory as Python objects.
            for batch in table.iter_batches(columns=list(dict.fromkeys(columns.values()))):
                values = {
                    ours: batch.column(theirs).to_pylist() for ours, theirs in columns.items()
                }
                for number in range(batch.num_rows):
                    row += 1
                    cells = {}
                    for ours, column in values.items():
                        cells[ours] = _cell(column[number], file, row, ours)
                    yield row, cells
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        _refuse(file, "not a whole Parquet file", "write it again")


def _text(file: Path, encoding: str) -> str:
    data = _unzipped(file) if file.suffix.lower() == ".gz" else file.read_bytes()
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        # A byte order mark is cut off before decoding, and the error counts from its end.
        offset = error.start + len(data) - len(error.object)
        raise PlaceError(
            f"byte {offset} is not {encoding}",
            code="PL-D209",
            file=file,
            fix="name the encoding, as encoding=latin-1",
        ) from None
    except LookupError:
        raise PlaceError(
            f"unknown encoding '{encoding}'", code="PL-C001", file=file, fix="use utf-8-sig"
        ) from None


def _unzipped(file: Path) -> bytes:
    try:
        with gzip.open(file) as stream:
            data = stream.read(MAX_UNZIPPED_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        _refuse(file, "not a whole gzip file", "copy it again")

    if len(data) > MAX_UNZIPPED_BYTES:
        _refuse(file, f"over {MAX_UNZIPPED_BYTES / 1e9:.0f} GB when unpacked", "check the file")

    return data


def _check_delimiter(file: Path, header: list[str]) -> None:
    """PL-D202 for a header of one name that holds another delimiter than the comma."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and mark in header[0]:
            _refuse(file, f"line 1: fields are separated by {name}", "save the table with commas")


def _choose_columns(file: Path, header: Sequence[str], choose: ColumnChooser) -> Mapping[str, str]:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise PlaceError(
            f"column '{twice[0]}' is there twice",
            code="PL-D201",
            file=file,
            fix="rename one of them",
        )

    return choose(header)


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError
    return record


def _flatten(record: dict[str, Any]) -> dict[str, Any]:
    """``{"labels": {"Edema": 1}}`` as ``{"labels.Edema": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        inner: dict[str, Any] = {}
        if name in _NESTED_COLUMNS and isinstance(value, dict):
            inner = {f"{name}.{key}": inner_value for key, inner_value in value.items()}
        flat.update(inner or {name: value})

    return flat


def _cell(value: Any, file: Path, line: int, ours: str) -> str:
    """A typed value as text. PL-D203 for an id that is a decimal number: its digits may differ from
    those that were written.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value

    if ours in ID_COLUMNS and isinstance(value, float):
        raise PlaceError(
            f"line {line}: '{ours}' is a decimal number",
            code="PL-D203",
            file=file,
            fix="store ids as text",
        )

    # A label may be stored as true or false.
    if isinstance(value, bool):
        return str(int(value))

    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _refuse(file: Path, problem: str, fix: str) -> NoReturn:
    raise PlaceError(problem, code="PL-D202", file=file, fix=fix) from None
