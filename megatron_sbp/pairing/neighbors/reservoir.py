"""A running top-k for many rows whose scores come in tiles, on the CPU.

Every row collects the scores above its threshold. A full collection is cut back to the best, which gives a new
threshold; after the first tiles nearly all that is left of the work is one comparison per 64 scores. (faiss calls its
own version of the idea a reservoir.)
"""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.pairing.neighbors.machine_code import LANES, above, lowest_bit

_CHUNK = 16
"""Scores of which only the largest counts toward a row's first threshold."""

_LOWEST = np.finfo(np.float32).min


class Reservoirs:
    """The best scores of each row among all that were offered to it.

    Args:
        rows: number of rows.
        wanted: scores kept of each row; equal scores are kept in no particular order.
    """

    def __init__(self, rows: int, wanted: int):
        room = 2 * wanted
        self._scores = np.empty((rows, room), np.float32)
        self._ids = np.empty((rows, room), np.int64)
        self._counts = np.zeros(rows, np.int64)
        self._thresholds = np.full(rows, -np.inf, np.float32)
        self._wanted = wanted

    def offer(self, begin: int, scores: np.ndarray, first: int) -> None:
        """Takes the scores of a tile that are good enough.

        Args:
            begin: row that the first row of the tile belongs to.
            scores: float32 [rows, columns], C-contiguous; -inf is never kept, NaN must not occur.
            first: id of the first column; those after it follow.
        """
        rows = slice(begin, begin + len(scores))
        _offer(
            scores, first, self._scores[rows], self._ids[rows], self._counts[rows], self._thresholds[rows], self._wanted
        )

    def ids(self) -> np.ndarray:
        """Ids of the best scores of each row, int64 [rows, wanted], in no particular order; -1 for none."""
        _finish(self._scores, self._ids, self._counts, self._wanted)
        return np.ascontiguousarray(self._ids[:, : self._wanted])


@numba.njit(nogil=True, cache=CACHED, fastmath={"nnan", "nsz", "reassoc"})
def _offer(  # noqa: PLR0917 - numba has no keyword-only ones
    scores: np.ndarray,
    first: int,
    kept_scores: np.ndarray,
    kept_ids: np.ndarray,
    counts: np.ndarray,
    thresholds: np.ndarray,
    wanted: int,
) -> None:
    columns = scores.shape[1]
    chunks = columns // _CHUNK
    for row in range(len(scores)):
        threshold, count = thresholds[row], counts[row]
        mine, to_scores, to_ids = scores[row], kept_scores[row], kept_ids[row]
        if count < wanted <= chunks:  # this many scores are at least as large as the wanted-th maximum of a chunk
            largest = np.empty(chunks, np.float32)
            for chunk in range(chunks):
                top = mine[chunk * _CHUNK]
                for column in range(chunk * _CHUNK, chunk * _CHUNK + _CHUNK):
                    top = max(top, mine[column])
                largest[chunk] = top
            threshold = np.nextafter(_bound(largest, wanted), np.float32(-np.inf))
        for begin in range(0, columns, LANES):
            better = above(mine, begin, threshold) if begin + LANES <= columns else _above_few(mine[begin:], threshold)
            while better:
                column = begin + lowest_bit(better)
                better &= better - np.uint64(1)
                to_scores[count], to_ids[count] = mine[column], first + column
                count += 1
                if count == to_scores.size:
                    threshold = _cut(to_scores, to_ids, count, wanted)
                    count = wanted
        thresholds[row], counts[row] = threshold, count


@numba.njit(cache=CACHED, fastmath={"nnan", "nsz"})
def _above_few(scores: np.ndarray, threshold: np.float32) -> np.uint64:
    """`above` for fewer than LANES scores."""
    better = np.uint64(0)
    for place in range(scores.size):
        better |= np.uint64(scores[place] > threshold) << np.uint64(place)
    return better


@numba.njit(cache=CACHED, fastmath={"nnan", "nsz", "reassoc"})
def _count(scores: np.ndarray, bound: np.float32) -> np.int32:
    """How many scores are above the bound."""
    found = np.int32(0)
    for place in range(scores.size):
        found += np.int32(scores[place] > bound)
    return found


@numba.njit(cache=CACHED, fastmath={"nnan", "nsz"})
def _bound(scores: np.ndarray, wanted: int) -> np.float32:
    """A bound that at most `wanted` scores are above and at least as many reach; there are that many.

    Halves an interval until it is settled: ten or twenty counts, which the processor does without a branch that it
    cannot predict, cost a third of a selection by swaps.
    """
    low, high = scores[0], scores[0]
    for place in range(scores.size):
        low, high = min(low, scores[place]), max(high, scores[place])
    low = max(np.nextafter(low, np.float32(-np.inf)), _LOWEST)
    if _count(scores, low) < wanted:
        return np.float32(-np.inf)
    while True:  # at least `wanted` are above `low`, fewer are above `high`
        bound = low * np.float32(0.5) + high * np.float32(0.5)
        if bound <= low or bound >= high:
            return high
        found = _count(scores, bound)
        if found == wanted:
            return bound
        if found > wanted:
            low = bound
        else:
            high = bound


@numba.njit(cache=CACHED, fastmath={"nnan", "nsz"})
def _cut(scores: np.ndarray, ids: np.ndarray, count: int, wanted: int) -> np.float32:
    """Brings the `wanted` largest of the first `count` scores to the front; returns what later ones must be above."""
    bound = _bound(scores[:count], wanted)
    spare = wanted - _count(scores[:count], bound)
    new = 0
    for place in range(count):  # without a branch here too
        score, number = scores[place], ids[place]
        scores[new], ids[new] = score, number
        equal = (score == bound) & (spare > 0)
        spare -= equal
        new += (score > bound) | equal
    return bound


@numba.njit(parallel=True, cache=CACHED)
def _finish(kept_scores: np.ndarray, kept_ids: np.ndarray, counts: np.ndarray, wanted: int) -> None:
    for row in numba.prange(len(counts)):
        if counts[row] > wanted:
            _cut(kept_scores[row], kept_ids[row], counts[row], wanted)
        else:
            kept_ids[row, counts[row] : wanted] = -1
