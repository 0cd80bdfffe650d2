"""Strict epochs: repeated documents, each epoch a permutation of its own, cut into training sequences.

An epoch is all documents once, in an order that follows from (seed, epoch) alone. Epochs follow one another as one
stream of tokens, cut every `sequence_length` tokens into samples; a sample also needs the token after its last one, as
that one's label. Samples are shuffled inside the epoch in which they begin. So after k epochs every document was read
exactly k times, and a run of 20 epochs begins exactly like a run of 10: Megatron's GPTDataset does neither.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatron_sbp.training.index_cache import IndexCache

SHARED_FROM = 2**20
"""Documents from which on an epoch's order is written once and mapped by all ranks, where there is a cache."""

CHUNK = 2**24
"""Documents whose lengths are added up at a time."""


@dataclass(frozen=True)
class Epoch:
    """One epoch's order.

    Attributes:
        documents: uint32 (int64 from 2^32 on) [documents], document ids in reading order.
        ends: int64 [documents], tokens of this epoch up to and with each document, in that order.
        shuffle: uint32 (or int64) [samples that begin in this epoch], the order in which they are used.
    """

    documents: np.ndarray
    ends: np.ndarray
    shuffle: np.ndarray


class StrictEpochs:
    """Arithmetic of strict epochs over documents of known lengths.

    Args:
        lengths: int32 or int64 [documents], tokens of every document; empty documents are allowed.
        sequence_length: tokens of a training sample.
        seed: seed of all permutations.

        cache: shared by all ranks, for large datasets; None keeps every epoch in this process's memory.
        last: the last epoch that will be asked for; the one after the present is built ahead up to it.

    Memory: 12 bytes per document and 4 per sample for each epoch in use, at most two at a time; with a cache these are
    pages of a file that all ranks of a node share. Building takes 8 bytes per document more, in one process. A billion
    documents: 12 GB on disk per epoch, and 8 GB for as long as it is built. The number of epochs costs nothing.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        sequence_length: int,
        seed: int,
        cache: IndexCache | None = None,
        last: int | None = None,
    ):
        self.lengths = np.asarray(lengths)
        self.sequence_length, self.seed, self.last = sequence_length, seed, last
        self._cache = cache if len(self.lengths) >= SHARED_FROM else None
        self._held: dict[int, Epoch] = {}
        self.tokens = int(self.lengths.sum(dtype=np.int64))
        if self.tokens == 0:
            raise ValueError("the dataset has no tokens")

    def first_sample(self, epoch: int) -> int:
        """The first sample that begins in `epoch`."""
        return -(-epoch * self.tokens // self.sequence_length)

    def epoch_of(self, sample: int) -> int:
        """The epoch in which a sample begins."""
        return sample * self.sequence_length // self.tokens

    def samples_of_one_epoch(self) -> int:
        """Samples that lie wholly in a single epoch, the label of the last token included."""
        return (self.tokens - 1) // self.sequence_length

    def get(self, epoch: int) -> Epoch:
        """The order of an epoch, held until a later one but the next is asked for."""
        if epoch not in self._held:
            # Samples are asked for in order, so an epoch and its successor are all that is ever needed.
            for old in [held for held in self._held if abs(held - epoch) > 1]:
                del self._held[old]
                if self._cache and old < epoch:
                    self._cache.drop(self._name(old))
            self._held[epoch] = self._shared(epoch) if self._cache else self.build(epoch)
            if self._cache and self.last is not None and epoch < self.last:
                # In the background, so that nobody waits at the epoch's end.
                threading.Thread(target=self._shared, args=(epoch + 1,), daemon=True).start()
        return self._held[epoch]

    def _shared(self, epoch: int) -> Epoch:
        assert self._cache
        return Epoch(**self._cache.arrays(self._name(epoch), lambda folder: self._write(epoch, folder)))

    def _name(self, epoch: int) -> str:
        return f"epoch-{epoch:05d}-of-{len(self.lengths)}-by-{self.seed}"

    def build(self, epoch: int) -> Epoch:
        """Order of one epoch in memory; a pure function of lengths, sequence_length, seed and epoch."""
        documents = self._documents(epoch)
        ends = np.empty(len(documents), np.int64)
        self._add_up(documents, ends)
        return Epoch(documents, ends, self._shuffle(epoch))

    def _write(self, epoch: int, folder: Path) -> None:
        documents = self._documents(epoch)
        np.save(folder / "documents.npy", documents)
        ends = np.lib.format.open_memmap(folder / "ends.npy", "w+", np.int64, documents.shape)
        self._add_up(documents, ends)
        ends.flush()
        np.save(folder / "shuffle.npy", self._shuffle(epoch))

    def _documents(self, epoch: int) -> np.ndarray:
        return _small(np.random.default_rng([self.seed, epoch, 0]).permutation(len(self.lengths)))

    def _shuffle(self, epoch: int) -> np.ndarray:
        count = self.first_sample(epoch + 1) - self.first_sample(epoch)
        return _small(np.random.default_rng([self.seed, epoch, 1]).permutation(count))

    def _add_up(self, documents: np.ndarray, ends: np.ndarray) -> None:
        total = 0
        for begin in range(0, len(documents), CHUNK):
            part = ends[begin : begin + CHUNK]
            np.cumsum(self.lengths[documents[begin : begin + CHUNK]], dtype=np.int64, out=part)
            part += total
            total = int(part[-1])


def _small(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.uint32) if len(numbers) < 2**32 else numbers


def pieces(epoch: Epoch, begin: int, length: int) -> list[tuple[int, int, int]]:
    """Where `length` tokens from token `begin` of an epoch lie: (document, offset, tokens) in reading order.

    Fewer tokens come back when the epoch ends first.
    """
    found = []
    place = int(np.searchsorted(epoch.ends, begin, side="right"))
    while length > 0 and place < len(epoch.ends):
        end = int(epoch.ends[place])
        start = int(epoch.ends[place - 1]) if place else 0
        take = min(length, end - begin)
        if take > 0:
            found.append((int(epoch.documents[place]), begin - start, take))
            begin += take
            length -= take
        place += 1
    return found
