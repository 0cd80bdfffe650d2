"""How much two documents share, for many pairs at once: the measure of shingles.py, compiled.

Shingles are hashed again for every pair instead of being kept: at the paper's scale they would take hundreds of
gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from megatron_sbp.overlap.hash_table import insert, new_table, slot_of
from megatron_sbp.overlap.shingles import hash_at


@dataclass(frozen=True)
class TokenSpans:
    """Documents as spans of one array of tokens, end-of-document not counted.

    Attributes:
        tokens: integers [all tokens].
        starts: where each document begins, int64 [documents].
        lengths: tokens of each document, int64 [documents].
    """

    tokens: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)


def shared_fractions(documents: TokenSpans, seeds: np.ndarray, targets: np.ndarray, shingle: int) -> np.ndarray:
    """`shingles.shared_fraction` of many pairs.

    Args:
        documents: the N documents.
        seeds: rows, int64 [pairs], in ascending order (a seed's shingles are hashed once).
        targets: rows, int64 [pairs].
        shingle: tokens in a shingle.

    Returns:
        float64 [pairs], between 0 and 1.
    """
    result = np.zeros(len(seeds))
    if len(seeds):
        starts = np.flatnonzero(np.concatenate([[True], seeds[1:] != seeds[:-1]]))
        bounds = np.append(starts, len(seeds))
        _compare(
            *arrays(documents), np.ascontiguousarray(seeds), np.ascontiguousarray(targets), bounds, shingle, result
        )
    return result


def arrays(documents: TokenSpans) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three arrays as compiled code takes them (a memory map as the array that it is)."""
    return np.asarray(documents.tokens), documents.starts, documents.lengths


@numba.njit(parallel=True, cache=True)
def _compare(tokens, starts, lengths, seeds, targets, bounds, shingle, result):
    for group in numba.prange(len(bounds) - 1):
        seed = seeds[bounds[group]]
        table, distinct = hash_set(tokens, starts[seed], lengths[seed], shingle)
        for pair in range(bounds[group], bounds[group + 1]):
            target = targets[pair]
            result[pair] = shared(tokens, starts[target], lengths[target], shingle, table, distinct)


@numba.njit(cache=True)
def shared(tokens, start, length, shingle, table, distinct):
    """Shared part of a document and the one in `table`, which has `distinct` shingles."""
    if length == 0 or distinct == 0:
        return 0.0
    width = min(length, shingle)
    count = length - width + 1
    hashes = np.empty(count, np.uint64)
    any_shared = False
    for place in range(count):
        hashes[place] = hash_at(tokens, start + place, width)
        any_shared |= slot_of(table, hashes[place]) >= 0
    if not any_shared:  # most pairs: nothing to count
        return 0.0
    own = new_table(count)
    own_distinct = 0
    both = 0
    for value in hashes:
        if insert(own, value):
            own_distinct += 1
            if slot_of(table, value) >= 0:
                both += 1
    return both / min(own_distinct, distinct)


@numba.njit(cache=True)
def hash_set(tokens, start, length, shingle):
    """The distinct shingles of a document in an open hash table, and their number."""
    width = min(length, shingle)
    count = length - width + 1 if length > 0 else 0
    table = new_table(count)
    distinct = 0
    for place in range(start, start + count):
        if insert(table, hash_at(tokens, place, width)):
            distinct += 1
    return table, distinct
