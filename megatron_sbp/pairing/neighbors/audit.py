"""How the neighbors of a split were found, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.base.device import compute_device
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.pairing.neighbors.neighbor_files import read_neighbors
from megatron_sbp.pairing.neighbors.recall import measure, measured_rows
from megatron_sbp.pairing.neighbors.search import Search
from megatron_sbp.pairing.neighbors.vectors import Vectors


def audit_neighbors(search: Search, neighbors: Sequence[Path], *, seed: int, device: str, split: str) -> JsonObject:
    """Engine and recall of the neighbors of one split.

    Args:
        search: the search that found them.
        neighbors: files of neighbors, one per file of vectors, in the same order.
        seed: chooses the documents on which the recall is measured.
        device: of the exact search that measures it: auto, cpu or cuda (where there is one).
        split: for messages.

    Returns:
        engine, documents, dim, k, method, recall_at_k, recall_sample, recall_by_similarity (see
        `Recall.by_similarity`), and for ScaNN what `Search.described` says. ScaNN is compared with the exact
        engine, and the exact engine, on fewer documents, with float64. None means not measured.
    """
    vectors, settings = search.vectors, search.settings
    method, further = search.described()
    audit: JsonObject = {
        "engine": settings.engine,
        "documents": len(vectors),
        "dim": vectors.dimensions,
        "k": settings.k,
    }
    # The exact engine's matrix products are compared with others, so that its recall is measured, not asserted. ScaNN
    # runs on CPU nodes, even in a run whose other stages need a GPU.
    place = None if settings.engine == "exact" else compute_device("cpu" if device == "cpu" else "auto")
    rows = measured_rows(len(vectors), settings, seed)
    value, by_similarity = None, None
    if rows.size:
        with Progress(f"recall {split}", len(vectors), "documents compared") as progress:
            found = measure(_found(vectors, neighbors, rows, settings.k), rows, vectors, place, progress.advance)
        value, by_similarity = found.at_k, found.by_similarity()
        engine = f"ScaNN ({method})" if settings.engine == "scann" else "the exact search"
        say(f"neighbors: recall@{settings.k} of {engine} on {len(rows):,} {split} documents: {value:.4f}")
    return {
        **audit,
        "method": method,
        "recall_at_k": value,
        "recall_sample": len(rows),
        "recall_by_similarity": by_similarity,
        **further,
    }


def _found(vectors: Vectors, neighbors: Sequence[Path], rows: np.ndarray, k: int) -> np.ndarray:
    """Ids of the neighbors of some documents: int64 [rows, k]."""
    found = np.empty((len(rows), k), np.int64)
    for number, file in enumerate(neighbors):
        mine = np.flatnonzero((rows >= vectors.starts[number]) & (rows < vectors.starts[number + 1]))
        if mine.size:
            found[mine] = read_neighbors(file)[0][rows[mine] - vectors.starts[number]]
    return found
