"""Reads the tokens of a Megatron IndexedDataset from its memory map without a Python loop over documents."""

from __future__ import annotations

import numba
import numpy as np
from megatron.core.datasets.indexed_dataset import IndexedDataset, _MMapBinReader

from megatron_sbp.base.compiling import CACHED


class TokenReader:
    """Reads spans of documents and whole sequences.

    Megatron opens the files. If it maps them, compiled code reads all sequences from one array; otherwise (object
    storage, mmap=False), they are read one by one through `IndexedDataset.get`.

    Args:
        dataset: opened by Megatron.

    Attributes:
        lengths: int32 [sequences].

    Raises:
        ValueError: the tokens and the index do not belong together.
    """

    def __init__(self, dataset: IndexedDataset):
        self.dataset = dataset
        self._open()

    def _open(self) -> None:
        index, reader = self.dataset.index, self.dataset.bin_reader
        self.lengths: np.ndarray = index.sequence_lengths
        self._pointers: np.ndarray = index.sequence_pointers
        self._tokens: np.ndarray | None = None
        if isinstance(reader, _MMapBinReader):
            described = int(self._pointers[-1]) + int(self.lengths[-1]) * index.dtype_size
            there = reader._bin_buffer_mmap.nbytes
            if there < described:
                raise ValueError(f"its .bin has {there:,} bytes, but its .idx describes {described:,}")
            self._tokens = reader.read(index.dtype, described // index.dtype_size, 0)

    def __getstate__(self) -> dict[str, object]:
        """Omits the arrays: a spawned process maps the files itself."""
        return {"dataset": self.dataset}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.dataset = state["dataset"]
        self._open()

    def documents(self, order: np.ndarray, place: int, offset: int, out: np.ndarray, filled: int = 0) -> int:
        """Concatenates the tokens of the documents order[place], order[place + 1]...

        Args:
            order: integers [documents], ids of sequences.
            place: of the document to begin with.
            offset: token of that document to begin with.
            out: int64 [n], filled from `filled` on.
            filled: see there.

        Returns:
            Number of tokens filled in `out`: less than n if `order` ends first.
        """
        if self._tokens is not None:
            stored = self._tokens, self._pointers, self.lengths
            return filled + _read(stored, order, place, offset, out[filled:])
        while filled < len(out) and place < len(order):
            document = int(order[place])
            take = min(int(self.lengths[document]) - offset, len(out) - filled)
            if take:
                out[filled : filled + take] = self.dataset.get(document, offset, take)
            filled, place, offset = filled + take, place + 1, 0
        return filled

    def sequences(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Locations of whole sequences.

        Args:
            numbers: integers [n], of the sequences requested.

        Returns:
            tokens; byte offsets in them, int64; lengths, int32; and n numbers, with which offsets and lengths are to
            be indexed.
        """
        if self._tokens is not None:
            return self._tokens, self._pointers, self.lengths, numbers
        parts = [self.dataset[int(number)] for number in numbers]
        lengths = np.array([len(part) for part in parts], np.int32)
        tokens = np.concatenate(parts)
        pointers = (np.cumsum(lengths, dtype=np.int64) - lengths) * tokens.itemsize
        return tokens, pointers, lengths, np.arange(len(numbers))


@numba.njit(nogil=True, cache=CACHED)
def _read(
    stored: tuple[np.ndarray, np.ndarray, np.ndarray], order: np.ndarray, place: int, offset: int, out: np.ndarray
) -> int:
    tokens, pointers, lengths = stored
    filled = 0
    while filled < len(out) and place < len(order):
        document = order[place]
        take = min(lengths[document] - offset, len(out) - filled)
        begin = pointers[document] // tokens.itemsize + offset
        out[filled : filled + take] = tokens[begin : begin + take]
        filled += take
        offset = 0
        place += 1
    return filled
