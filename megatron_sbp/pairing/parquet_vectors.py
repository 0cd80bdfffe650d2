"""Reads embeddings from parquet files with a document id in each row, and sorts them in document order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.neighbors.vectors import UNIT_NORM_TOLERANCE

ID, EMBEDDING = "id", "embedding"
"""Columns read."""

DOCUMENTS_PER_FILE = 1 << 18
"""Rows per output file: ScaNN builds its indexes from whole files."""

_ROWS = 8192
"""Embeddings in memory at a time."""


def write_in_order(given: Sequence[Path], documents: pa.ChunkedArray, folder: Path) -> list[Path]:
    """Writes the embeddings of documents to .npy files in a folder: float16, rows in the order of the documents.

    Args:
        given: .parquet files, in any order, with the columns `id`, a string or an integer, and `embedding`, a list of
            floating point numbers (also of fixed size) of length 1.
        documents: the ids, all different: large_string [documents].
        folder: not shared with other processes.

    Returns:
        The files written, in order.

    Raises:
        InputError: a file is damaged or lacks a column; a document has no embedding, or two; an embedding has no
            document, a different dimension than the first one, NaN, or a length other than 1. Names file and id.
    """
    opened = {file: _open(file) for file in given}
    known = documents.combine_chunks()
    _check_ids(opened, known)
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(known), DOCUMENTS_PER_FILE)
    outputs = [folder / f"{number:05d}.npy" for number in range(len(starts))]
    parts: list[np.ndarray] = []
    for file, parquet in opened.items():
        for ids, lists in _batches(file, parquet, [ID, EMBEDDING]):
            dimensions = parts[0].shape[1] if parts else len(lists[0]) if lists[0].is_valid else 0
            vectors = _checked(file, ids, lists, dimensions)
            if not parts:
                for output, start in zip(outputs, starts, strict=True):
                    shape = min(DOCUMENTS_PER_FILE, len(known) - start), dimensions
                    parts.append(np.lib.format.open_memmap(output, "w+", np.float16, shape))
            rows = pc.index_in(ids, known).to_numpy().astype(np.int64)
            for place in np.unique(rows // DOCUMENTS_PER_FILE):
                mine = rows // DOCUMENTS_PER_FILE == place
                parts[place][rows[mine] - starts[place]] = vectors[mine]
    return outputs


def _check_ids(opened: dict[Path, pq.ParquetFile], known: pa.Array) -> None:
    """Rejects embeddings that do not match the documents one to one."""
    seen = np.zeros(len(known), bool)
    for file, parquet in opened.items():
        for (ids,) in _batches(file, parquet, [ID], 1 << 20):
            found = pc.index_in(ids, known)
            if found.null_count:
                stranger = ids.filter(found.is_null())[0].as_py()
                message = "is null in some row" if stranger is None else f"{stranger!r} is of none of the documents"
                raise InputError(message, file=file, key=ID)
            rows, often = np.unique(found.to_numpy(), return_counts=True)
            twice = rows[(often > 1) | seen[rows]]
            if twice.size:
                raise InputError(f"document {known[int(twice[0])].as_py()!r} has two embeddings", file=file, key=ID)
            seen[rows] = True
    missing = np.flatnonzero(~seen)
    if missing.size:
        whole = f"{missing.size:,} of {len(known):,} documents have none"
        message = f"there is no embedding of document {known[int(missing[0])].as_py()!r} ({whole})"
        raise InputError(message, file=next(iter(opened)), key=ID)


def _checked(file: Path, ids: pa.Array, lists: pa.Array, dimensions: int) -> np.ndarray:
    """Embeddings as a matrix [rows, dimensions]."""

    def refuse(bad: np.ndarray, what: str) -> None:
        raise InputError(f"that of document {ids[int(bad[0])].as_py()!r} {what}", file=file, key=EMBEDDING)

    absent = np.flatnonzero(lists.is_null().to_numpy(zero_copy_only=False))
    if absent.size:
        refuse(absent, "is null")
    sizes = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    other = np.flatnonzero(sizes != dimensions)
    if other.size:
        refuse(other, f"has {sizes[other[0]]} dimensions, and the first one {dimensions}")
    vectors = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), dimensions)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~(np.abs(norms - 1) < UNIT_NORM_TOLERANCE))  # true for NaN too
    if bad.size:
        norm = norms[bad[0]]
        long = f"has length {norm:.4g}; embeddings must have length 1"
        refuse(bad, long if np.isfinite(norm) else "has values that are not finite")
    return vectors


def _open(file: Path) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(file)
    except FileNotFoundError as error:
        raise InputError("no such file", file=file) from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not a parquet file, or damaged ({error})", file=file) from error
    schema = parquet.schema_arrow
    for column in (ID, EMBEDDING):
        if column not in schema.names:
            raise InputError(f"there is no such column, only {', '.join(schema.names)}", file=file, key=column)
    kind = schema.field(ID).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise InputError(f"must be strings or integers, not {kind}", file=file, key=ID)
    kind = schema.field(EMBEDDING).type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not pa.types.is_floating(kind.value_type):
        raise InputError(f"must be lists of floating point numbers, not {kind}", file=file, key=EMBEDDING)
    return parquet


def _batches(
    file: Path, parquet: pq.ParquetFile, columns: list[str], rows: int = _ROWS
) -> Iterator[tuple[pa.Array, ...]]:
    """Columns of a batch of rows at a time, ids as large_string."""
    try:
        for batch in parquet.iter_batches(rows, columns=columns):
            if len(batch):
                yield batch.column(ID).cast(pa.large_string()), *(batch.column(name) for name in columns[1:])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not a parquet file, or damaged ({error})", file=file) from error
