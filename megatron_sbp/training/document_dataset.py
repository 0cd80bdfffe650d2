"""Training sequences from documents: in strict epochs, or in Megatron's own joint shuffle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.megatron_dataset import MegatronDataset
from megatron.core.datasets.utils import Split

from megatron_sbp.training.epochs import StrictEpochs, pieces
from megatron_sbp.training.index_cache import IndexCache
from megatron_sbp.training.token_reader import TokenReader

NO_INDICES = np.empty(0, np.int64)
"""Megatron's base class keeps an array of all document numbers, 8 bytes each, which nothing here reads."""


class DocumentDataset(MegatronDataset):
    """Sequences of documents in strict epochs (see megatron_sbp.training.epochs).

    Args:
        dataset: documents, one sequence each, closed by end-of-document.
        path: its prefix on disk, for Megatron's bookkeeping.
        num_samples: length of this dataset.
        split: Split.train or Split.valid.
        config: Megatron's configuration; sequence_length, random_seed and tokenizer are used.
        once: no token is used twice: `num_samples` sequences from one epoch.
        cache: for large datasets, shared by all ranks.

    Items: tokens, labels and position_ids int64 [sequence_length], loss_mask float32 [sequence_length] (all ones),
    sample int (the item's number).

    Raises:
        ValueError: `once` with more samples than one epoch holds.
    """

    def __init__(
        self,
        dataset: IndexedDataset,
        path: str,
        num_samples: int,
        split: Split,
        config: GPTDatasetConfig,
        once: bool = False,
        cache: IndexCache | None = None,
    ):
        super().__init__(dataset, path, NO_INDICES, num_samples, split, config)
        lengths, length = dataset.index.sequence_lengths, config.sequence_length
        self.epochs = StrictEpochs(lengths, length, config.random_seed, cache)
        self.epochs.last = self.epochs.epoch_of(max(0, num_samples - 1))
        self.reader = TokenReader(dataset)
        self.num_samples, self.once = num_samples, once
        if once:
            _check_once(path, num_samples, self.epochs.tokens, length)
        self._once_order = np.random.default_rng([config.random_seed, 0, 3]).permutation(num_samples) if once else None
        self._positions = torch.arange(config.sequence_length)

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict[str, Any]:
        tokens = torch.from_numpy(self.tokens_of(int(index)))
        return {
            "tokens": tokens[:-1].contiguous(),
            "labels": tokens[1:].contiguous(),
            "loss_mask": torch.ones(self.config.sequence_length),
            "position_ids": self._positions.clone(),
            "sample": int(index),
        }

    def describe(self) -> str:
        """One line for the start of a training."""
        tokens = self.epochs.tokens
        epochs = self.num_samples * self.config.sequence_length / tokens
        return f"{'each used once' if self.once else f'{epochs:.2f} strict epochs'} of {tokens:,} tokens"

    def tokens_of(self, index: int) -> np.ndarray:
        """Tokens of a sample and the one after them: int64 [sequence_length + 1]."""
        length, epochs = self.config.sequence_length, self.epochs
        number = epochs.epoch_of(index)
        if self._once_order is not None:
            number, place = 0, int(self._once_order[index])
        else:
            first = epochs.first_sample(number)
            place = first + int(epochs.get(number).shuffle[index - first])
        tokens = np.empty(length + 1, np.int64)
        begin, filled = place * length - number * epochs.tokens, 0
        while filled <= length:
            for document, offset, count in pieces(epochs.get(number), begin, length + 1 - filled):
                self.reader.read(document, offset, tokens[filled : filled + count])
                filled += count
            number, begin = number + 1, 0  # a sample at the end of an epoch reads on in the next
        return tokens


class JointDataset(GPTDataset):
    """Megatron's GPTDataset: all epochs shuffled together, the order depends on the number of samples asked for.

    Args as DocumentDataset's. A blend takes datasets of one class only, so here it also holds those used once: Megatron
    reads as few epochs as the samples need, one.
    """

    def __init__(
        self,
        dataset: IndexedDataset,
        path: str,
        num_samples: int,
        split: Split,
        config: GPTDatasetConfig,
        once: bool = False,
    ):
        self.once = once
        if once:
            _check_once(
                path, num_samples, int(dataset.index.sequence_lengths.sum(dtype=np.int64)), config.sequence_length
            )
        super().__init__(dataset, path, np.arange(len(dataset), dtype=np.int32), num_samples, split, config)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**super().__getitem__(index), "sample": int(index)}

    def describe(self) -> str:
        """One line for the start of a training."""
        return "each used once, in Megatron's order" if self.once else "Megatron's joint shuffle of all epochs"


def _check_once(path: str, samples: int, tokens: int, length: int) -> None:
    available = (tokens - 1) // length
    if samples > available:
        raise ValueError(
            f"{path}: {samples} sequences are to be used once each, but it holds only {available} of {length} tokens"
        )
