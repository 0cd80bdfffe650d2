"""Strict epochs: repeated documents, each epoch a permutation of its own, cut into training sequences.

An epoch is all documents once, in an order that follows from (seed, epoch) alone. Epochs follow one another as one
stream of tokens, cut every `sequence_length` tokens into samples; a sample also needs the token after its last one, as
that one's label. Samples are shuffled inside the epoch in which they begin. So after k epochs every document was read
exactly k times, and a run of 20 epochs begins exactly like a run of 10: Megatron's GPTDataset does neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Epoch:
    """One epoch's order.

    Attributes:
        documents: int64 [documents], document ids in reading order.
        ends: int64 [documents], tokens of this epoch up to and with each document, in that order.
        shuffle: int64 [samples that begin in this epoch], the order in which they are used.
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

    Memory: 16 bytes per document and 8 per sample for each epoch in use (at most two at a time), 8 bytes per document
    for the lengths. Building an epoch is one permutation and one cumulative sum.
    """

    def __init__(self, lengths: np.ndarray, sequence_length: int, seed: int):
        self.lengths = np.asarray(lengths)
        self.sequence_length, self.seed = sequence_length, seed
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

    def build(self, epoch: int) -> Epoch:
        """Order of one epoch; a pure function of lengths, sequence_length, seed and epoch."""
        documents = np.random.default_rng([self.seed, epoch, 0]).permutation(len(self.lengths))
        ends = np.cumsum(self.lengths[documents], dtype=np.int64)
        count = self.first_sample(epoch + 1) - self.first_sample(epoch)
        shuffle = np.random.default_rng([self.seed, epoch, 1]).permutation(count)
        return Epoch(documents, ends, shuffle)


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
