"""Pseudo-random numbers for pairs of rows that depend on the pair and a key alone."""

from __future__ import annotations

import numpy as np


def pair_keys(first: np.ndarray, second: np.ndarray, key: int) -> np.ndarray:
    """64 pseudo-random bits per pair of rows; the reversed pair gets different ones.

    Args:
        first: int64 [n].
        second: int64 [n].
        key: any integer, taken modulo 2^64.

    Returns:
        uint64 [n].
    """
    found = _mixed(np.full(1, key % 2**64, np.uint64))
    for rows in (first, second):  # mixed one after the other, so that equal rows do not cancel out
        found = _mixed(found + rows.astype(np.uint64))
    return found


def _mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele, Lea and Flood, 2014): a permutation of 64-bit values."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
