"""Scores of pairs: inner products of float16 vectors, computed in float64, given in float32.

Matrix products add in an order that depends on tile, thread and device, and so differ in the last bits. Ranks are
decided by these scores instead: they depend on nothing but the two vectors, and score(a, b) = score(b, a).
"""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.pairing.neighbors.vectors import Vectors

NO_NEIGHBOR = -1
"""Id that fills a row of fewer than k neighbors."""

NO_SCORE = np.float32(-2.0)
"""Score of such an entry: below every inner product of unit vectors."""

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
    order = np.argsort(flat, kind="stable")  # file by file, so that each is read once
    bounds = np.searchsorted(flat[order], vectors.starts)
    for place in range(len(vectors.parts)):
        mine = order[bounds[place] : bounds[place + 1]]
        if mine.size:
            part = vectors.parts[place].astype(np.float16).astype(np.float32)
            _dot(queries, mine // ids.shape[1], part, flat[mine] - vectors.starts[place], mine, scores)
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
    order = np.argsort(ids, axis=1, kind="stable")
    by_id = np.take_along_axis(scores, order, 1)
    order = np.take_along_axis(order, np.argsort(-by_id, axis=1, kind="stable"), 1)[:, :k]
    found = order.shape[1]
    best_ids = np.full((len(ids), k), NO_NEIGHBOR, np.int64)
    best_scores = np.full((len(ids), k), NO_SCORE, np.float32)
    best_ids[:, :found] = np.take_along_axis(ids, order, 1)
    best_scores[:, :found] = np.take_along_axis(scores, order, 1)
    return best_ids, best_scores


@numba.njit(parallel=True, cache=True)
def _dot(queries, query_rows, documents, document_rows, places, scores):
    for pair in numba.prange(len(places)):
        query, document = queries[query_rows[pair]], documents[document_rows[pair]]
        total = 0.0
        for dimension in range(query.size):
            total += np.float64(query[dimension]) * np.float64(document[dimension])
        scores[places[pair]] = np.float32(total)
