"""Pairs found in both directions, and the choice of `pairs.directions` between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from megatron_sbp.base.pair_keys import pair_keys
from megatron_sbp.pairing.target_cap import ranges_of, ranked_columns
from megatron_sbp.pairing.target_counts import TargetCounts

_AT_ONCE = 50_000_000
"""Pairs sorted together: about 2 GB."""


class Directions:
    """Decides which directions of a pair are kept.

    Reads the pairs once to count them, and once more for every `_AT_ONCE` of them; uses a byte per pair while deciding,
    then a bit. As in `TargetCap`, a control's pair is kept or dropped with the mined pair that it replaced.

    Args:
        read: returns the pairs, shard by shard, restarting with every call.
        documents: number of all documents.
        run_seed: for the coin flip, which depends on it and the two rows.
        mutual: keep only pairs that exist in both directions; otherwise, keep one direction of each pair.
    """

    def __init__(self, read: Callable[[], Iterable[pa.Table]], documents: int, run_seed: int, mutual: bool):
        counts, sizes = TargetCounts(documents), []
        for table in read():
            low, _, _ = _ends(table)
            counts.add(low)
            sizes.append(len(low))
        self._begins = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._sizes = sizes
        chosen = np.zeros(int(self._begins[-1]), bool)
        rows = counts.above(0)
        for begin, end in ranges_of(counts.of(rows), _AT_ONCE):
            self._choose(read, int(rows[begin]), int(rows[end - 1]), run_seed=run_seed, mutual=mutual, chosen=chosen)
        self._bits = [np.packbits(part) for part in np.split(chosen, self._begins[1:-1])]

    def keeps(self, number: int, table: pa.Table) -> np.ndarray:
        """Which pairs of the shard with this number, from 0, are kept: bool [pairs]."""
        assert len(table) == self._sizes[number], (number, len(table), self._sizes[number])
        return np.unpackbits(self._bits[number], count=len(table)).astype(bool)

    def _choose(
        self,
        read: Callable[[], Iterable[pa.Table]],
        first: int,
        last: int,
        *,
        run_seed: int,
        mutual: bool,
        chosen: np.ndarray,
    ) -> None:
        """Marks the kept pairs among those whose lower row is from first to last."""
        found = []
        for begin, table in zip(self._begins, read(), strict=False):
            low, high, forward = _ends(table)
            mine = np.flatnonzero((low >= first) & (low <= last))
            found.append((low[mine], high[mine], forward[mine], begin + mine))
        low, high, forward, places = map(np.concatenate, zip(*found, strict=True))
        order = np.lexsort((high, low))
        low, high, forward, places = low[order], high[order], forward[order], places[order]
        same = (low[1:] == low[:-1]) & (high[1:] == high[:-1])
        both = np.zeros(len(low), bool)
        both[1:] |= same
        both[:-1] |= same
        if mutual:
            chosen[places] = both
        else:
            coin = (pair_keys(low, high, run_seed) & np.uint64(1)).astype(bool)
            chosen[places] = ~both | (coin == forward)


def _ends(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every pair the lower row, the higher row (int64), and whether the lower one is the seed (bool)."""
    seeds, targets, _ = ranked_columns(table)
    return np.minimum(seeds, targets), np.maximum(seeds, targets), seeds < targets
