"""Tokenizes documents into IndexedDatasets: a run's shards in parts, or files from another pipeline in one call."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megatron_sbp.base import files, outputs
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.replacing import replace_files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.foreign import OnBad, TextRows, converted_rows, refuse
from megatron_sbp.documents.reading import BadDocument
from megatron_sbp.tokenization.encoding import TextCounts, add_written, batches, write_texts
from megatron_sbp.tokenization.file_parts import alike, tokenize_files
from megatron_sbp.tokenization.indexed import (
    check_output,
    counts_file,
    data_file,
    index_file,
    merge_indexed,
    write_both,
    write_indexed,
)
from megatron_sbp.tokenization.pieces import (
    cores_of_process,
    encode_pieces,
    size_of_rows,
    workers_for_rows,
    write_encoded,
)
from megatron_sbp.tokenization.shared_rows import ShardRows, share_rows
from megatron_sbp.tokenization.tokenizer import TextTokenizer, load_tokenizer
from megatron_sbp.tokenization.written_ids import FIELD, ids_of_text


def tokenize_shard(shard: Path, prefix: Path, tokenizer: TextTokenizer, *, label: str = "tokenize") -> list[Path]:
    """Tokenizes the field `text` of a .jsonl.zst to PREFIX.bin and PREFIX.idx, with the counts in PREFIX.json.

    Returns:
        The three files.
    """
    return _tokenize(ShardRows(tokenizer, written=False), shard, prefix, label)


def tokenize_written(shard: Path, prefix: Path, tokenizer: TextTokenizer, *, label: str = "tokenize") -> list[Path]:
    """`tokenize_shard` for synthetic documents: uses the ids in their rows, followed by end-of-document, and tokenizes
    the text of rows without ids. The ids are trusted: the filters have checked them."""
    return _tokenize(ShardRows(tokenizer, written=True), shard, prefix, label)


def _tokenize(rows: ShardRows, shard: Path, prefix: Path, label: str) -> list[Path]:
    """Uses all cores of the task for large shards; the output bytes are the same."""
    workers = workers_for_rows(size_of_rows(shard), cores_of_process())
    with (
        Progress(label, None, "documents") as progress,
        write_indexed(prefix, rows.tokenizer.dtype) as writer,
        files.open_lines(shard) as lines,
    ):
        if workers > 1:
            found = encode_pieces(batches(lines, len), rows, workers)
            counts = write_encoded(found, writer, progress.advance).counts
        else:
            counts = rows.append(lines, writer, progress.advance)
    files.write_json(counts_file(prefix), counts.__dict__)
    return [data_file(prefix), index_file(prefix), counts_file(prefix)]


def merge_parts(prefix: Path, parts: Sequence[Path], tokenizer: Path) -> tuple[list[Path], dict[str, int]]:
    """Joins the outputs of `tokenize_shard`, in order.

    Args:
        prefix: of the dataset.
        parts: prefixes of the parts.
        tokenizer: folder of the tokenizer, which determines the token dtype.

    Returns:
        The files written, and `total_counts`.
    """
    return merge_indexed(prefix, parts, load_tokenizer(tokenizer).dtype), total_counts(parts)


def total_counts(parts: Sequence[Path]) -> dict[str, int]:
    """Total counts of the given parts: documents, tokens, bytes, characters."""
    total = TextCounts()
    for prefix in parts:
        total += TextCounts(**files.read_json(counts_file(prefix)))
    return dict(total.__dict__)


def preprocess_documents(
    inputs: list[str],
    output: Path,
    tokenizer: TextTokenizer,
    *,
    text_field: str = "text",
    bad_documents: OnBad = "fatal",
    end_of_document: bool = True,
    workers: int | None = None,
) -> JsonObject:
    """Writes OUTPUT.bin and OUTPUT.idx: one document of one sequence per row, in the order of the files and rows.

    Large inputs are tokenized by several processes. If the files have similar sizes, each process takes one file at a
    time and writes a part next to the output, and the parts are joined; otherwise, the processes share the rows of
    every file.

    Args:
        inputs: files or patterns relative to the current folder: .jsonl, .jsonl.gz, .jsonl.zst, .parquet.
        output: prefix of the dataset.
        tokenizer: `open_tokenizer`.
        text_field: field of the text. Rows whose text is empty or white space are left out.
        bad_documents: whether a bad row stops the work or is counted.
        end_of_document: whether every document ends with that token.
        workers: maximum number of processes; None is one per core.

    Returns:
        documents, tokens, bytes, characters, empty, bad.

    Raises:
        InputError: unreadable files, bad rows, no document at all, an output that cannot be written.
    """
    rows = TextRows(inputs, [text_field], (), bad_documents=bad_documents)
    check_output(output, rows.files)
    workers = workers_for_rows(sum(map(size_of_rows, rows.files)), workers or len(os.sched_getaffinity(0)))
    if workers == 1:
        counts = write_texts((row[text_field] for row in rows), output, tokenizer, end_of_document)
    elif alike(rows.files, workers):
        counts = tokenize_files(rows, text_field, output, tokenizer, end_of_document=end_of_document, workers=workers)
    else:
        counts = share_rows(rows, text_field, output, tokenizer, end_of_document=end_of_document, workers=workers)
    return {**counts.__dict__, "empty": rows.empty, "bad": rows.bad}


PARENTS = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("seed_id", pa.string()),
        pa.field("seed_row", pa.int64()),
        pa.field("generation", pa.int64()),
        pa.field("synthesizer", pa.string()),
        pa.field("round", pa.int32()),
        pa.field("pairs_file", pa.string()),
        pa.field("pairs", pa.string()),
        pa.field("temperature", pa.float64()),
        pa.field("top_p", pa.float64()),
        pa.field("max_new_tokens", pa.int32()),
        pa.field("engine", pa.string()),
        pa.field("precision", pa.string()),
        pa.field("replaced", pa.float64()),
        pa.field("run_seed", pa.int64()),
    ]
)
"""Columns of OUTPUT.parents.parquet: null if a row lacks the field."""

_PARENTS_AT_ONCE = 16_384


def parents_file(prefix: Path) -> Path:
    """Path of the file with the parents of a dataset's documents."""
    return prefix.with_name(f"{prefix.name}.parents.parquet")


def preprocess_synthetic(
    inputs: list[str], output: Path, tokenizer: TextTokenizer, need_tokens: int | None = None
) -> JsonObject:
    """Writes OUTPUT.bin and OUTPUT.idx from synthetic documents (RUN/synthetic/NNNNN.jsonl.zst), and their parents to
    OUTPUT.parents.parquet: row i of it is document i of the dataset.

    Args:
        inputs: as for `preprocess_documents`; rows have `text`, `seed_id` and `synthesizer` (null for text written
            without them). If `token_ids` match the text, they are used; otherwise, the text is tokenized.
        output: prefix of the dataset.
        tokenizer: `open_tokenizer`.
        need_tokens: minimum number of tokens, or None; fewer are an error.

    Returns:
        The counts of `preprocess_documents`, plus written_ids (documents whose stored ids were used), seed_documents
        (distinct), synthesizers (documents per digest).

    Raises:
        InputError: bad rows, fewer tokens than needed, an output that cannot be written. Existing files are then left
            unchanged.
    """
    others = [name for name in PARENTS.names if name not in ("seed_id", "synthesizer")]
    rows = TextRows(inputs, ["text"], unchecked=["seed_id", "synthesizer"], optional=[*others, FIELD])
    check_output(output, rows.files)
    outputs.check_file(parents_file(output), rows.files)
    seeds: set[str] = set()
    synthesizers: Counter[str] = Counter()
    written_ids = 0

    def texts(parents: pq.ParquetWriter) -> Iterator[tuple[str, np.ndarray | None]]:
        nonlocal written_ids
        for batch in itertools.batched(rows, _PARENTS_AT_ONCE):
            parents.write_table(_parents(batch, rows.files))
            for row in batch:
                if row["seed_id"] is not None:
                    seeds.add(row["seed_id"])
                synthesizers[str(row["synthesizer"])] += 1
                ids = ids_of_text(row[FIELD], row["text"], tokenizer)
                written_ids += ids is not None
                yield row["text"], ids

    with replace_files(parents_file(output), data_file(output), index_file(output)) as (rows_of, data, index):
        with (
            pq.ParquetWriter(rows_of, PARENTS, compression="zstd") as table,
            write_both(data, index, tokenizer.dtype) as writer,
        ):
            counts = add_written(texts(table), writer, tokenizer)
        if need_tokens is not None and counts.tokens < need_tokens:
            raise InputError(f"{need_tokens:,} tokens are needed, but there are {counts.tokens:,}", file=output)
    parents = {"seed_documents": len(seeds), "synthesizers": dict(sorted(synthesizers.items()))}
    return {**counts.__dict__, "empty": rows.empty, "bad": rows.bad, "written_ids": written_ids, **parents}


def _parents(rows: Sequence[JsonObject], inputs: Sequence[Path]) -> pa.Table:
    try:
        return pa.Table.from_pylist([{name: row[name] for name in PARENTS.names} for row in rows], schema=PARENTS)
    except (TypeError, ValueError, OverflowError):  # Arrow's error types: a lone surrogate, a huge number
        for path in inputs:  # once more, for the place: the rows do not know theirs
            for _ in converted_rows(path, [], _check_parents, refuse, optional=PARENTS.names):
                pass
        raise


def _check_parents(row: JsonObject) -> None:
    for field in PARENTS:
        try:
            pa.scalar(row.get(field.name), field.type)
        except (TypeError, ValueError, OverflowError) as error:
            wanted = f"null or of the type {field.type}"
            raise BadDocument(f"must be {wanted}, not {row[field.name]!r:.60}", field.name) from error
