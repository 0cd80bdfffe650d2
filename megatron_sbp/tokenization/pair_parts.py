"""Tokenizes mined pairs, rows of a tokenized dataset, in parts, and joins the parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.tokenization.indexed import counts_file, data_file, index_file, merge_indexed, open_indexed
from megatron_sbp.tokenization.pairs import PairCounts, PairLimits, write_pairs
from megatron_sbp.tokenization.tokenizer import TextTokenizer


class NoPairs(InputError):
    """A file of pairs has no rows."""


def count_pairs(pairs: Path) -> int:
    """Rows of a Parquet file of pairs, from its footer."""
    return open_pairs(pairs).metadata.num_rows


def tokenize_pairs(
    pairs: Path,
    documents: Path,
    output: Path,
    tokenizer: TextTokenizer,
    limits: PairLimits,
    *,
    first: int = 0,
    count: int | None = None,
    label: str = "tokenize-pairs",
) -> list[Path]:
    """Writes OUTPUT.bin and OUTPUT.idx: per pair one document of two sequences, seed and target (see `pair_writer`).

    Args:
        pairs: Parquet file with the columns seed and target: row numbers of documents, int64.
        documents: prefix of the tokenized documents.
        output: prefix of the dataset; OUTPUT.json gets its counts.
        tokenizer: the one that the documents were tokenized with.
        limits: of both halves.
        first: first row of the file.
        count: number of rows; None takes all remaining rows.
        label: of the progress line.

    Returns:
        The three files.

    Raises:
        NoPairs: no rows in this range.
    """
    seeds, targets = _rows_between(pairs, first, count)
    if not len(seeds):
        raise NoPairs("has no pairs", file=pairs)
    with Progress(label, len(seeds), "pairs") as progress:
        counts = write_pairs(
            output,
            open_indexed(documents),
            seeds,
            targets,
            limits=limits,
            starts_character=tokenizer.starts_character,
            end_of_document=tokenizer.end_of_document,
            advance=progress.advance,
        )
    files.write_json(counts_file(output), counts.__dict__)
    return [data_file(output), index_file(output), counts_file(output)]


def merge_pairs(output: Path, parts: Sequence[Path], tokenizer: TextTokenizer) -> tuple[list[Path], PairCounts]:
    """Joins the outputs of `tokenize_pairs`, in order.

    Args:
        output: prefix of the dataset.
        parts: prefixes of the parts.
        tokenizer: the one that the parts were made with.

    Returns:
        The files written, and their counts.
    """
    total = PairCounts()
    for part in parts:
        total += PairCounts(**files.read_json(counts_file(part)))
    return merge_indexed(output, parts, tokenizer.dtype), total


def _rows_between(pairs: Path, first: int, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Columns seed and target of a range of rows, int64 [rows] each; reads only the necessary row groups."""
    file = open_pairs(pairs)
    last = file.metadata.num_rows if count is None else min(file.metadata.num_rows, first + count)
    found, begin = [], 0
    for group in range(file.metadata.num_row_groups):
        end = begin + file.metadata.row_group(group).num_rows
        if begin < last and end > first:
            table = file.read_row_group(group, columns=["seed", "target"])
            found.append(table.slice(max(0, first - begin), min(end, last) - max(begin, first)))
        begin = end
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    table = pa.concat_tables(found)
    return table["seed"].to_numpy(), table["target"].to_numpy()


def open_pairs(file: Path) -> pyarrow.parquet.ParquetFile:
    """A Parquet file of pairs; raises InputError if it is none."""
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"is not a parquet file ({error})", file=file) from error
