"""Tokenizes files of pairs from another pipeline: texts, or row numbers of its documents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.corpus_files import matching_files
from megatron_sbp.documents.foreign import OnBad, Source, TextRows
from megatron_sbp.documents.unique_ids import check_unique_ids
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.indexed import IndexedTokens, check_output, data_file, index_file, open_indexed
from megatron_sbp.tokenization.pair_parts import NoPairs, open_pairs
from megatron_sbp.tokenization.pairs import PairLimits, pair_writer
from megatron_sbp.tokenization.tokenizer import TextTokenizer

_PAIRS_PER_BATCH = 512

_ROWS_PER_BATCH = 8192


def holds_rows(inputs: list[str], seed_field: str = "seed", target_field: str = "target") -> bool:
    """Whether files of pairs contain row numbers of documents, as `pairing.pair_writing.mine_pairs` writes them, not
    texts.

    Args:
        inputs: as for `preprocess_documents`; the first file decides.
        seed_field: field of the seed.
        target_field: field of the target.
    """
    first = matching_files(inputs, Path.cwd())[0]
    if not first.name.endswith(".parquet"):
        return False
    schema = open_pairs(first).schema_arrow
    kinds = [schema.field(name).type for name in (seed_field, target_field) if name in schema.names]
    return len(kinds) == 2 and all(map(pa.types.is_integer, kinds))


def preprocess_row_pairs(
    inputs: list[str],
    documents: Source,
    output: Path,
    tokenizer: TextTokenizer,
    *,
    limits: PairLimits,
    seed_field: str = "seed",
    target_field: str = "target",
) -> JsonObject:
    """`preprocess_pairs` for pairs of row numbers, given the documents that they refer to.

    The documents are tokenized once, into a dataset next to the output that is removed at the end; memory grows with
    their ids only. Pairs with an empty or white-space document are omitted, as in `preprocess_pairs`.

    Args:
        inputs: parquet files with two columns of row numbers and optionally `seed_id` and `target_id`, which must be
            the ids of these documents.
        documents: the same files, in the same order and with the same fields, as when the pairs were mined.
        output: prefix of the dataset.
        tokenizer: `open_tokenizer`.
        limits: of both halves.
        seed_field: column of the seeds' rows.
        target_field: column of the targets' rows.

    Returns:
        The values of `preprocess_pairs`, and `documents`.

    Raises:
        InputError: unreadable files, a row outside the documents, an id that belongs to another document or to two
            documents, no pair at all, an output that cannot be written.
    """
    found = matching_files(inputs, Path.cwd())
    check_output(output, [*found, *documents.files()])
    check_unique_ids(documents)
    scratch = output.with_name(f".{output.name}.documents")
    ids: list[str] = []
    blank = bytearray()  # whether a row has no text
    left_out = 0

    def texts() -> Iterator[str]:
        for document in documents.documents():
            ids.append(document.id)
            blank.append(not document.text.strip())
            yield document.text

    try:
        with Progress("tokenize", None, "documents") as progress:
            write_texts(texts(), scratch, tokenizer, advance=progress.advance)
        tokens = open_indexed(scratch)
        with (
            pair_writer(
                output, tokenizer.dtype, limits, tokenizer.starts_character, tokenizer.end_of_document
            ) as writer,
            Progress("pairs", sum(open_pairs(file).metadata.num_rows for file in found), "pairs") as progress,
        ):
            empty = np.frombuffer(blank, np.bool_)
            for file in found:
                for seeds, targets in _row_batches(file, (seed_field, target_field), ids):
                    kept = ~(empty[seeds] | empty[targets])
                    writer.add(tokens, seeds[kept], targets[kept])
                    left_out += len(seeds) - int(kept.sum())
                    progress.advance(len(seeds))
            if not writer.counts.pairs:
                raise NoPairs("has no pairs", file=found[0])
    finally:
        for file in (data_file(scratch), index_file(scratch)):
            file.unlink(missing_ok=True)
    return {**writer.counts.to_dict(), "empty": left_out, "bad": 0, "documents": len(ids)}


def _row_batches(file: Path, fields: tuple[str, str], ids: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of seeds and targets, int64 [pairs] each, checked against the documents' ids."""
    opened, line = open_pairs(file), 0
    names = [name for name in ("seed_id", "target_id") if name in opened.schema_arrow.names]
    missing = [name for name in fields if name not in opened.schema_arrow.names]
    if missing:
        raise InputError(
            f"column is missing; there are: {', '.join(opened.schema_arrow.names)}", file=file, key=missing[0]
        )
    for batch in opened.iter_batches(_ROWS_PER_BATCH, columns=[*fields, *names]):
        both = []
        for field, name in zip(fields, ("seed_id", "target_id"), strict=True):
            column = batch.column(field)
            if not pa.types.is_integer(column.type) or column.null_count:
                raise InputError("must hold row numbers", file=file, line=line + 1, key=field)
            rows = column.to_numpy().astype(np.int64)
            outside = np.flatnonzero((rows < 0) | (rows >= len(ids)))
            if len(outside):
                place = int(outside[0])
                message = f"is row {rows[place]:,}, and there are {len(ids):,} documents"
                raise InputError(message, file=file, line=line + place + 1, key=field)
            if name in names:
                _check_ids(rows, batch.column(name).to_pylist(), ids, file=file, line=line, name=name)
            both.append(rows)
        yield both[0], both[1]
        line += batch.num_rows


def _check_ids(rows: np.ndarray, said: list[str], ids: list[str], *, file: Path, line: int, name: str) -> None:
    for place, (row, told) in enumerate(zip(rows.tolist(), said, strict=True)):
        if ids[row] != told:
            raise InputError(
                f"says {told!r} of row {row:,}, which is {ids[row]!r} among these documents: the pairs are of other "
                "documents, or of the same with another id field",
                file=file,
                line=line + place + 1,
                key=name,
            )


def preprocess_pairs(
    inputs: list[str],
    output: Path,
    tokenizer: TextTokenizer,
    *,
    limits: PairLimits,
    seed_field: str = "seed",
    target_field: str = "target",
    bad_documents: OnBad = "fatal",
) -> JsonObject:
    """Writes OUTPUT.bin and OUTPUT.idx: per row one document of two sequences, seed and target (see `pair_writer`).

    Args:
        inputs: as for `preprocess_documents`.
        output: prefix of the dataset.
        tokenizer: `open_tokenizer`.
        limits: of both halves.
        seed_field: field of the text to condition on.
        target_field: field of the text to generate. Rows in which either text is empty are omitted.
        bad_documents: whether a bad row stops the work or is counted.

    Returns:
        The values of tokens/pairs_audit.json, and: empty, bad.

    Raises:
        InputError: unreadable files, bad rows, no pair at all, an output that cannot be written.
    """
    rows = TextRows(inputs, [seed_field, target_field], (), bad_documents=bad_documents)
    check_output(output, rows.files)
    closing, dtype = tokenizer.end_of_document, tokenizer.dtype
    with pair_writer(output, dtype, limits, tokenizer.starts_character, closing) as writer:
        for batch in itertools.batched(rows, _PAIRS_PER_BATCH):
            texts = [row[seed_field] for row in batch] + [row[target_field] for row in batch]
            tokens, lengths = tokenizer.encode_flat(texts, closing, dtype)
            offsets = (lengths.cumsum(dtype=np.int64) - lengths) * tokens.itemsize
            both = IndexedTokens(tokens, lengths, offsets, np.arange(len(lengths) + 1))
            seeds = np.arange(len(batch))
            writer.add(both, seeds, seeds + len(batch))
    return {**writer.counts.to_dict(), "empty": rows.empty, "bad": rows.bad}
