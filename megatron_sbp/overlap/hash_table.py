"""A set of 64-bit hashes for compiled code: open addressing in one array; 0 marks an empty slot and is never a hash."""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED

_ONE = np.uint64(1)
_EMPTY = np.uint64(0)


@numba.njit(cache=CACHED)
def slots_for(count: int) -> int:
    """Slots of a table with room for `count` entries: a power of two, at least twice as many."""
    size = 4
    while size < 2 * count:
        size *= 2
    return size


@numba.njit(cache=CACHED)
def new_table(count: int) -> np.ndarray:
    """An empty table at most half full with `count` entries: uint64 [`slots_for`]."""
    return np.zeros(slots_for(count), np.uint64)


@numba.njit(cache=CACHED)
def insert(table: np.ndarray, value: np.uint64) -> bool:
    """Inserts a value; returns whether it is new."""
    slot, found = _seek(table, value)
    if not found:
        table[slot] = value
    return not found


@numba.njit(cache=CACHED)
def slot_of(table: np.ndarray, value: np.uint64) -> np.int64:
    """Slot of the value, or -1."""
    slot, found = _seek(table, value)
    return np.int64(slot) if found else np.int64(-1)


@numba.njit(cache=CACHED)
def _seek(table: np.ndarray, value: np.uint64) -> tuple[np.uint64, bool]:
    """Slot of the value or for it, and whether it is present."""
    mask = np.uint64(len(table) - 1)
    slot = (value ^ (value >> np.uint64(32))) & mask
    while table[slot] != _EMPTY:
        if table[slot] == value:
            return slot, True
        slot = (slot + _ONE) & mask
    return slot, False
