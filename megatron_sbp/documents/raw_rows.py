"""The rows of one file: lines of .jsonl, .jsonl.gz, and .jsonl.zst, rows of .parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base.errors import InputError, printable
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.documents.lines import read_lines

if TYPE_CHECKING:
    import pyarrow


_ROWS_PER_BATCH = 1024


class INVALID:
    """Marks a Parquet value that Python cannot represent: invalid UTF-8, a date out of range, an unknown time zone. A
    class, so that it is the same object in other processes."""


type RawRow = bytes | JsonObject
"""A line of JSON, or a row of a parquet file."""


def raw_rows(
    path: Path, fields: list[str], on_bytes: Callable[[int], None], optional: Sequence[str] = ()
) -> Iterator[tuple[int, RawRow]]:
    """Rows of one file, not yet parsed.

    Args:
        path: the file.
        fields: columns to read from a parquet file.
        on_bytes: called with the number of bytes of the file that were read since the last call.
        optional: columns to read from parquet files that have them.

    Yields:
        (line counted from 1, or row in a parquet file; the input of `parse` and `row_of`). Blank lines of a JSON-lines
        file are skipped, as in most readers.

    Raises:
        InputError: unreadable, truncated or damaged file; a parquet file without one of the fields.
    """
    if path.name.endswith(".parquet"):
        yield from _parquet_rows(path, fields, on_bytes, optional)
        return
    for number, line in enumerate(read_lines(path, on_bytes), start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # byte order mark
        if line and not line.isspace():
            yield number, line


def _parquet_rows(
    path: Path, fields: list[str], on_bytes: Callable[[int], None], optional: Sequence[str]
) -> Iterator[tuple[int, JsonObject]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for name in fields:
                if name not in names:
                    there = ", ".join(printable(column, lines=False)[:60] for column in names[:20])
                    raise InputError(f"column is missing; there are: {there}", file=path, key=name)
                if names.count(name) > 1:
                    raise InputError(f"there are {names.count(name)} columns of this name", file=path, key=name)
            fields = list(dict.fromkeys([*fields, *(name for name in optional if name in names)]))
            told = 0
            for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=fields):
                columns = {name: _values(batch.column(name)) for name in fields}
                for place in range(batch.num_rows):
                    number += 1
                    yield number, {name: values[place] for name, values in columns.items()}
                # Estimated from the share of the rows.
                now = path.stat().st_size * number // file.metadata.num_rows
                on_bytes(now - told)
                told = now
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"truncated or damaged parquet ({error})", file=path, line=number + 1) from error


def _values(column: pyarrow.Array) -> list[JsonValue]:
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, LookupError):  # invalid UTF-8, or an unrepresentable date or time zone
        return [_value(scalar) for scalar in column]


def _value(scalar: pyarrow.Scalar) -> JsonValue:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, LookupError):
        return INVALID
