"""Documents that are copies of earlier ones, excluded from all pairs by `pairs.collapse_above`."""

from __future__ import annotations

import numpy as np

from megatron_sbp.overlap.shared_shingles import TokenSpans, shared_fractions
from megatron_sbp.pairing.neighbors.scores import NO_NEIGHBOR
from megatron_sbp.recipe import Pairs


def find_copies(ids: np.ndarray, scores: np.ndarray, first_row: int, documents: TokenSpans, rules: Pairs) -> np.ndarray:
    """Finds documents that have an earlier copy in D among their neighbors.

    Args:
        ids: rows of the neighbors of documents first_row, first_row + 1, ...: int64 [n, k], -1 for none.
        scores: float32 [n, k].
        first_row: row of the first document.
        documents: tokens of all documents.
        rules: alpha, shingle_tokens and collapse_above are used.

    Returns:
        Their rows, int64, ascending; none without collapse_above.
    """
    if rules.collapse_above is None:
        return np.empty(0, np.int64)
    rows = np.arange(first_row, first_row + len(ids))
    earlier = (ids != NO_NEIGHBOR) & (ids < rows[:, None]) & (scores > rules.alpha)
    seeds = np.repeat(rows, earlier.sum(axis=1))
    shared = shared_fractions(documents, seeds, ids[earlier], rules.shingle_tokens)
    return np.unique(seeds[shared > rules.collapse_above])
