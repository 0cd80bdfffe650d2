"""Pseudo-random numbers of rows that follow from the row and a key alone, whatever else is asked for beside it."""

from __future__ import annotations

import numpy as np


def row_keys(rows: np.ndarray, key: int) -> np.ndarray:
    """64 pseudo-random bits per row.

    Args:
        rows: int64 [n].
        key: any integer; those 2^32 apart are the same.

    Returns:
        uint64 [n].
    """
    values = (rows.astype(np.uint64) + np.uint64(key % 2**32 + 1)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(32))


def pair_keys(first: np.ndarray, second: np.ndarray, key: int) -> np.ndarray:
    """64 pseudo-random bits per pair of rows, uint64 [n]; those of a pair the other way round are others."""
    return row_keys(first, key) ^ row_keys(second, key + 1)
