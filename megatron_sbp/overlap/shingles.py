"""Shingles (hashed runs of n consecutive tokens) as a measure of the overlap of two documents."""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_ONE = np.uint64(1)


def shingle_hashes(tokens: np.ndarray, length: int) -> np.ndarray:
    """Distinct hashes of all runs of `length` tokens.

    Args:
        tokens: integers [n].
        length: tokens in a shingle. A document shorter than that is one shingle as a whole.

    Returns:
        uint64 [at most max(1, n - length + 1)], ascending; empty for an empty document. Equal runs have equal hashes on
        every machine; different ones collide with probability 2^-64.
    """
    return np.unique(_all(np.asarray(tokens).astype(np.uint64), length))


def shared_fraction(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the shorter document's shingles that the other one also contains (0 if either is empty).

    Args:
        first: result of `shingle_hashes`, like `second`.
    """
    smaller = min(first.size, second.size)
    if smaller == 0:
        return 0.0
    return np.intersect1d(first, second, assume_unique=True).size / smaller


@numba.njit(cache=CACHED)
def hash_at(tokens: np.ndarray, place: int, width: int) -> np.uint64:
    """Hash of the `width` tokens from `place` on, never 0. For compiled code; `tokens` may be any integers."""
    # Includes the width, so the hash of a short document never equals that of the beginning of a long one.
    value = np.uint64(width)
    for offset in range(width):
        value = (value ^ (np.uint64(tokens[place + offset]) + _ONE)) * _FACTOR
        value ^= value >> _SHIFT
    return value if value != np.uint64(0) else _ONE


@numba.njit(cache=CACHED)
def _all(tokens: np.ndarray, length: int) -> np.ndarray:
    width = min(length, tokens.size)
    hashes = np.empty(tokens.size - width + 1 if width else 0, np.uint64)
    for place in range(hashes.size):
        hashes[place] = hash_at(tokens, place, width)
    return hashes
