"""How the neighbors of a split were found, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base.device import compute_device
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.pairing.neighbors.neighbor_files import read_neighbors
from megatron_sbp.pairing.neighbors.recall import measure, sample_rows
from megatron_sbp.pairing.neighbors.scann_plan import plan
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.recipe import Neighbors


def audit_neighbors(
    vectors: Vectors, neighbors: Sequence[Path], settings: Neighbors, *, seed: int, device: str, split: str
) -> dict[str, Any]:
    """Engine and recall of the neighbors of one split.

    Args:
        vectors: the documents.
        neighbors: files of neighbors, one per file of `vectors`, in the same order.
        settings: those of the search.
        seed: that of the search; also chooses the documents on which the recall is measured.
        device: of the exact search that measures it: auto, cpu or cuda (where there is one).
        split: for messages.

    Returns:
        engine, documents, dim, k, method, recall_at_k, recall_sample, and for ScaNN leaves, leaves_to_search, reorder.
        recall_at_k is 1 by definition for the exact engine, and None where nothing was measured.
    """
    audit: dict[str, Any] = {
        "engine": settings.engine,
        "documents": len(vectors),
        "dim": vectors.dimensions,
        "k": settings.k,
    }
    if settings.engine == "exact":
        return {**audit, "method": "exact", "recall_at_k": 1.0, "recall_sample": 0}
    planned = plan(len(vectors), vectors.dimensions, settings, seed)
    rows = sample_rows(len(vectors), settings.recall_sample, seed)
    value = None
    if rows.size:
        with Progress(f"recall {split}", len(vectors), "documents compared") as progress:
            # ScaNN runs on CPU nodes, even in a run whose other stages need a GPU.
            place = "cpu" if device == "cpu" else compute_device("auto")
            value = measure(_found(vectors, neighbors, rows, settings.k), rows, vectors, place, progress.advance)
        say(
            f"neighbors: recall@{settings.k} of ScaNN ({planned.method}) on {len(rows):,} {split} documents: "
            f"{value:.4f}"
        )
    return {
        **audit,
        "method": planned.method,
        "recall_at_k": value,
        "recall_sample": len(rows),
        "leaves": planned.leaves,
        "leaves_to_search": planned.leaves_to_search,
        "reorder": planned.reorder,
    }


def _found(vectors: Vectors, neighbors: Sequence[Path], rows: np.ndarray, k: int) -> np.ndarray:
    """Ids of the neighbors of some documents: int64 [rows, k]."""
    found = np.empty((len(rows), k), np.int64)
    for number, file in enumerate(neighbors):
        mine = np.flatnonzero((rows >= vectors.starts[number]) & (rows < vectors.starts[number + 1]))
        if mine.size:
            found[mine] = read_neighbors(file)[0][rows[mine] - vectors.starts[number]]
    return found
