"""A running top-k for many rows whose scores come in tiles, on the CPU.

Every row collects the scores above its threshold. A full collection is cut back to the best, and the least of these is
the new threshold; after the first tiles nearly all that is left of the work is one comparison per 16 scores. (faiss
calls its own version of the idea a reservoir.)
"""

from __future__ import annotations

import numba
import numpy as np

_CHUNK = 16
"""Scores whose maximum is compared with the threshold: one vector register, or two."""


class Reservoirs:
    """The best scores of each row among all that were offered to it.

    Args:
        rows: number of rows.
        wanted: scores kept of each row; equal scores are kept in no particular order.
    """

    def __init__(self, rows: int, wanted: int):
        room = 2 * wanted + _CHUNK + 1  # the place after the last one is written to as well
        self._scores = np.empty((rows, room), np.float32)
        self._ids = np.empty((rows, room), np.int64)
        self._counts = np.zeros(rows, np.int64)
        self._thresholds = np.full(rows, -np.inf, np.float32)
        self._wanted = wanted

    def offer(self, begin: int, scores: np.ndarray, first: int) -> None:
        """Takes what is good enough of a tile.

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


@numba.njit(parallel=True, cache=True, fastmath={"nnan", "nsz", "reassoc"})
def _offer(scores, first, kept_scores, kept_ids, counts, thresholds, wanted):
    columns, room = scores.shape[1], kept_scores.shape[1]
    chunks = columns // _CHUNK
    for row in numba.prange(len(scores)):
        threshold, count = thresholds[row], counts[row]
        largest = np.empty(chunks, np.float32)
        mine = scores[row]
        for chunk in range(chunks):
            part = mine[chunk * _CHUNK : chunk * _CHUNK + _CHUNK]
            top = part[0]
            for column in range(_CHUNK):
                top = max(top, part[column])
            largest[chunk] = top
        if count < wanted <= chunks:  # so many scores are at least as large as the wanted-th maximum of a chunk
            threshold = np.nextafter(_cut(largest.copy(), np.empty(chunks, np.int64), chunks, wanted), -np.inf)
        for chunk in range(chunks + 1):
            if chunk < chunks and largest[chunk] <= threshold:
                continue
            begin = chunk * _CHUNK
            part, to_scores, to_ids, new = (
                mine[begin : begin + _CHUNK],
                kept_scores[row, count:],
                kept_ids[row, count:],
                0,
            )
            for column in range(len(part)):  # without a branch that nobody can predict
                to_scores[new] = part[column]
                to_ids[new] = first + begin + column
                new += part[column] > threshold
            count += new
            if count + _CHUNK >= room:
                threshold = _cut(kept_scores[row], kept_ids[row], count, wanted)
                count = wanted
        thresholds[row], counts[row] = threshold, count


@numba.njit(cache=True, fastmath={"nnan", "nsz"})
def _cut(scores, ids, count, wanted):
    """Brings the `wanted` largest of the first `count` scores to the front (Hoare's selection); returns their least."""
    low, high = 0, count - 1
    while low < high:
        pivot = scores[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while scores[left] > pivot:
                left += 1
            while scores[right] < pivot:
                right -= 1
            if left <= right:
                scores[left], scores[right] = scores[right], scores[left]
                ids[left], ids[right] = ids[right], ids[left]
                left += 1
                right -= 1
        if wanted - 1 <= right:
            high = right
        elif wanted - 1 >= left:
            low = left
        else:
            break
    least = scores[0]
    for place in range(1, wanted):
        least = min(least, scores[place])
    return least


@numba.njit(parallel=True, cache=True)
def _finish(kept_scores, kept_ids, counts, wanted):
    for row in numba.prange(len(counts)):
        if counts[row] > wanted:
            _cut(kept_scores[row], kept_ids[row], counts[row], wanted)
        else:
            kept_ids[row, counts[row] : wanted] = -1
