"""Reads Megatron's IndexedDataset (.bin, .idx) with numpy alone: evaluation needs no Megatron."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from megatron_sbp.errors import InputError

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER_BYTES = len(_MAGIC) + 8 + 1 + 8 + 8
# Megatron's codes of dtypes (megatron.core.datasets.indexed_dataset.DType); those that hold tokens.
_DTYPES = {3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}


class TokenFile:
    """Sequences of tokens on disk, memory-mapped.

    Args:
        prefix: path without .bin and .idx.

    Attributes:
        lengths: tokens of every sequence, int32 [sequences].

    Raises:
        InputError: a file is missing, is no Megatron index, or the two do not fit together.
    """

    def __init__(self, prefix: Path):
        index, self._data_file = (prefix.with_name(prefix.name + suffix) for suffix in (".idx", ".bin"))
        for file in (index, self._data_file):
            if not file.exists():
                raise InputError("this file of tokens is missing", file=file)
        raw = index.read_bytes()
        if not raw.startswith(_MAGIC) or len(raw) < _HEADER_BYTES:
            raise InputError("not an index file of Megatron", file=index)
        code, count = raw[17], int.from_bytes(raw[18:26], "little")
        if code not in _DTYPES or len(raw) < _HEADER_BYTES + 12 * count:
            raise InputError("a damaged index file, or one that does not hold tokens", file=index)
        self._dtype = np.dtype(_DTYPES[code]).newbyteorder("<")
        self.lengths = np.frombuffer(raw, "<i4", count, _HEADER_BYTES)
        pointers = np.frombuffer(raw, "<i8", count, _HEADER_BYTES + 4 * count)
        self._starts = pointers // self._dtype.itemsize
        size = self._data_file.stat().st_size // self._dtype.itemsize
        if count and int((self._starts + self.lengths).max()) > size:
            raise InputError(
                f"holds {size} tokens, its index speaks of {int((self._starts + self.lengths).max())}",
                file=self._data_file,
            )
        self._tokens = np.memmap(self._data_file, self._dtype, "r") if size else np.empty(0, self._dtype)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> np.ndarray:
        """Tokens of one sequence: int64 [length]."""
        start = int(self._starts[row])
        return np.asarray(self._tokens[start : start + int(self.lengths[row])], np.int64)

    def stream(self) -> np.ndarray:
        """All sequences one after the other: int64 [sum of lengths]."""
        if not len(self):
            return np.empty(0, np.int64)
        return np.concatenate([self[row] for row in range(len(self))])

    @property
    def tokens(self) -> int:
        """Sum of all lengths."""
        return int(self.lengths.sum(dtype=np.int64))
