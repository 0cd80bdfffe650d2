"""Scores of pairs: inner products of float16 vectors, computed in float64, given in float32.

Matrix products add in an order that depends on tile, thread and device, and so differ in the last bits. Ranks are
decided by these scores instead: they depend on nothing but the two vectors, and score(a, b) = score(b, a).
"""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.pairing.neighbors.half_floats import widen
from megatron_sbp.pairing.neighbors.vectors import Vectors

NO_NEIGHBOR = -1
"""Id that fills a row of fewer than k neighbors."""

NO_SCORE = np.float32(-2.0)
"""Score of such an entry: below every inner product of unit vectors."""

_ROWS = 4096
"""Documents that are compared at a time; they fit into a processor's cache."""

_NO_ID = np.uint32(2**32 - 1)
"""NO_NEIGHBOR in 32 bits."""

MARGIN = 16
"""Candidates that a search keeps beyond k, so that its own rounding does not decide which are the k best."""


def inner_products(queries: np.ndarray, ids: np.ndarray, vectors: Vectors) -> np.ndarray:
    """Inner product of every query with each of its candidates.

    Args:
        queries: float32 [n, dimensions] with float16 values.
        ids: rows of `vectors`, int64 [n, m]; NO_NEIGHBOR for none.
        vectors: the documents that are searched.

    Returns:
        float32 [n, m]; NO_SCORE for none.
    """
    scores = np.full(ids.size, NO_SCORE, np.float32)
    flat = ids.ravel()
    order = np.argsort(flat)  # so that every document is read once
    in_order = flat[order]
    room = np.empty((_ROWS, vectors.dimensions), np.float32)
    for place, begin, end in vectors.cuts(_ROWS):
        first = vectors.starts[place] + begin
        mine = order[slice(*np.searchsorted(in_order, (first, first + end - begin)))]
        if mine.size:
            rows, _ = widen(vectors.raw(place, begin, end), room[: end - begin])
            _dot(queries, mine // ids.shape[1], rows, flat[mine] - first, mine, scores)
    return scores.reshape(ids.shape)


def best(ids: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each row, best first, equal scores by ascending id, filled up where there are fewer.

    Args:
        ids: int64 [n, m], NO_NEIGHBOR for none.
        scores: float32 [n, m], NO_SCORE for none.
        k: any number.

    Returns:
        ids int64 [n, k], scores float32 [n, k].
    """
    assert ids.max(initial=0) < _NO_ID, "more documents than 32 bits can number"
    bits = (scores + np.float32(0)).view(np.uint32)  # no -0.0
    descending = np.where(bits >> 31, bits, bits ^ 0x7FFFFFFF)
    keys = descending.astype(np.uint64) << np.uint64(32) | ids.astype(np.uint32)
    keys.sort(axis=1)
    keys = keys[:, :k]
    found = keys.shape[1]
    best_ids = np.full((len(ids), k), NO_NEIGHBOR, np.int64)
    best_scores = np.full((len(ids), k), NO_SCORE, np.float32)
    numbers = keys.astype(np.uint32)
    best_ids[:, :found] = numbers
    best_ids[:, :found][numbers == _NO_ID] = NO_NEIGHBOR
    bits = (keys >> np.uint64(32)).astype(np.uint32)
    best_scores[:, :found] = np.where(bits >> 31, bits, bits ^ 0x7FFFFFFF).view(np.float32)
    return best_ids, best_scores


# Float16 values are multiples of 2^-24, and products of two are multiples of 2^-48: sums below 32 are exact in float64
# in any order, so the compiler may choose one that fills its vector registers.
@numba.njit(parallel=True, cache=True, fastmath={"reassoc"})
def _dot(queries, query_rows, documents, document_rows, places, scores):
    for pair in numba.prange(len(places)):
        query, document = queries[query_rows[pair]], documents[document_rows[pair]]
        total = 0.0
        for dimension in range(query.size):
            total += np.float64(query[dimension] * document[dimension])
        scores[places[pair]] = np.float32(total)
