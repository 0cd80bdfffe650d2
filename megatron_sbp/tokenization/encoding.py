"""Encodes texts in batches into IndexedDatasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.tokenization.indexed import flatten, write_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer

_BATCH_DOCUMENTS, _BATCH_CHARACTERS = 2048, 4_000_000


class Appended(Protocol):
    """Destination of documents: a dataset being written, or a piece of one in memory."""

    def add(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        """Appends documents of one sequence each; see `IndexedWriter.add`."""


@dataclass
class TextCounts:
    """Counts of a dataset."""

    documents: int = 0
    tokens: int = 0
    """Including end-of-document tokens."""
    bytes: int = 0
    """Size of the text in UTF-8."""
    characters: int = 0

    def __add__(self, other: TextCounts) -> TextCounts:
        return TextCounts(*(mine + its for mine, its in zip(self.astuple(), other.astuple(), strict=True)))

    def astuple(self) -> tuple[int, ...]:
        """The four counts."""
        return tuple(asdict(self).values())


def write_texts(
    texts: Iterable[str],
    prefix: Path,
    tokenizer: TextTokenizer,
    end_of_document: bool = True,
    advance: Callable[[int], None] | None = None,
) -> TextCounts:
    """Writes PREFIX.bin and PREFIX.idx: one document of one sequence per text.

    Args:
        texts: the documents, in order.
        prefix: of the dataset.
        tokenizer: also determines the token dtype on disk.
        end_of_document: whether every document ends with that token.
        advance: called with the number of documents done since the last call.
    """
    with write_indexed(prefix, tokenizer.dtype) as writer:
        return add_texts(texts, writer, tokenizer, end_of_document, advance)


def add_texts(
    texts: Iterable[str],
    writer: Appended,
    tokenizer: TextTokenizer,
    end_of_document: bool = True,
    advance: Callable[[int], None] | None = None,
) -> TextCounts:
    """Appends texts to an open dataset; see `write_texts`."""
    counts = TextCounts()
    closing = tokenizer.end_of_document if end_of_document else None
    for batch in batches(texts, len):
        tokens, lengths = tokenizer.encode_flat(batch, closing, tokenizer.dtype)
        writer.add(tokens, lengths)
        counts += TextCounts(len(batch), tokens.size, sum(len(text.encode()) for text in batch), sum(map(len, batch)))
        if advance:
            advance(len(batch))
    return counts


def add_written(
    written: Iterable[tuple[str, np.ndarray | None]],
    writer: Appended,
    tokenizer: TextTokenizer,
    advance: Callable[[int], None] | None = None,
) -> TextCounts:
    """Appends texts with known ids, each followed by end-of-document; see `write_texts`.

    Args:
        written: texts with their ids (integers [n], without end-of-document); a text without ids is tokenized.
        writer: of the dataset.
        tokenizer: the one that produced the ids.
        advance: called with the number of documents done since the last call.
    """
    counts = TextCounts()
    ids: list[np.ndarray | None] = []

    def texts() -> Iterator[str]:
        for text, known in written:
            ids.append(known)
            yield text

    for batch in batches(texts(), len):
        known = ids[: len(batch)]  # one more may have been read
        del ids[: len(batch)]
        missing = [text for text, found in zip(batch, known, strict=True) if found is None]
        encoded = iter(tokenizer.encode_batch(missing))
        tokens = [next(encoded) if found is None else found for found in known]
        counts += _add(batch, tokens, tokenizer.end_of_document, writer, tokenizer)
        if advance:
            advance(len(batch))
    return counts


def _add(
    batch: Sequence[str],
    ids: Sequence[Sequence[int] | np.ndarray],
    closing: int | None,
    writer: Appended,
    tokenizer: TextTokenizer,
) -> TextCounts:
    tokens, lengths = flatten(ids, closing, tokenizer.dtype)
    writer.add(tokens, lengths)
    return TextCounts(len(batch), tokens.size, sum(len(text.encode()) for text in batch), sum(map(len, batch)))


def batches[Row](rows: Iterable[Row], size: Callable[[Row], int]) -> Iterator[list[Row]]:
    """Batches texts, or rows with them, limited in number and size. An error of reading is raised after the rows before
    it.

    Args:
        rows: the texts or rows.
        size: of a row.
    """
    batch: list[Row] = []
    total = 0
    try:
        for row in rows:
            batch.append(row)
            total += size(row)
            if len(batch) == _BATCH_DOCUMENTS or total >= _BATCH_CHARACTERS:
                yield batch
                batch, total = [], 0
    except InputError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
