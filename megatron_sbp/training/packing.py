"""Packing: several pairs into one training sequence, by best fit, longest first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np

from megatron_sbp.training.index_cache import IndexCache
from megatron_sbp.training.pair_lengths import pair_lengths

SHARED_FROM = 2**18
"""Pairs from which on the packing is written once and mapped by all ranks, where there is a cache."""

WINDOW = 65_536
"""Pairs packed together. Larger windows fill little better and sort longer."""


@dataclass(frozen=True)
class Packing:
    """Which pairs share a sequence.

    Attributes:
        order: int64 [pairs], pair numbers, sequence after sequence.
        starts: int64 [sequences + 1], where each sequence begins in `order`.
        fill: share of the tokens of all sequences that is not padding.
    """

    order: np.ndarray
    starts: np.ndarray
    fill: float

    def __len__(self) -> int:
        return len(self.starts) - 1


def packing_of(sequence_lengths: np.ndarray, room: int, seed: int, cache: IndexCache | None) -> Packing:
    """The packing of a dataset of pairs; a large one is made once for all ranks.

    Args:
        sequence_lengths: integers [2 x pairs], tokens of seed and target in turn.
        room: tokens of a training sequence.
        seed: of the shuffle.
        cache: models/NAME/packing, shared by all ranks, or None.

    Memory: 16 bytes per pair, as pages that the ranks of a node share when there is a cache; about 60 while it is made.
    """
    if cache is None or len(sequence_lengths) < 2 * SHARED_FROM:
        return pack(pair_lengths(sequence_lengths), room, seed)

    def write(folder: Path) -> None:
        packing = pack(pair_lengths(sequence_lengths), room, seed)
        np.save(folder / "order.npy", packing.order)
        np.save(folder / "starts.npy", packing.starts)
        np.save(folder / "fill.npy", packing.fill)

    lengths = hashlib.sha256(np.ascontiguousarray(sequence_lengths)).hexdigest()[:16]
    arrays = cache.arrays(f"{lengths}-into-{room}-by-{seed}", write)
    return Packing(arrays["order"], arrays["starts"], float(arrays["fill"]))


def pack(lengths: np.ndarray, sequence_length: int, seed: int) -> Packing:
    """Packs pairs into sequences; a pure function of its arguments.

    Pairs are shuffled, taken in windows, and inside a window placed longest first where the least room is left over.

    Args:
        lengths: integers [pairs], tokens of a whole pair with its special tokens.
        sequence_length: room of a sequence.
        seed: of the shuffle.

    Raises:
        ValueError: a pair that is longer than a sequence, or an empty list of pairs.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if lengths.size == 0:
        raise ValueError("there are no pairs to pack")
    if lengths.max() > sequence_length:
        raise ValueError(f"a pair of {lengths.max()} tokens does not fit into a sequence of {sequence_length}")
    shuffled = np.random.default_rng([seed, 2]).permutation(len(lengths))
    orders, counts = [], []
    for begin in range(0, len(shuffled), WINDOW):
        window = shuffled[begin : begin + WINDOW]
        window = window[np.argsort(-lengths[window], kind="stable")]
        bins, total = _best_fit(lengths[window], sequence_length)
        orders.append(window[np.argsort(bins, kind="stable")])
        counts.append(np.bincount(bins, minlength=total))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    fill = float(lengths.sum() / ((len(starts) - 1) * sequence_length))
    return Packing(np.concatenate(orders), starts, fill)


@numba.njit(cache=True)
def _best_fit(lengths: np.ndarray, room: int) -> tuple[np.ndarray, int]:
    """Bin of every length (given in descending order) and the number of bins."""
    count = len(lengths)
    bins = np.empty(count, np.int64)
    # Bins with the same room left are chained: newest[r] is the latest with room r, older[b] the one before bin b.
    newest = np.full(room + 1, -1, np.int64)
    older = np.full(count, -1, np.int64)
    total = 0
    for item in range(count):
        length = lengths[item]
        left = length
        while left <= room and newest[left] < 0:
            left += 1
        if left <= room:
            chosen = newest[left]
            newest[left] = older[chosen]
        else:
            chosen, left = total, room
            total += 1
        bins[item] = chosen
        left -= length
        older[chosen] = newest[left]
        newest[left] = chosen
    return bins, total
