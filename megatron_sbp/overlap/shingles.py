"""Shingles: runs of n consecutive tokens, hashed, as the measure of how much two documents share."""

from __future__ import annotations

import numpy as np

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


def shingle_hashes(tokens: np.ndarray, length: int) -> np.ndarray:
    """Distinct hashes of all runs of `length` tokens.

    Args:
        tokens: integers [n].
        length: tokens in a shingle. A document shorter than that is one shingle as a whole.

    Returns:
        uint64 [at most max(1, n - length + 1)], ascending; empty for an empty document. Equal runs have equal hashes on
        every machine; different ones collide with probability 2^-64.
    """
    tokens = np.asarray(tokens).astype(np.uint64)
    if tokens.size == 0:
        return np.empty(0, np.uint64)
    width = min(length, tokens.size)
    count = tokens.size - width + 1
    # The width goes in too, so that a short document never equals the beginning of a long one by its hash.
    hashes = np.full(count, np.uint64(width), np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(width):
            hashes = (hashes ^ (tokens[offset : offset + count] + np.uint64(1))) * _FACTOR
            hashes ^= hashes >> _SHIFT
    return np.unique(hashes)


def shared_fraction(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the shorter document's shingles that stand in the other one (0 when one of them is empty).

    Args:
        first: what `shingle_hashes` gives, as is `second`.
    """
    smaller = min(first.size, second.size)
    if smaller == 0:
        return 0.0
    return np.intersect1d(first, second, assume_unique=True).size / smaller
