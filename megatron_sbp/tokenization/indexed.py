"""Megatron's IndexedDataset format (NAME.bin, NAME.idx): writing, merging, and reading without torch.

NAME.bin holds the tokens of all sequences. NAME.idx: b"MMIDIDX\\0\\0", version 1 (uint64), code of the type (uint8),
number of sequences and number of document bounds (uint64 each), then for every sequence its length (int32) and its
offset in bytes (int64), then the bounds of the documents in sequences, beginning with 0 (int64). All little-endian.
The format is that of megatron.core.datasets.indexed_dataset (megatron-core 0.19).
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from megatron_sbp.base import outputs
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.joining import join_files
from megatron_sbp.base.replacing import replace_files

_MAGIC = b"MMIDIDX\x00\x00"
_CODES: dict[type[np.number], int] = {
    np.uint8: 1,
    np.int8: 2,
    np.int16: 3,
    np.int32: 4,
    np.int64: 5,
    np.float64: 6,
    np.float32: 7,
    np.uint16: 8,
}
_HEADER = struct.Struct("<9sQBQQ")


def data_file(prefix: Path) -> Path:
    """NAME.bin of a prefix."""
    return prefix.with_name(prefix.name + ".bin")


def index_file(prefix: Path) -> Path:
    """NAME.idx of a prefix."""
    return prefix.with_name(prefix.name + ".idx")


def counts_file(prefix: Path) -> Path:
    """PREFIX.json: counts of a part of a dataset."""
    return prefix.with_name(f"{prefix.name}.json")


def check_output(prefix: Path, inputs: Iterable[Path]) -> None:
    """Rejects a prefix where no dataset can be written.

    Raises:
        InputError: see `outputs.check_file`.
    """
    if prefix.name in ("", ".."):
        raise InputError("is a folder; add the name of the dataset, without .bin", file=prefix)
    for file in (data_file(prefix), index_file(prefix)):
        outputs.check_file(file, inputs)


@dataclass(frozen=True)
class IndexedTokens:
    """A dataset opened for reading.

    Attributes:
        tokens: all tokens, concatenated, memory-mapped: integers [sum of lengths].
        lengths: length of every sequence in tokens, memory-mapped: int32 [sequences].
        offsets: byte offset of every sequence, memory-mapped: int64 [sequences].
        bounds: sequences [bounds[i], bounds[i + 1]) are document i: int64 [documents + 1].
    """

    tokens: np.ndarray
    lengths: np.ndarray
    offsets: np.ndarray
    bounds: np.ndarray

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Start of every sequence in `tokens`: int64 [sequences], computed on first use and kept in memory."""
        return self.offsets // self.tokens.itemsize

    def starts_of(self, rows: np.ndarray) -> np.ndarray:
        """Starts of the given sequences: int64 [rows]."""
        return self.offsets[rows] // self.tokens.itemsize

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.bounds) - 1

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.lengths)

    def __getitem__(self, sequence: int) -> np.ndarray:
        """Tokens of one sequence."""
        start = int(self.offsets[sequence]) // self.tokens.itemsize
        return self.tokens[start : start + int(self.lengths[sequence])]


def open_indexed(prefix: Path) -> IndexedTokens:
    """Opens NAME.bin and NAME.idx.

    Raises:
        InputError: a file is missing or damaged, or the two do not belong together.
    """
    kind, lengths, pointers, bounds = _open_index(prefix)
    tokens = np.memmap(data_file(prefix), kind, mode="r") if data_file(prefix).stat().st_size else np.empty(0, kind)
    return IndexedTokens(tokens, lengths, pointers, bounds)


def open_lengths(prefix: Path) -> np.ndarray:
    """Length of every sequence of a dataset in tokens: int32 [sequences], memory-mapped.

    Raises:
        InputError: see `open_indexed`.
    """
    return _open_index(prefix)[1]


def _open_index(prefix: Path) -> tuple[np.dtype, np.ndarray, np.ndarray, np.ndarray]:
    """Token dtype, lengths, byte offsets, and document bounds; the arrays are memory-mapped."""
    data, index = data_file(prefix), index_file(prefix)
    try:
        with open(index, "rb") as file:  # mapped: 20 GB for a billion documents
            raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if index.stat().st_size else b""
        size = data.stat().st_size
    except FileNotFoundError as error:
        raise InputError("no such file", file=error.filename) from error
    if len(raw) < _HEADER.size or raw[: len(_MAGIC)] != _MAGIC:
        raise InputError("not the index of an IndexedDataset", file=index)
    _, version, code, sequences, bounds = _HEADER.unpack_from(raw)
    kinds = {number: kind for kind, number in _CODES.items()}
    if version != 1 or code not in kinds or len(raw) < _HEADER.size + 12 * sequences + 8 * bounds:
        raise InputError("damaged or truncated index", file=index)
    kind = np.dtype(kinds[code])
    lengths = np.frombuffer(raw, np.int32, sequences, _HEADER.size)
    pointers = np.frombuffer(raw, np.int64, sequences, _HEADER.size + 4 * sequences)
    document_bounds = np.frombuffer(raw, np.int64, bounds, _HEADER.size + 12 * sequences)
    expected = int(lengths.sum(dtype=np.int64)) * kind.itemsize
    if size != expected:
        raise InputError(f"has {size:,} bytes, but {index.name} describes {expected:,}", file=data)
    return kind, lengths, pointers, document_bounds


class IndexedWriter:
    """Writes tokens; created by `write_indexed` and `write_both`."""

    def __init__(self, file: BinaryIO, dtype: type[np.number]):
        self._file, self.dtype = file, np.dtype(dtype)
        self._lengths: list[np.ndarray | Path] = []
        self._count = 0
        self._sequences: list[np.ndarray] = []

    def add(self, tokens: np.ndarray, lengths: np.ndarray, sequences_per_document: int = 1) -> None:
        """Appends documents.

        Args:
            tokens: all their tokens, integers [sum of lengths].
            lengths: length of every sequence, integers [documents * sequences_per_document].
            sequences_per_document: sequences in each document.
        """
        lengths = np.asarray(lengths, np.int32)
        assert tokens.size == lengths.sum(dtype=np.int64), (tokens.size, lengths)
        assert len(lengths) % sequences_per_document == 0
        self._file.write(np.ascontiguousarray(tokens, self.dtype).tobytes())
        self._lengths.append(lengths)
        self._count += len(lengths)
        self._sequences.append(_repeated(sequences_per_document, len(lengths) // sequences_per_document))

    def note(self, prefix: Path) -> int:
        """Appends another dataset with the same dtype to the index; the caller copies its tokens.

        Returns:
            Size of the tokens in bytes.
        """
        part = open_indexed(prefix)
        assert part.tokens.dtype == self.dtype, (part.tokens.dtype, self.dtype)
        self._lengths.append(prefix)  # a copy: Linux does not allow one process to map 100,000 parts
        self._count += len(part)
        counts = np.diff(part.bounds)
        if counts.size and (counts == counts[0]).all():
            counts = _repeated(int(counts[0]), len(counts))
        self._sequences.append(counts)
        return part.tokens.nbytes

    def write_index(self, file: BinaryIO) -> None:
        """Writes the contents of NAME.idx part by part, without keeping appended parts in memory."""
        documents = sum(map(len, self._sequences))
        file.write(_HEADER.pack(_MAGIC, 1, _CODES[self.dtype.type], self._count, documents + 1))
        for lengths in self._all_lengths():
            file.write(lengths.tobytes())
        before = 0
        for lengths in self._all_lengths():
            ends = lengths.cumsum(dtype=np.int64) + before
            file.write(((ends - lengths) * self.dtype.itemsize).tobytes())
            before = int(ends[-1]) if ends.size else before
        before = 0
        file.write(np.zeros(1, np.int64).tobytes())
        for counts in self._sequences:
            bounds = counts.cumsum() + before
            file.write(bounds.tobytes())
            before = int(bounds[-1]) if bounds.size else before

    def _all_lengths(self) -> Iterator[np.ndarray]:
        """Length of every sequence in tokens, part by part."""
        for part in self._lengths:
            yield open_lengths(part) if isinstance(part, Path) else part


def _repeated(count: int, documents: int) -> np.ndarray:
    """The same number for each document, as an array that takes no memory: int64 [documents]."""
    return np.broadcast_to(np.int64(count), documents)


@contextlib.contextmanager
def write_indexed(prefix: Path, dtype: type[np.number]) -> Iterator[IndexedWriter]:
    """Writes a dataset. It replaces an existing one on leaving the block; after an exception, the existing one is
    unchanged.

    NAME.idx on disk always belongs to the NAME.bin beside it: see `replace_files`.
    """
    with (
        replace_files(data_file(prefix), index_file(prefix)) as (data, index),
        write_both(data, index, dtype) as writer,
    ):
        yield writer


@contextlib.contextmanager
def write_both(data: Path, index: Path, dtype: type[np.number]) -> Iterator[IndexedWriter]:
    """Writes a dataset directly to two files: the data inside the block, the index on leaving it."""
    with open(data, "wb") as file:
        writer = IndexedWriter(file, dtype)
        yield writer
    with open(index, "wb") as file:
        writer.write_index(file)


def merge_indexed(prefix: Path, parts: Sequence[Path], dtype: type[np.number]) -> list[Path]:
    """Concatenates the documents of all parts into one dataset, in order. Tokens are copied on all cores.

    Returns:
        NAME.bin and NAME.idx.

    Raises:
        InputError: a part is missing or damaged.
    """
    with (
        replace_files(data_file(prefix), index_file(prefix)) as (data, index),
        write_both(data, index, dtype) as writer,
    ):
        sizes = [writer.note(part) for part in parts]
        join_files(data, [data_file(part) for part in parts], sizes)
    return [data_file(prefix), index_file(prefix)]


def flatten(
    documents: Sequence[Sequence[int] | np.ndarray], closing: int | None, dtype: type[np.number]
) -> tuple[np.ndarray, np.ndarray]:
    """Token lists as `IndexedWriter.add` takes them.

    Args:
        documents: ids of each document.
        closing: id appended to every document, or None.
        dtype: of the tokens.

    Returns:
        tokens [sum of lengths] of that type, lengths int32 [documents].
    """
    extra = 0 if closing is None else 1
    lengths = np.fromiter((len(ids) + extra for ids in documents), np.int32, len(documents))
    tokens = np.empty(int(lengths.sum(dtype=np.int64)), dtype)
    if closing is not None:
        tokens.fill(closing)
    begin = 0
    for ids, length in zip(documents, lengths.tolist(), strict=True):
        tokens[begin : begin + len(ids)] = ids
        begin += length
    return tokens, lengths
