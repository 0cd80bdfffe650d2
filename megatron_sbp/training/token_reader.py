"""Tokens of an IndexedDataset straight from its memory map."""

from __future__ import annotations

import numpy as np
from megatron.core.datasets.indexed_dataset import IndexedDataset, get_bin_path


class TokenReader:
    """Reads parts of sequences into arrays that are there already.

    Megatron's `get` makes several Python objects per call; on a local file this is one slice. Where the tokens are no
    local file (object storage), it falls back to `get`.

    Args:
        dataset: opened by Megatron.
    """

    def __init__(self, dataset: IndexedDataset):
        self.dataset = dataset
        self.tokens: np.ndarray | None = None
        """All tokens [tokens of the dataset], a map of the .bin file; None where there is none."""
        self.begins = dataset.index.sequence_pointers
        """int64 [sequences]: byte of the .bin file at which a sequence begins."""
        self.itemsize = np.dtype(dataset.index.dtype).itemsize
        if dataset.mmap and len(dataset):
            # A map of its own: Megatron closes its map under whoever still reads it.
            self.tokens = np.memmap(get_bin_path(dataset.path_prefix), dtype=dataset.index.dtype, mode="r").view(
                np.ndarray
            )

    def __getstate__(self) -> IndexedDataset:
        return self.dataset

    def __setstate__(self, dataset: IndexedDataset) -> None:
        self.__init__(dataset)  # type: ignore[misc]

    def read(self, sequence: int, offset: int, target: np.ndarray) -> None:
        """Fills `target` with the tokens of a sequence from `offset` on."""
        if self.tokens is None:
            target[:] = self.dataset.get(sequence, offset, len(target))
            return
        begin = int(self.begins[sequence]) // self.itemsize + offset
        target[:] = self.tokens[begin : begin + len(target)]
