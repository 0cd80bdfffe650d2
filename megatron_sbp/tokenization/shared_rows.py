"""Tokenization of a piece of rows: from a run's shard, or from files of another pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base.progress import Progress
from megatron_sbp.documents.foreign import TextRows
from megatron_sbp.documents.raw_rows import RawRow
from megatron_sbp.tokenization.encoding import Appended, TextCounts, add_texts, add_written, batches
from megatron_sbp.tokenization.indexed import write_indexed
from megatron_sbp.tokenization.pieces import Encoded, encode_pieces, write_encoded
from megatron_sbp.tokenization.tokenizer import TextTokenizer
from megatron_sbp.tokenization.written_ids import FIELD, unpack_ids


@dataclass
class ShardRows:
    """Tokenizes rows of a shard, which are trusted to be valid.

    Attributes:
        tokenizer: of the run.
        written: whether to use the ids in the rows.
    """

    tokenizer: TextTokenizer
    written: bool

    def __call__(self, lines: list[bytes]) -> Encoded:
        """Tokenizes some rows in memory."""
        found = Encoded()
        found.counts = self.append(lines, found)
        return found

    def append(
        self, lines: Iterable[bytes], writer: Appended, advance: Callable[[int], None] | None = None
    ) -> TextCounts:
        """Appends rows to a dataset, each followed by end-of-document; see `encoding.write_texts`."""
        rows = map(json.loads, lines)
        if self.written:
            known = ((row["text"], unpack_ids(row.get(FIELD))) for row in rows)
            return add_written(known, writer, self.tokenizer, advance)
        return add_texts((row["text"] for row in rows), writer, self.tokenizer, advance=advance)


type _Piece = tuple[Path, list[tuple[int, RawRow]]]


@dataclass
class _FileRows:
    """Checks and tokenizes rows of files from another pipeline."""

    rows: TextRows
    text_field: str
    tokenizer: TextTokenizer
    end_of_document: bool

    def __call__(self, piece: _Piece) -> Encoded:
        rows, found = self.rows, Encoded()
        rows.empty = rows.bad = 0
        texts = (row[self.text_field] for row in rows.usable(*piece))
        found.counts = add_texts(texts, found, self.tokenizer, self.end_of_document)
        found.empty, found.bad = rows.empty, rows.bad
        return found


def share_rows(
    rows: TextRows,
    text_field: str,
    output: Path,
    tokenizer: TextTokenizer,
    *,
    end_of_document: bool,
    workers: int,
) -> TextCounts:
    """`file_parts.tokenize_files` for files of very different sizes: the processes share the rows of each file."""
    size = sum(path.stat().st_size for path in rows.files)
    encode = _FileRows(rows, text_field, tokenizer, end_of_document)
    with Progress("reading", size, "bytes") as progress, write_indexed(output, tokenizer.dtype) as writer:
        total = write_encoded(encode_pieces(_pieces(rows, text_field, progress.advance), encode, workers), writer)
        rows.empty, rows.bad = total.empty, total.bad
        if not total.counts.documents:
            raise rows.none_found()
    return total.counts


def _pieces(rows: TextRows, text_field: str, advance: Callable[[int], None]) -> Iterator[_Piece]:
    def size(row: tuple[int, RawRow]) -> int:
        raw = row[1]
        # A parquet row may have a text of any type; the process that tokenizes it checks.
        return len(raw if isinstance(raw, bytes) else str(raw[text_field]))

    for path in rows.files:
        for piece in batches(rows.raw(path, advance), size):
            yield path, piece
