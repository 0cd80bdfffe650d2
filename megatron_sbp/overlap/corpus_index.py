"""On-disk index of all shingles of a corpus: their hashes, or a sample of them.

The index is a set of 64-bit hashes, mixed once more to randomize all bits:

    | k bits, all zero | b bits: the bucket | 32 bits: the remainder | not kept |

Only hashes whose first k bits are zero are kept, which is 1/2^k of them; a text is looked up by those of its own
shingles that pass the same test. The test depends only on the shingle, so the share found among them is an unbiased
estimate of the share among all. A bucket is an ascending run of remainders, 8 to 16 on average if no shingle repeats. A
shingle that is not in the corpus is found with probability `IndexPlan.false_positives`.

The index is built in parts, each for a different range of buckets and with bounded memory, and memory-mapped by its
readers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

from megatron_sbp.base import arrays
from megatron_sbp.base.compiling import CACHED
from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.overlap.shared_shingles import arrays as spans_as_arrays
from megatron_sbp.overlap.shingles import hash_at, shingle_hashes
from megatron_sbp.planning.index_layout import PART_HASHES, REMAINDER_BITS, IndexPlan, layout

_ROOM = 1 << 12
"""Extra capacity of a part's table beyond the expected number of hashes."""

_AT_ONCE = 1 << 22


def plan_index(
    lengths: np.ndarray, shingle: int, at_most: int, part_hashes: int = PART_HASHES, closing: int = 0
) -> IndexPlan:
    """Layout of a corpus index.

    Args:
        lengths: tokens of every document: integers [documents].
        shingle: tokens in a shingle.
        at_most: maximum size of the index in bytes; a larger index is sampled.
        part_hashes: hashes in a part.
        closing: tokens in every length that are not part of the document.
    """
    return layout(_count(lengths, shingle, closing), at_most, part_hashes)


def _count(lengths: np.ndarray, shingle: int, closing: int) -> int:
    count = 0
    for begin in range(0, len(lengths), 1 << 20):  # memory-mapped, and many
        some = lengths[begin : begin + (1 << 20)].astype(np.int64) - closing
        count += int(np.maximum(some[some > 0] - (shingle - 1), 1).sum())
    return count


def write_part(
    documents: TokenSpans, shingle: int, plan: IndexPlan, part: int, *, starts: Path, remainders: Path
) -> int:
    """Writes one part of an index, each file atomically.

    Memory: 12 bytes for every hash of the part, and half as much again if it gets more distinct hashes than a random
        split would give.

    Args:
        documents: the corpus.
        shingle: tokens in a shingle.
        plan: of the index.
        part: its number, from 0.
        starts: uint32 [buckets of the part + 1], where each bucket begins.
        remainders: uint32 [hashes of the part], bucket after bucket, ascending within each.

    Returns:
        The number of hashes.
    """
    found = _distinct(documents, shingle, plan, part)
    assert len(found) < 1 << 32, "a part has fewer hashes than its buckets can begin at"
    buckets = 1 << (plan.bucket_bits - plan.part_bits)
    firsts = np.arange(part * buckets, (part + 1) * buckets, dtype=np.uint64)
    if plan.bucket_bits:
        firsts <<= np.uint64(64 - plan.bucket_bits)
    arrays.save(starts, np.append(np.searchsorted(found, firsts), len(found)).astype(np.uint32))
    rest = np.empty(len(found), np.uint32)
    for begin in range(0, len(found), _AT_ONCE):
        rest[begin : begin + _AT_ONCE] = _remainders(found[begin : begin + _AT_ONCE], plan)
    arrays.save(remainders, rest)
    return len(found)


class _Wanted(NamedTuple):
    """Hash range of a part, as passed to compiled code: see `IndexPlan`."""

    shingle: int
    halvings: int
    part_bits: int
    part: int


def _distinct(documents: TokenSpans, shingle: int, plan: IndexPlan, part: int) -> np.ndarray:
    """The kept hashes of a part without their leading zeros: uint64, ascending."""
    expected = plan.shingles >> plan.halvings >> plan.part_bits
    # A random split varies by the square root; untouched pages take no memory.
    buffer = np.empty(expected + 8 * math.isqrt(expected) + _ROOM, np.uint64)
    spans, wanted = spans_as_arrays(documents), _Wanted(shingle, plan.halvings, plan.part_bits, part)
    count, row = 0, 0
    while True:
        row, count = _collect(spans, row, wanted, buffer, count)
        buffer[:count].sort()
        count = _compact(buffer, count)
        if row == len(documents):
            return buffer[:count]
        needed = count + int(documents.lengths[row])
        if needed > len(buffer) * 3 // 4:  # otherwise, sorting has freed enough to continue for a while
            buffer.resize(max(needed, len(buffer) * 3 // 2), refcheck=False)


def _top(values: np.ndarray, bits: int) -> np.ndarray:
    """The first bits of 64."""
    return values >> np.uint64(64 - bits) if bits else np.zeros_like(values)


def _remainders(values: np.ndarray, plan: IndexPlan) -> np.ndarray:
    return ((values << np.uint64(plan.bucket_bits)) >> np.uint64(64 - REMAINDER_BITS)).astype(np.uint32)


class CorpusIndex:
    """A memory-mapped index.

    Args:
        plan: of the index.
        parts: the files of each part: `starts` and `remainders`, see `write_part`.
        shingle: tokens in a shingle.
    """

    def __init__(self, plan: IndexPlan, parts: Sequence[tuple[Path, Path]], shingle: int):
        assert len(parts) == plan.parts, (len(parts), plan)
        self.plan, self.shingle = plan, shingle
        self._parts = [(np.load(starts, mmap_mode="r"), np.load(rest, mmap_mode="r")) for starts, rest in parts]

    def __len__(self) -> int:
        """Hashes in the index."""
        return sum(len(rest) for _, rest in self._parts)

    def counts(self, texts: Sequence[np.ndarray]) -> np.ndarray:
        """Counts the shingles of each text that the corpus contains.

        Args:
            texts: tokens of each, without end-of-document: integers [n].

        Returns:
            int64 [texts, 2]: distinct shingles found, and distinct shingles looked up.
        """
        hashes = [_kept(shingle_hashes(tokens, self.shingle), self.plan.halvings) for tokens in texts]
        result = np.zeros((len(texts), 2), np.int64)
        result[:, 1] = [len(part) for part in hashes]
        if result[:, 1].sum():
            values = np.concatenate(hashes)
            owners = np.repeat(np.arange(len(texts)), result[:, 1])
            np.add.at(result[:, 0], owners[self._found(values)], 1)
        return result

    def _found(self, values: np.ndarray) -> np.ndarray:
        plan = self.plan
        remainders = _remainders(values, plan)
        parts = _top(values, plan.part_bits)
        buckets = _top(values << np.uint64(plan.part_bits), plan.bucket_bits - plan.part_bits)
        found = np.zeros(len(values), np.bool_)
        for part in np.unique(parts).tolist():
            mine = np.flatnonzero(parts == part)
            starts, rest = self._parts[part]
            found[mine] = _look_up(np.asarray(starts), np.asarray(rest), buckets[mine], remainders[mine])
        return found


def part_files(starts: Path, remainders: Path, plan: IndexPlan) -> Iterator[tuple[Path, Path]]:
    """The files of every part, in two folders, in order."""
    for part in range(plan.parts):
        yield starts / f"{part:05d}.npy", remainders / f"{part:05d}.npy"


@numba.njit(cache=CACHED)
def _mixed(value: np.uint64) -> np.uint64:
    """MurmurHash3's finalizer: a bijection in which every output bit depends on all input bits."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> np.uint64(33)
    return value


@numba.njit(cache=CACHED)
def _kept(hashes: np.ndarray, halvings: int) -> np.ndarray:
    """The mixed hashes that pass the test, without their leading zeros."""
    result = np.empty(len(hashes), np.uint64)
    count = 0
    for place in range(len(hashes)):
        value = _mixed(hashes[place])
        if halvings == 0 or value >> np.uint64(64 - halvings) == np.uint64(0):
            result[count] = value << np.uint64(halvings)
            count += 1
    return result[:count]


@numba.njit(cache=CACHED)
def _collect(
    documents: tuple[np.ndarray, np.ndarray, np.ndarray], row: int, wanted: _Wanted, buffer: np.ndarray, count: int
) -> tuple[int, int]:
    """Adds the hashes of a part to the buffer, document after document, until one might not fit: its row, and the
    number of hashes in the buffer."""
    tokens, starts, lengths = documents
    shingle, halvings, part_bits, part = wanted
    while row < len(lengths):
        length = lengths[row]
        if count + length > len(buffer):
            break
        width = min(length, shingle)
        places = length - width + 1 if length > 0 else 0
        for place in range(starts[row], starts[row] + places):
            value = _mixed(hash_at(tokens, place, width))
            if halvings == 0 or value >> np.uint64(64 - halvings) == np.uint64(0):
                value <<= np.uint64(halvings)
                if part_bits == 0 or value >> np.uint64(64 - part_bits) == np.uint64(part):
                    buffer[count] = value
                    count += 1
        row += 1
    return row, count


@numba.njit(cache=CACHED)
def _compact(values: np.ndarray, count: int) -> int:
    """Moves the distinct values of a sorted array to the front; returns their number."""
    kept = min(count, 1)
    for place in range(1, count):
        if values[place] != values[kept - 1]:
            values[kept] = values[place]
            kept += 1
    return kept


@numba.njit(cache=CACHED)
def _look_up(starts: np.ndarray, remainders: np.ndarray, buckets: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    found = np.zeros(len(wanted), np.bool_)
    for place in range(len(wanted)):
        low, high = np.int64(starts[buckets[place]]), np.int64(starts[buckets[place] + np.uint64(1)])
        end = high
        while low < high:
            middle = (low + high) // 2
            if remainders[middle] < wanted[place]:
                low = middle + 1
            else:
                high = middle
        found[place] = low < end and remainders[low] == wanted[place]
    return found
