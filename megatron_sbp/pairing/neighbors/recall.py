"""Recall of an approximate search, measured on a sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.pairing.neighbors.exact import nearest
from megatron_sbp.pairing.neighbors.scores import NO_NEIGHBOR
from megatron_sbp.pairing.neighbors.vectors import Vectors


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Share of the exact neighbors that were found.

    Args:
        found: ids int64 [n, k], -1 for none.
        exact: ids int64 [n, k], -1 for none.
    """
    wanted = exact != NO_NEIGHBOR
    hits = sum(np.isin(row[mask], other).sum() for row, mask, other in zip(exact, wanted, found, strict=True))
    return float(hits / max(1, wanted.sum()))


def sample_rows(documents: int, size: int, seed: int) -> np.ndarray:
    """Rows of the documents on which the recall is measured: int64, ascending, drawn without replacement."""
    random = np.random.default_rng([seed, documents, Stream.RECALL_SAMPLE])
    return np.sort(random.choice(documents, min(size, documents), replace=False)).astype(np.int64)


def measure(
    found: np.ndarray,
    rows: np.ndarray,
    vectors: Vectors,
    device: str,
    advance: Callable[[int], None] | None = None,
) -> float:
    """Recall of neighbors against an exact search.

    Args:
        found: ids int64 [n, k] of the documents in `rows`.
        rows: int64 [n].
        vectors: all documents.
        device: cpu or cuda.
        advance: see `exact.nearest`.
    """
    exact, _ = nearest(vectors.take(rows), rows, vectors, found.shape[1], device, advance)
    return recall(found, exact)
