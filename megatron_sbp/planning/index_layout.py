"""How the index of a corpus's shingles is laid out, and how far its answers can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass

PART_HASHES = 1 << 27
"""Hashes in a part at most, unless more distinct ones fall into it than a random split gives: 1.6 GB while it is
made."""

_PER_BUCKET = 16
REMAINDER_BITS = 32


@dataclass(frozen=True)
class IndexPlan:
    """How an index is laid out. It follows from the lengths of the documents alone.

    Attributes:
        shingles: of the corpus, repeats counted: the index never has more.
        halvings: k; 1 / 2^k of the hashes are kept.
        bucket_bits: b.
        part_bits: the index has 2^part_bits parts.
    """

    shingles: int
    halvings: int
    bucket_bits: int
    part_bits: int

    @property
    def parts(self) -> int:
        """Number of parts."""
        return 1 << self.part_bits

    @property
    def sampled(self) -> float:
        """Share of the hashes that are kept."""
        return 1 / (1 << self.halvings)

    @property
    def bytes(self) -> int:
        """Bytes of the index on disk, where no shingle repeats."""
        return _bytes(self.shingles >> self.halvings, self.bucket_bits)

    def false_positives(self, entries: int) -> float:
        """Probability that a shingle that the corpus does not have is found, in an index of this many hashes."""
        bits = min(REMAINDER_BITS, 64 - self.halvings - self.bucket_bits)
        return entries / 2.0 ** (self.bucket_bits + bits)

    def standard_error(self, share: float, sampled: float) -> float:
        """Standard error of an estimated share of a text's shingles; 0 where all are looked up.

        Args:
            share: the share.
            sampled: distinct shingles of the text that pass the test.
        """
        return math.sqrt(share * (1 - share) / sampled * (1 - self.sampled)) if sampled else math.inf


def layout(shingles: int, at_most: int, part_hashes: int = PART_HASHES) -> IndexPlan:
    """The layout of an index.

    Args:
        shingles: of the corpus, repeats counted.
        at_most: bytes of the index; above them a sample is kept.
        part_hashes: hashes in a part.
    """
    halvings = 0
    while _bytes(shingles >> halvings, _bucket_bits(shingles >> halvings)) > at_most and shingles >> halvings:
        halvings += 1
    kept = shingles >> halvings
    bucket_bits = _bucket_bits(kept)
    return IndexPlan(shingles, halvings, bucket_bits, min(bucket_bits, _bits(-(-kept // part_hashes))))


def _bucket_bits(kept: int) -> int:
    return _bits(-(-kept // _PER_BUCKET))


def _bits(count: int) -> int:
    """Bits that number `count` things."""
    return max(0, count - 1).bit_length()


def _bytes(kept: int, bucket_bits: int) -> int:
    return 4 * kept + 4 * (1 << bucket_bits)
