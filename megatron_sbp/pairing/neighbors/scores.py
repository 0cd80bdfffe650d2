"""Scores of pairs: inner products of float16 vectors, computed in float64, given in float32.

Matrix products add in an order that depends on tile, thread and device, and so differ in the last bits. Ranks are
decided by these scores instead: they depend on nothing but the two vectors, and score(a, b) = score(b, a).
"""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.pairing.neighbors.machine_code import half_to_float, prefetch
from megatron_sbp.pairing.neighbors.vectors import Vectors

NO_NEIGHBOR = -1
"""Id that fills a row of fewer than k neighbors."""

NO_SCORE = np.float32(-2.0)
"""Score of such an entry: below every inner product of unit vectors."""

_ROWS = 8192
"""Documents that are compared at a time: 16 MB of 1,024 dimensions, which a processor's last cache holds."""

_PAIRS = 512
"""Pairs that a thread takes at a time."""

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
    cuts = list(vectors.cuts(_ROWS))
    bounds = np.array([vectors.starts[place] + begin for place, begin, _ in cuts] + [len(vectors)])
    order, starts = _by_cut(flat, bounds)
    for number, (place, begin, end) in enumerate(cuts):
        mine = order[starts[number] : starts[number + 1]]
        if mine.size:
            documents = vectors.raw(place, begin, end).view(np.uint16)
            _dot(queries, documents, flat, bounds[number], mine, ids.shape[1], scores)
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


@numba.njit(cache=CACHED)
def _by_cut(flat: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the ids in `flat` that are not NO_NEIGHBOR, cut by cut and in order; where each cut's begin."""
    cut_of = np.empty(flat.size, np.int32)
    starts = np.zeros(bounds.size, np.int64)
    for place in range(flat.size):
        if flat[place] >= 0:
            cut_of[place] = np.searchsorted(bounds, flat[place], side="right") - 1
            starts[cut_of[place] + 1] += 1
    starts = np.cumsum(starts)
    order, next_of = np.empty(starts[-1], np.int64), starts.copy()
    for place in range(flat.size):
        if flat[place] >= 0:
            order[next_of[cut_of[place]]] = place
            next_of[cut_of[place]] += 1
    return order, starts


# Float16 values are multiples of 2^-24, and products of two are multiples of 2^-48: sums below 32 are exact in float64
# in any order, so the compiler may choose one that fills its vector registers. Two loops are faster than one.
@numba.njit(parallel=True, cache=CACHED, fastmath={"reassoc"})
def _dot(  # noqa: PLR0917 - numba has no keyword-only ones
    queries: np.ndarray,
    documents: np.ndarray,
    flat: np.ndarray,
    first: int,
    places: np.ndarray,
    width: int,
    scores: np.ndarray,
) -> None:
    dimensions = queries.shape[1]
    for block in numba.prange((len(places) + _PAIRS - 1) // _PAIRS):
        products = np.empty(dimensions, np.float32)
        end = min(len(places), (block + 1) * _PAIRS)
        for pair in range(block * _PAIRS, end):
            following = places[min(pair + 1, end - 1)]  # rows are in no order that the processor foresees
            soon = documents[flat[following] - first]
            for dimension in range(0, dimensions, 32):
                prefetch(soon, dimension)
            query, document = queries[places[pair] // width], documents[flat[places[pair]] - first]
            for dimension in range(dimensions):
                products[dimension] = query[dimension] * half_to_float(document[dimension])
            total = 0.0
            for dimension in range(dimensions):
                total += np.float64(products[dimension])
            scores[places[pair]] = np.float32(total)
