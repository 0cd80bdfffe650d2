"""Packs several pairs into one training sequence by best fit, longest first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.training.data.epochs import permutation
from megatron_sbp.training.data.index_cache import Arrays, IndexCache

WINDOW = 65_536
"""Pairs per window. Larger windows pack slightly better but take longer to sort."""


@dataclass(frozen=True)
class Packing:
    """Assignment of pairs to sequences.

    Attributes:
        order: uint32 or int64 [pairs], pair numbers, sequence after sequence.
        starts: uint32 or int64 [sequences + 1], where each sequence begins in `order`.
        fill: share of the tokens of all sequences that is not padding.
    """

    order: np.ndarray
    starts: np.ndarray
    fill: float

    def __len__(self) -> int:
        return len(self.starts) - 1


def pack(lengths: np.ndarray, sequence_length: int, seed: int) -> Packing:
    """Packs pairs into sequences; a pure function of its arguments.

    Pairs are shuffled, taken in windows, and placed longest first, where the least space remains. Takes 4 bytes per
    pair and 4 per sequence, in addition to the lengths.

    Args:
        lengths: integers [pairs], positions that every pair takes in a sequence.
        sequence_length: positions in a sequence.
        seed: of the shuffle.

    Raises:
        ValueError: a pair that is longer than a sequence, or an empty list of pairs.
    """
    lengths = np.asarray(lengths)
    if lengths.size == 0:
        raise ValueError("there are no pairs to pack")
    if lengths.max() > sequence_length:
        raise ValueError(f"a pair of {lengths.max()} tokens does not fit into a sequence of {sequence_length}")
    order = permutation(len(lengths), [seed, 2])
    counts = []
    for begin in range(0, len(order), WINDOW):
        window = order[begin : begin + WINDOW]
        window = window[np.argsort(-lengths[window].astype(np.int64), kind="stable")]
        bins, total = _best_fit(lengths[window].astype(np.int64), sequence_length)
        order[begin : begin + WINDOW] = window[np.argsort(bins, kind="stable")]
        counts.append(np.bincount(bins, minlength=total).astype(order.dtype))
    starts = np.concatenate([np.zeros(1, order.dtype), *counts]).cumsum(dtype=order.dtype)
    return Packing(order, starts, _fill(lengths, len(starts) - 1, sequence_length))


def shared_packing(lengths: np.ndarray, sequence_length: int, seed: int, name: str, cache: IndexCache) -> Packing:
    """`pack`, computed by the first process that needs it and memory-mapped by the others.

    Args:
        lengths, sequence_length, seed: see `pack`.
        name: of the dataset.
        cache: where the packing is stored.

    Raises:
        ValueError: see `pack`.
        InputError: the cache's folder cannot be written to.
    """

    def build() -> Arrays:
        packing = pack(lengths, sequence_length, seed)
        return {"order": packing.order, "starts": packing.starts}

    identity = {
        "lengths": hashlib.sha256(memoryview(np.ascontiguousarray(lengths)).cast("B")).hexdigest(),
        "sequence_length": sequence_length,
        "seed": seed,
        "window": WINDOW,
    }
    arrays = cache.get(f"{name}-packing", identity, build)
    return Packing(**arrays, fill=_fill(lengths, len(arrays["starts"]) - 1, sequence_length))


def _fill(lengths: np.ndarray, sequences: int, sequence_length: int) -> float:
    return float(lengths.sum(dtype=np.int64) / (sequences * sequence_length))


@numba.njit(cache=CACHED)
def _best_fit(lengths: np.ndarray, room: int) -> tuple[np.ndarray, int]:
    """Bin of every length (given in descending order) and the number of bins."""
    count = len(lengths)
    bins = np.empty(count, np.int64)
    # Bins with the same remaining space are chained: newest[r] is the latest with space r, older[b] precedes bin b.
    newest = np.full(room + 1, -1, np.int64)
    older = np.full(count, -1, np.int64)
    # Number of spaces r in use per block of 64, so that a search skips empty blocks.
    blocks = np.zeros((room >> 6) + 1, np.int64)
    total = 0
    for item in range(count):
        length = lengths[item]
        left = length
        while left <= room and newest[left] < 0:
            left = (left | 63) + 1 if blocks[left >> 6] == 0 else left + 1
        if left <= room:
            chosen = newest[left]
            newest[left] = older[chosen]
            if newest[left] < 0:
                blocks[left >> 6] -= 1
        else:
            chosen, left = total, room
            total += 1
        bins[item] = chosen
        left -= length
        older[chosen] = newest[left]
        if newest[left] < 0:
            blocks[left >> 6] += 1
        newest[left] = chosen
    return bins, total
