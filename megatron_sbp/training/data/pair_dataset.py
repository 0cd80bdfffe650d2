"""Packed pairs: several (seed document, target) pairs in one training sequence, loss on targets only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numba
import numpy as np
import torch
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.megatron_dataset import MegatronDataset
from megatron.core.datasets.utils import Split

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.training.data.epochs import permutation
from megatron_sbp.training.data.index_cache import IndexCache
from megatron_sbp.training.data.packing import Packing, pack, shared_packing
from megatron_sbp.training.data.pair_lengths import pair_lengths
from megatron_sbp.training.data.token_reader import TokenReader


class PairDataset(MegatronDataset):
    """Training sequences of packed pairs.

    A pair reads `seed tokens, separator, target tokens` (the target's last token is end-of-document, unless the target
    was truncated). Inputs are all tokens but the last, labels all but the first: a pair takes one position less than it
    has tokens.

    Args:
        dataset: one Megatron document per pair with two sequences: seed and target, already truncated.
        path: its prefix on disk.
        num_samples: length of this dataset; None is one epoch.
        split: Split.train or Split.valid.
        config: Megatron's configuration; sequence_length and random_seed are used.
        separator: id of the separator token.
        padding: id of the padding token.
        cache: where the packing is stored for all processes; without it, each packs the pairs itself.

    Items: tokens, labels and position_ids int64 [sequence_length] (positions restart with every pair), loss_mask
    float32 [sequence_length] (ones where the label is a token of a target), segments int64 [sequence_length] (number of
    the pair in the sequence from 0; the padding at the end is a separate segment), sample int.

    Every epoch uses the same packing in a different order, a permutation that depends only on (seed, epoch).

    Raises:
        ValueError: no pairs, a pair that is longer than a sequence, or a dataset without two sequences per document.
    """

    def __init__(
        self,
        dataset: IndexedDataset,
        path: str,
        num_samples: int | None,
        split: Split,
        config: GPTDatasetConfig,
        *,
        separator: int,
        padding: int,
        cache: IndexCache | None = None,
    ):
        pairs = len(dataset.document_indices) - 1
        if len(dataset) != 2 * pairs:
            raise ValueError(f"not a dataset of pairs: {pairs} documents with {len(dataset)} sequences, not two each")
        super().__init__(dataset, path, range(pairs), num_samples, split, config)
        self.separator, self.padding = separator, padding
        self.reader = TokenReader(dataset)
        lengths = pair_lengths(self.reader.lengths)
        length, seed = config.sequence_length, config.random_seed
        self.packing: Packing = (
            shared_packing(lengths, length, seed, Path(path).name, cache) if cache else pack(lengths, length, seed)
        )
        self.num_samples = len(self.packing) if num_samples is None else num_samples
        self._shuffled: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict[str, int | torch.Tensor]:
        epoch, place = divmod(int(index), len(self.packing))
        return {**self.sequence(int(self._shuffle(epoch)[place])), "sample": int(index)}

    def describe(self) -> str:
        """One line for the start of a training run."""
        passes, packing = self.num_samples / len(self.packing), self.packing
        fill = f"{100 * packing.fill:.1f} % full"
        return f"{passes:.2f} passes over {len(packing.order):,} pairs in {len(packing):,} sequences, {fill}"

    def _shuffle(self, epoch: int) -> np.ndarray:
        if self._shuffled[0] != epoch:
            self._shuffled = (epoch, permutation(len(self.packing), [self.config.random_seed, epoch, 4]))
        return self._shuffled[1]

    def sequence(self, number: int) -> dict[str, torch.Tensor]:
        """The packed sequence with that number, before shuffling."""
        packing = self.packing
        return self.assemble(packing.order[packing.starts[number] : packing.starts[number + 1]])

    def assemble(self, pairs: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """A sequence of the given pairs, in that order; the rest is padding.

        Raises:
            ValueError: they do not fit into one sequence.
        """
        numbers = np.repeat(np.asarray(pairs, np.int64), 2) * 2
        numbers[1::2] += 1
        integers = np.empty((4, self.config.sequence_length), np.int64)
        mask = np.empty(self.config.sequence_length, np.float32)
        _assemble(self.reader.sequences(numbers), self.separator, self.padding, integers, mask)
        tokens, labels, positions, segments = torch.from_numpy(integers).unbind()
        return {
            "tokens": tokens,
            "labels": labels,
            "position_ids": positions,
            "segments": segments,
            "loss_mask": torch.from_numpy(mask),
        }


@numba.njit(nogil=True, cache=CACHED)
def _assemble(
    sequences: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    separator: int,
    padding: int,
    integers: np.ndarray,
    mask: np.ndarray,
) -> None:
    stored, pointers, lengths, numbers = sequences
    tokens, labels, positions, segments = integers[0], integers[1], integers[2], integers[3]
    at = 0
    for segment in range(len(numbers) // 2):
        seed, target = numbers[2 * segment], numbers[2 * segment + 1]
        seed_begin, target_begin = pointers[seed] // stored.itemsize, pointers[target] // stored.itemsize
        seed_length, target_length = lengths[seed], lengths[target]
        middle, end = at + seed_length, at + seed_length + target_length
        if end > len(tokens):
            raise ValueError("the pairs do not fit into one sequence")
        tokens[at:middle] = stored[seed_begin : seed_begin + seed_length]
        if seed_length:
            labels[at : middle - 1] = stored[seed_begin + 1 : seed_begin + seed_length]
            labels[middle - 1] = separator
        if target_length:
            tokens[middle] = separator
            tokens[middle + 1 : end] = stored[target_begin : target_begin + target_length - 1]
            labels[middle:end] = stored[target_begin : target_begin + target_length]
        mask[at:middle] = 0.0
        mask[middle:end] = 1.0  # from the separator on, the label is a token of the target
        for place in range(at, end):
            positions[place] = place - at
        segments[at:end] = segment
        at = end
    tokens[at:] = padding
    labels[at:] = padding
    mask[at:] = 0.0
    positions[at:] = 0
    segments[at:] = len(numbers) // 2
