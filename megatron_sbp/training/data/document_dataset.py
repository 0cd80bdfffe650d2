"""Training sequences from documents: in strict epochs, or in Megatron's own joint shuffle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.megatron_dataset import MegatronDataset
from megatron.core.datasets.utils import Split

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.training.data.epochs import Epoch, StrictEpochs
from megatron_sbp.training.data.index_cache import Arrays, IndexCache
from megatron_sbp.training.data.token_reader import TokenReader

SMALL = 1 << 20
"""Maximum number of documents plus samples of an epoch that every process computes for itself (at most 12 MB, 0.1
s)."""


class DocumentDataset(MegatronDataset):
    """Sequences of documents in strict epochs (see megatron_sbp.training.data.epochs).

    Args:
        dataset: documents, one sequence each, ending with end-of-document.
        path: its prefix on disk, for Megatron's bookkeeping.
        num_samples: length of this dataset.
        split: Split.train or Split.valid.
        config: Megatron's configuration; sequence_length, random_seed and tokenizer are used.
        once: no token is used twice: `num_samples` sequences from one epoch.
        cache: location of the orders of large epochs, shared by all processes; without it, each computes its own.

    Items: tokens, labels and position_ids int64 [sequence_length], loss_mask float32 [sequence_length] (all ones),
    sample int (the item's number). The last three are shared between items, and tokens and labels overlap: copy before
    writing (a batch is a copy).

    An epoch's order is computed when its first sample is read, and the next one in a background thread.

    Raises:
        ValueError: `once` with more samples than one epoch holds; documents without tokens.
    """

    def __init__(
        self,
        dataset: IndexedDataset,
        path: str,
        num_samples: int,
        split: Split,
        config: GPTDatasetConfig,
        *,
        once: bool = False,
        cache: IndexCache | None = None,
    ):
        # Megatron's list of documents is not used here, and an array would take 8 bytes for each.
        super().__init__(dataset, path, range(len(dataset)), num_samples, split, config)
        self.reader = TokenReader(dataset)
        self.epochs = StrictEpochs(self.reader.lengths, config.sequence_length, config.random_seed)
        self.num_samples, self.once = num_samples, once
        if once:
            _check_once(num_samples, self.epochs.samples_of_one_epoch(), config.sequence_length)
        size = len(dataset) + self.epochs.tokens // config.sequence_length
        self._cache = cache if size > SMALL else None
        self._name = Path(path).name
        self._identity: JsonObject = {}
        if self._cache:
            self._identity = {
                "lengths": hashlib.sha256(memoryview(self.reader.lengths).cast("B")).hexdigest(),
                "sequence_length": config.sequence_length,
                "seed": config.random_seed,
                "once": num_samples if once else None,
            }
        self._built: dict[int, Epoch] = {}
        self._positions = torch.arange(config.sequence_length)
        self._mask = torch.ones(config.sequence_length)

    def __getstate__(self) -> dict[str, object]:
        """Omits mapped files and everything that can be recomputed: loaders pickle datasets if workers are not
        forked."""
        return {**self.__dict__, "epochs": None, "_built": {}}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.epochs = StrictEpochs(self.reader.lengths, self.config.sequence_length, self.config.random_seed)

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict[str, int | torch.Tensor]:
        tokens = torch.from_numpy(self.tokens_of(int(index)))
        return {
            "tokens": tokens[:-1],
            "labels": tokens[1:],
            "loss_mask": self._mask,
            "position_ids": self._positions,
            "sample": int(index),
        }

    def describe(self) -> str:
        """One line for the start of a training run."""
        tokens = self.epochs.tokens
        epochs = self.num_samples * self.config.sequence_length / tokens
        return f"{'each used once' if self.once else f'{epochs:.2f} strict epochs'} of {tokens:,} tokens"

    def tokens_of(self, index: int) -> np.ndarray:
        """Tokens of a sample and the one after them: int64 [sequence_length + 1]."""
        number = 0 if self.once else self.epochs.epoch_of(index)
        place = index if self.once else index - self.epochs.first_sample(number)
        epoch = self._epoch(number)
        tokens = np.empty(self.epochs.sequence_length + 1, np.int64)
        filled = self.reader.documents(epoch.documents, int(epoch.places[place]), int(epoch.offsets[place]), tokens)
        while filled < len(tokens):  # a sample at the end of an epoch continues in the next
            number += 1
            filled = self.reader.documents(self._epoch(number).documents, 0, 0, tokens, filled)
        return tokens

    def _epoch(self, number: int) -> Epoch:
        if number not in self._built:
            # Samples are requested in order, so an epoch and its successor are all that is ever needed.
            for old in [built for built in self._built if abs(built - number) > 1]:
                del self._built[old]
            self._built[number] = self._make(number)
        return self._built[number]

    def _make(self, number: int) -> Epoch:
        if self._cache is None:
            return self._build(number)
        arrays = self._cache.get(*self._request(number))
        if number >= 2:  # others may still be in the previous epoch
            self._cache.discard(self._label(number - 2))
        if not self.once and self.num_samples * self.epochs.sequence_length // self.epochs.tokens > number:
            self._cache.prepare(*self._request(number + 1))
        return Epoch(**arrays)

    def _build(self, number: int) -> Epoch:
        return self.epochs.build_once(self.num_samples) if self.once else self.epochs.build(number)

    def _request(self, number: int) -> tuple[str, JsonObject, Callable[[], Arrays]]:
        return self._label(number), {**self._identity, "epoch": number}, lambda: vars(self._build(number))

    def _label(self, number: int) -> str:
        return f"{self._name}-{'once' if self.once else f'{number:05d}'}"


class JointDataset(GPTDataset):
    """Megatron's GPTDataset: all epochs shuffled together, the order depends on the number of samples requested.

    Args:
        once: no token is used twice.

    The other arguments are those of GPTDataset.

    Raises:
        ValueError: `once` with more samples than one epoch holds.
    """

    def __init__(  # noqa: PLR0917 - Megatron's signature
        self,
        dataset: IndexedDataset,
        path: str,
        indices: np.ndarray,
        num_samples: int,
        split: Split,
        config: GPTDatasetConfig,
        *,
        once: bool = False,
    ):
        if once:
            available = (int(dataset.sequence_lengths.sum(dtype=np.int64)) - 1) // config.sequence_length
            _check_once(num_samples, available, config.sequence_length)
        super().__init__(dataset, path, indices, num_samples, split, config)
        self.once = once

    def __getitem__(self, index: int) -> dict[str, int | torch.Tensor]:
        return {**super().__getitem__(index), "sample": int(index)}

    def describe(self) -> str:
        """One line for the start of a training run."""
        return "each used once, in Megatron's order" if self.once else "Megatron's joint shuffle of all epochs"


def _check_once(samples: int, available: int, length: int) -> None:
    if samples > available:
        raise ValueError(
            f"{samples} sequences are to be used once each, but it holds only {available} of {length} tokens"
        )
