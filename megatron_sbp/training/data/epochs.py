"""Strict epochs: repeated documents, separately permuted in each epoch and split into training sequences.

An epoch contains all documents once, in an order that depends only on (seed, epoch). Epochs follow one another as one
stream of tokens, cut every `sequence_length` tokens into samples; a sample also needs the token after its last one, as
that one's label. Samples are shuffled inside the epoch in which they begin. So after k epochs every document was read
exactly k times, and a run of 20 epochs begins exactly like a run of 10: Megatron's GPTDataset does neither.

An epoch in use takes 4 bytes per document and 8 per sample (8 and 12 from 2^32 documents on), whatever the number of
epochs. One billion documents of 800 tokens in sequences of 4,096 are 195 million samples: 5.6 GB, in a file that all
ranks of a node map (index_cache.py); building it takes 7.2 GB of memory. The previous, current, and next epochs are
kept: 17 GB of disk space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED


@dataclass(frozen=True)
class Epoch:
    """One epoch's order.

    Attributes:
        documents: uint32 or int64 [documents], document ids in reading order.
        places: uint32 or int64 [samples that begin in this epoch], in the order in which they are used: the place in
            `documents` where each begins.
        offsets: int32 [samples], the token of that document with which it begins.
    """

    documents: np.ndarray
    places: np.ndarray
    offsets: np.ndarray


class StrictEpochs:
    """Arithmetic of strict epochs over documents of known lengths.

    Args:
        lengths: int32 or int64 [documents], tokens of every document; empty documents are allowed.
        sequence_length: tokens of a training sample.
        seed: seed of all permutations.

    Raises:
        ValueError: documents without a single token.
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
        """Samples entirely within a single epoch, including the label of the last token."""
        return (self.tokens - 1) // self.sequence_length

    def build(self, epoch: int) -> Epoch:
        """Order of one epoch; a pure function of lengths, sequence_length, seed and epoch.

        Takes one shuffle of the documents, one pass over them, and one shuffle of the samples.
        """
        first = self.first_sample(epoch)
        count = self.first_sample(epoch + 1) - first
        begin = first * self.sequence_length - epoch * self.tokens
        return self._build(epoch, begin, count, [self.seed, epoch, 1])

    def build_once(self, samples: int) -> Epoch:
        """Order of the first `samples` sequences of epoch 0, for documents that are used once."""
        return self._build(0, 0, samples, [self.seed, 0, 3])

    def _build(self, epoch: int, begin: int, count: int, seeds: list[int]) -> Epoch:
        documents = permutation(len(self.lengths), [self.seed, epoch, 0])
        places, offsets = _begin_samples(self.lengths, documents, begin, self.sequence_length, count)
        order = permutation(count, seeds)
        places = places[order]
        return Epoch(documents, places, offsets[order])


def permutation(count: int, seeds: list[int]) -> np.ndarray:
    """NumPy's permutation(count) for the seed, with as few bytes as possible: uint32 or int64 [count]."""
    numbers = np.arange(count, dtype=np.uint32 if count < 1 << 32 else np.int64)
    np.random.default_rng(seeds).shuffle(numbers)
    return numbers


@numba.njit(nogil=True, cache=CACHED)
def _begin_samples(
    lengths: np.ndarray, documents: np.ndarray, begin: int, step: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds where tokens begin, begin + step, begin + 2 step... of an epoch are: places in `documents`, of its dtype,
    and offsets int32, both [count]."""
    places, offsets = np.empty(count, documents.dtype), np.empty(count, np.int32)
    start, sample = 0, 0
    for place in range(len(documents)):
        end = start + lengths[documents[place]]
        while sample < len(places) and begin < end:
            places[sample] = place
            offsets[sample] = begin - start
            begin += step
            sample += 1
        start = end
    return places, offsets
