"""Overlap of many pairs of documents: a compiled version of the measure in shingles.py.

Shingles are hashed again for every pair instead of being kept: at the paper's scale they would take hundreds of
gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.overlap.hash_table import insert, new_table, slot_of

_FACTOR, _SHIFT, _ONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(29), np.uint64(1)


@dataclass(frozen=True)
class TokenSpans:
    """Documents as spans of one array of tokens, excluding end-of-document.

    Attributes:
        tokens: integers [all tokens].
        starts: start of each document, int64 [documents].
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
    if not len(seeds):
        return np.zeros(0)
    starts = np.flatnonzero(np.concatenate([[True], seeds[1:] != seeds[:-1]]))
    bounds = np.append(starts, len(seeds))
    return _compare(arrays(documents), np.ascontiguousarray(seeds), np.ascontiguousarray(targets), bounds, shingle)


def arrays(documents: TokenSpans) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three arrays as arguments of compiled code (memory maps as plain arrays)."""
    return np.asarray(documents.tokens), documents.starts, documents.lengths


@numba.njit(parallel=True, cache=CACHED)
def _compare(
    documents: tuple[np.ndarray, np.ndarray, np.ndarray],
    seeds: np.ndarray,
    targets: np.ndarray,
    bounds: np.ndarray,
    shingle: int,
) -> np.ndarray:
    tokens, starts, lengths = documents
    result = np.zeros(len(seeds))
    for group in numba.prange(len(bounds) - 1):
        seed = seeds[bounds[group]]
        seed_shingles = hash_set(tokens, starts[seed], lengths[seed], shingle)
        for pair in range(bounds[group], bounds[group + 1]):
            target = targets[pair]
            result[pair] = shared(tokens, starts[target], lengths[target], shingle, seed_shingles)
    return result


@numba.njit(cache=CACHED)
def shared(tokens: np.ndarray, start: int, length: int, shingle: int, others: tuple[np.ndarray, int]) -> float:
    """Shared fraction of a document and the one with the `hash_set` `others`."""
    table, distinct = others
    if length == 0 or distinct == 0:
        return 0.0
    width = min(length, shingle)
    hashes = _rolling(tokens, start, length, width)
    any_shared = False
    for value in hashes:
        any_shared |= slot_of(table, value) >= 0
    if not any_shared:  # most pairs: nothing to count
        return 0.0
    own = new_table(len(hashes))
    own_distinct = 0
    both = 0
    for value in hashes:
        if insert(own, value):
            own_distinct += 1
            if slot_of(table, value) >= 0:
                both += 1
    return both / min(own_distinct, distinct)


@numba.njit(cache=CACHED)
def hash_set(tokens: np.ndarray, start: int, length: int, shingle: int) -> tuple[np.ndarray, int]:
    """The distinct shingles of a document in an open hash table, and their number."""
    width = min(length, shingle)
    hashes = _rolling(tokens, start, length, width)
    table = new_table(len(hashes))
    distinct = 0
    for value in hashes:
        if insert(table, value):
            distinct += 1
    return table, distinct


@numba.njit(cache=CACHED)
def _rolling(tokens: np.ndarray, start: int, length: int, width: int) -> np.ndarray:
    """Hashes of all shingles of a document, each from the one before it; never 0, and never on disk.

    The sum of mixed(token) * _FACTOR ** (tokens after it) modulo 2^64: a few operations per shingle of any width.
    """
    hashes = np.empty(length - width + 1 if length > 0 else 0, np.uint64)
    mixed = np.empty(length, np.uint64)
    for place in range(length):
        value = (np.uint64(tokens[start + place]) + _ONE) * _FACTOR
        value = (value ^ (value >> _SHIFT)) * _FACTOR
        mixed[place] = value ^ (value >> _SHIFT)
    highest = _ONE  # _FACTOR ** width
    for _ in range(width):
        highest *= _FACTOR
    # Includes the width, so the hash of a short document never equals that of the beginning of a long one.
    total, widths = np.uint64(0), np.uint64(width) * _FACTOR
    for place in range(length):
        total = total * _FACTOR + mixed[place]
        if place >= width:
            total -= mixed[place - width] * highest
        if place >= width - 1:
            value = total ^ widths
            value ^= value >> _SHIFT
            hashes[place - width + 1] = value if value != np.uint64(0) else _ONE
    return hashes
