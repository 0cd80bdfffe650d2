"""Pseudo-random numbers of pairs of rows that follow from the pair and a key alone, whatever else is computed."""

from __future__ import annotations

import numpy as np


def pair_keys(first: np.ndarray, second: np.ndarray, key: int) -> np.ndarray:
    """64 pseudo-random bits per pair of rows; the reversed pair gets others.

    Args:
        first: int64 [n].
        second: int64 [n].
        key: any integer; those 2^64 apart are the same.

    Returns:
        uint64 [n].
    """
    found = _mixed(np.full(1, key % 2**64, np.uint64))
    for rows in (first, second):  # one after the other: rows that are alike must not cancel each other out
        found = _mixed(found + rows.astype(np.uint64))
    return found


def _mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele, Lea and Flood, 2014): another value, of the same 64 bits, for every value."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
