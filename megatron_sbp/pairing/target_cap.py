"""Selects the best seed documents of every target over all pairs of a split, for `pairs.max_seeds_per_target`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa

from megatron_sbp.pairing.pair_rules import rank_within
from megatron_sbp.pairing.target_counts import TargetCounts

_AT_ONCE = 50_000_000
"""Pairs of targets above the cap sorted together: about 2 GB."""


class TargetCap:
    """Decides for each pair whether its seed document is among the best `cap` of its target: by score, then by row.

    Reads the pairs once to count them, and once more for every `_AT_ONCE` pairs of targets above the cap.

    Args:
        read: returns the pairs, table by table, restarting with every call; the columns are those of `ranked_columns`.
        documents: number of all documents.
        cap: seed documents per target.
    """

    def __init__(self, read: Callable[[], Iterable[pa.Table]], documents: int, cap: int):
        counts = TargetCounts(documents)
        for table in read():
            counts.add(ranked_columns(table)[1])
        self._targets = counts.above(cap)
        self._scores = np.empty(len(self._targets), np.float32)
        self._seeds = np.empty(len(self._targets), np.int64)
        for begin, end in ranges_of(counts.of(self._targets), _AT_ONCE):
            self._find_last(read, begin, end, cap)

    def keeps(self, number: int, table: pa.Table) -> np.ndarray:
        """Which pairs of any shard are kept: bool [pairs]."""
        seeds, targets, scores = ranked_columns(table)
        kept = np.ones(len(seeds), bool)
        pairs, places = self._of_hubs(targets)
        last_score, last_seed = self._scores[places], self._seeds[places]
        seeds, scores = seeds[pairs], scores[pairs]
        kept[pairs] = (scores > last_score) | ((scores == last_score) & (seeds <= last_seed))
        return kept

    def _find_last(self, read: Callable[[], Iterable[pa.Table]], begin: int, end: int, cap: int) -> None:
        """Records the last kept pair of each target from begin to end."""
        found = []
        for table in read():
            seeds, targets, scores = ranked_columns(table)
            pairs, places = self._of_hubs(targets)
            mine = (places >= begin) & (places < end)
            found.append((places[mine], scores[pairs[mine]], seeds[pairs[mine]]))
        places, scores, seeds = map(np.concatenate, zip(*found, strict=True))
        order = np.lexsort((seeds, -scores, places))
        last = order[rank_within(places[order]) == cap - 1]
        self._scores[places[last]], self._seeds[places[last]] = scores[last], seeds[last]

    def _of_hubs(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the pairs with a target above the cap, and its index among these targets: int64 [those pairs]
        each."""
        places = np.searchsorted(self._targets, targets)
        hub = places < len(self._targets)
        hub[hub] = self._targets[places[hub]] == targets[hub]
        pairs = np.flatnonzero(hub)
        return pairs, places[pairs]


def ranked_columns(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seeds, targets, and scores for the cap.

    With `instead_of` columns, a random pair is kept or dropped with the mined pair that it replaced: the control has as
    many pairs per seed document as the mined pairs.
    """
    names = ("instead_of_target", "instead_of_score") if "instead_of_target" in table.column_names else _OWN
    return tuple(table[name].to_numpy() for name in ("seed", *names))


_OWN = ("target", "score")


def ranges_of(sizes: np.ndarray, at_once: int) -> Iterator[tuple[int, int]]:
    """Begin and end of consecutive entries with at most `at_once` pairs together, or one entry.

    Args:
        sizes: pairs of each entry, integers [entries].
        at_once: maximum number of pairs together.
    """
    ends = np.cumsum(sizes, dtype=np.int64)
    begin = 0
    while begin < len(sizes):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + at_once, side="right")))
        yield begin, end
        begin = end
