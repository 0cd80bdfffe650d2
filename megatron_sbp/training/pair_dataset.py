"""Packed pairs: several (seed document, target) pairs in one training sequence, loss on targets only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.megatron_dataset import MegatronDataset
from megatron.core.datasets.utils import Split

from megatron_sbp.training.packing import Packing, pack
from megatron_sbp.training.pair_lengths import pair_lengths


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
    ):
        super().__init__(dataset, path, np.arange(len(dataset) // 2), num_samples, split, config)
        self.separator, self.padding = separator, padding
        self.packing: Packing = pack(
            pair_lengths(dataset.index.sequence_lengths), config.sequence_length, config.random_seed
        )
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
        return self.assemble([int(pair) for pair in self.packing.order[begin:end]])

    def assemble(self, pairs: list[int]) -> dict[str, torch.Tensor]:
        """A sequence of the given pairs, in that order; the rest is padding."""
        length = self.config.sequence_length
        tokens = np.full(length, self.padding, np.int64)
        labels = np.full(length, self.padding, np.int64)
        mask = np.zeros(length, np.float32)
        positions = np.zeros(length, np.int64)
        segments = np.full(length, len(pairs), np.int64)
        at = 0
        for segment, pair in enumerate(pairs):
            seed, target = self.dataset[2 * pair], self.dataset[2 * pair + 1]
            whole = np.concatenate([seed, [self.separator], target])
            end = at + len(whole) - 1
            tokens[at:end] = whole[:-1]
            labels[at:end] = whole[1:]
            mask[at + len(seed) : end] = 1.0  # from the separator on, the label is a token of the target
            positions[at:end] = np.arange(end - at)
            segments[at:end] = segment
            at = end
        arrays: dict[str, np.ndarray] = {
            "tokens": tokens,
            "labels": labels,
            "position_ids": positions,
            "segments": segments,
        }
        return {
            **{name: torch.from_numpy(array) for name, array in arrays.items()},
            "loss_mask": torch.from_numpy(mask),
        }
