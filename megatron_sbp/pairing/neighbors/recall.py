"""Recall of a search, measured on a sample: of all k neighbors, and of those above a similarity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.pairing.neighbors import exact
from megatron_sbp.pairing.neighbors.recall_figures import EDGES
from megatron_sbp.pairing.neighbors.scores import NO_NEIGHBOR, NO_SCORE, best
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.recipe import Neighbors

EXACT_SAMPLE = 100
"""Documents on which the exact engine is compared with float64, at most."""

_TILE = 8192


@dataclass(frozen=True)
class Recall:
    """What was found of the true neighbors of a sample.

    Attributes:
        neighbors: true ones by similarity, int64 [200]: hundredths from -1 to 1.
        found: those of them that were found.
    """

    neighbors: np.ndarray
    found: np.ndarray

    @property
    def at_k(self) -> float:
        """Share of all k neighbors that was found."""
        return float(self.found.sum() / max(1, self.neighbors.sum()))

    def by_similarity(self) -> dict[str, list[float]]:
        """Edges of the hundredths, and per hundredth the neighbors and those found; from the least similar on."""
        there = np.flatnonzero(self.neighbors)
        first = int(there[0]) if there.size else len(self.neighbors)
        return {
            "edges": EDGES[first:].tolist(),
            "neighbors": self.neighbors[first:].tolist(),
            "found": self.found[first:].tolist(),
        }


def recall(found: np.ndarray, true: np.ndarray) -> float:
    """Share of the true neighbors that were found.

    Args:
        found: ids int64 [n, k], -1 for none.
        true: ids int64 [n, k], -1 for none.
    """
    wanted = true != NO_NEIGHBOR
    return float((_hits(found, true) & wanted).sum() / max(1, wanted.sum()))


def measured_rows(documents: int, settings: Neighbors, seed: int) -> np.ndarray:
    """Rows of the documents on which a search is measured: see `sample_rows`; fewer for the exact engine."""
    size = settings.recall_sample
    return sample_rows(documents, min(size, EXACT_SAMPLE) if settings.engine == "exact" else size, seed)


def sample_rows(documents: int, size: int, seed: int) -> np.ndarray:
    """Rows of the documents on which the recall is measured: int64, ascending, drawn without replacement."""
    random = np.random.default_rng([seed, documents, Stream.RECALL_SAMPLE])
    return np.sort(random.choice(documents, min(size, documents), replace=False)).astype(np.int64)


def measure(
    found: np.ndarray,
    rows: np.ndarray,
    vectors: Vectors,
    device: str | None,
    advance: Callable[[int], None] | None = None,
) -> Recall:
    """Compares neighbors with an exact search.

    Args:
        found: ids int64 [n, k] of the documents in `rows`.
        rows: int64 [n].
        vectors: all documents.
        device: cpu or cuda; None takes the products of all documents in float64 (`in_float64`), for the exact engine.
        advance: called with the number of documents compared since the last call.
    """
    k = found.shape[1]
    if device is None:
        true, scores = in_float64(rows, vectors, k, advance)
    else:
        true, scores = exact.nearest(vectors.take(rows), rows, vectors, k, device=device, advance=advance)
    wanted, hits = true != NO_NEIGHBOR, _hits(found, true)
    return Recall(_histogram(scores[wanted]), _histogram(scores[wanted & hits]))


def in_float64(
    rows: np.ndarray, vectors: Vectors, k: int, advance: Callable[[int], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of some documents by products in float64: ids int64 [n, k], scores float32 [n, k]."""
    queries = vectors.take(rows).astype(np.float64)
    ids, scores = np.full((len(rows), k), NO_NEIGHBOR, np.int64), np.full((len(rows), k), NO_SCORE, np.float32)
    for first, tile in vectors.tiles(_TILE):
        products = (queries @ tile.T.astype(np.float64)).astype(np.float32)
        own = np.flatnonzero((rows >= first) & (rows < first + len(tile)))
        products[own, rows[own] - first] = NO_SCORE
        # What is no better than the last that is kept comes behind it, since its id is higher: soon that is nearly all
        # of a tile, and sorting all of it took longer than the products.
        some = np.flatnonzero((products > scores[:, -1:]).any(axis=0))
        if some.size:
            products = products[:, some]
            here = np.where(products == NO_SCORE, NO_NEIGHBOR, first + some)
            ids, scores = best(np.hstack([ids, here]), np.hstack([scores, products]), k)
        if advance:
            advance(len(tile))
    return ids, scores


def _hits(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Which of the true neighbors were found: bool [n, k]."""
    return np.stack([np.isin(row, other) for row, other in zip(true, found, strict=True)])


def _histogram(scores: np.ndarray) -> np.ndarray:
    return np.histogram(np.clip(scores, -1, 1), EDGES)[0]
