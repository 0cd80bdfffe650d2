"""Training sequences from documents: in strict epochs, or in Megatron's own joint shuffle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.megatron_dataset import MegatronDataset
from megatron.core.datasets.utils import Split

from megatron_sbp.training.epochs import Epoch, StrictEpochs, pieces


class DocumentDataset(MegatronDataset):
    """Sequences of documents in strict epochs (see megatron_sbp.training.epochs).

    Args:
        dataset: documents, one sequence each, closed by end-of-document.
        path: its prefix on disk, for Megatron's bookkeeping.
        num_samples: length of this dataset.
        split: Split.train or Split.valid.
        config: Megatron's configuration; sequence_length, random_seed and tokenizer are used.
        once: no token is used twice: `num_samples` sequences from one epoch.

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
    ):
        super().__init__(dataset, path, np.arange(len(dataset)), num_samples, split, config)
        self.epochs = StrictEpochs(dataset.index.sequence_lengths, config.sequence_length, config.random_seed)
        self.num_samples, self.once = num_samples, once
        if once and num_samples > self.epochs.samples_of_one_epoch():
            raise ValueError(
                f"{path}: {num_samples} sequences are to be used once each, "
                f"but it holds only {self.epochs.samples_of_one_epoch()} of {config.sequence_length} tokens"
            )
        self._once_order = np.random.default_rng([config.random_seed, 0, 3]).permutation(num_samples) if once else None
        self._built: dict[int, Epoch] = {}
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
        number = self.epochs.epoch_of(index)
        if self._once_order is not None:
            number, place = 0, int(self._once_order[index])
        else:
            first = self.epochs.first_sample(number)
            place = first + int(self._epoch(number).shuffle[index - first])
        begin = place * self.config.sequence_length - number * self.epochs.tokens
        parts, missing = [], self.config.sequence_length + 1
        while missing:
            for document, offset, length in pieces(self._epoch(number), begin, missing):
                parts.append(self.dataset.get(document, offset, length))
                missing -= length
            number, begin = number + 1, 0  # a sample at the end of an epoch reads on in the next
        return np.concatenate(parts).astype(np.int64)

    def _epoch(self, number: int) -> Epoch:
        if number not in self._built:
            # Samples are asked for in order, so an epoch and its successor are all that is ever needed.
            for old in [built for built in self._built if abs(built - number) > 1]:
                del self._built[old]
            self._built[number] = self.epochs.build(number)
        return self._built[number]


class JointDataset(GPTDataset):
    """Megatron's GPTDataset: all epochs shuffled together, the order depends on the number of samples asked for."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**super().__getitem__(index), "sample": int(index)}

    def describe(self) -> str:
        """One line for the start of a training."""
        return "Megatron's joint shuffle of all epochs"
