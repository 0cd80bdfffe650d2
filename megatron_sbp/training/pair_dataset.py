"""Packed pairs: several (seed document, target) pairs in one training sequence, loss on targets only."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.megatron_dataset import MegatronDataset
from megatron.core.datasets.utils import Split

from megatron_sbp.training.document_dataset import NO_INDICES
from megatron_sbp.training.index_cache import IndexCache
from megatron_sbp.training.packing import Packing, packing_of
from megatron_sbp.training.token_reader import TokenReader


class PairDataset(MegatronDataset):
    """Training sequences of packed pairs.

    A pair reads `seed tokens, separator, target tokens` (the target's own last token is end-of-document, unless the
    target was cut). Inputs are all of it but the last token, labels are all of it but the first: a pair takes one place
    less than it has tokens.

    Args:
        dataset: one Megatron document per pair with two sequences: seed and target, already cut to their lengths.
        path: its prefix on disk.
        num_samples: length of this dataset; None is one epoch.
        split: Split.train or Split.valid.
        config: Megatron's configuration; sequence_length and random_seed are used.
        separator: id of the separator token.
        padding: id of the padding token.
        cache: models/NAME/packing, shared by all ranks.

    Items: tokens, labels and position_ids int64 [sequence_length] (positions restart with every pair), loss_mask
    float32 [sequence_length] (ones where the label is a token of a target), segments int64 [sequence_length] (number of
    the pair in the sequence from 0; the padding at the end is a segment of its own), sample int.

    Every epoch uses the same packing in another order, a permutation that depends on (seed, epoch) alone.
    """

    def __init__(
        self,
        dataset: IndexedDataset,
        path: str,
        num_samples: int | None,
        split: Split,
        config: GPTDatasetConfig,
        separator: int,
        padding: int,
        cache: IndexCache | None = None,
    ):
        super().__init__(dataset, path, NO_INDICES, num_samples, split, config)
        self.separator, self.padding = separator, padding
        self.reader, self.lengths = TokenReader(dataset), dataset.index.sequence_lengths
        self.packing: Packing = packing_of(self.lengths, config.sequence_length, config.random_seed, cache)
        self.num_samples = len(self.packing) if num_samples is None else num_samples
        self._shuffled: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict[str, Any]:
        epoch, place = divmod(int(index), len(self.packing))
        return {**self.sequence(int(self._shuffle(epoch)[place])), "sample": int(index)}

    def describe(self) -> str:
        """One line for the start of a training."""
        passes, packing = self.num_samples / len(self.packing), self.packing
        fill = f"{100 * packing.fill:.1f} % full"
        return f"{passes:.2f} passes over {len(packing.order):,} pairs in {len(packing):,} sequences, {fill}"

    def _shuffle(self, epoch: int) -> np.ndarray:
        if self._shuffled[0] != epoch:
            order = np.random.default_rng([self.config.random_seed, epoch, 4]).permutation(len(self.packing))
            self._shuffled = (epoch, order)
        return self._shuffled[1]

    def sequence(self, number: int) -> dict[str, torch.Tensor]:
        """The packed sequence of that number, before any shuffling."""
        begin, end = self.packing.starts[number], self.packing.starts[number + 1]
        return self.assemble(self.packing.order[begin:end])

    def assemble(self, pairs: list[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """A sequence of the given pairs, in that order; the rest is padding."""
        length, reader = self.config.sequence_length, self.reader
        numbers = np.empty((4, length), np.int64)
        mask = np.empty(length, np.float32)
        pairs = np.asarray(pairs, np.int64)
        if reader.tokens is not None:
            tokens, begins = reader.tokens, reader.begins
            _assemble(tokens, begins, reader.itemsize, self.lengths, pairs, self.separator, self.padding, numbers, mask)
        else:  # tokens that are no local file
            parts = [self.dataset[2 * pair + place] for pair in pairs for place in (0, 1)]
            lengths = np.array([len(part) for part in parts])
            begins = np.cumsum(lengths) - lengths
            order = np.arange(len(pairs))
            _assemble(np.concatenate(parts), begins, 1, lengths, order, self.separator, self.padding, numbers, mask)
        tokens, labels, positions, segments = torch.from_numpy(numbers).unbind()
        return {
            "tokens": tokens,
            "labels": labels,
            "position_ids": positions,
            "segments": segments,
            "loss_mask": torch.from_numpy(mask),
        }


@numba.njit(cache=True, nogil=True)
def _assemble(source, begins, itemsize, lengths, pairs, separator, padding, numbers, mask):
    """Fills numbers [4, S] (tokens, labels, positions, segments) and mask [S] in one pass."""
    at = 0
    for segment in range(pairs.shape[0]):
        pair = pairs[segment]
        seed, seed_begin = lengths[2 * pair], begins[2 * pair] // itemsize
        target, target_begin = lengths[2 * pair + 1], begins[2 * pair + 1] // itemsize
        for place in range(seed + target):  # the last token of a pair is a label only
            if place < seed:
                token = numba.int64(source[seed_begin + place])
            elif place == seed:
                token = numba.int64(separator)
            else:
                token = numba.int64(source[target_begin + place - seed - 1])
            numbers[0, at + place] = token
            if place:
                numbers[1, at + place - 1] = token
            numbers[2, at + place] = place
            numbers[3, at + place] = segment
            mask[at + place] = 1.0 if place >= seed else 0.0  # from the separator on, the label is a target's token
        at += seed + target
        if target:
            numbers[1, at - 1] = numba.int64(source[target_begin + target - 1])
        else:
            numbers[1, at - 1] = numba.int64(separator)
    numbers[0, at:] = padding
    numbers[1, at:] = padding
    numbers[2, at:] = 0
    numbers[3, at:] = pairs.shape[0]
    mask[at:] = 0.0
