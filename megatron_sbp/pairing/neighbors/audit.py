"""How the neighbors of a split were found, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base.device import compute_device
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.pairing.neighbors.neighbor_files import read_neighbors
from megatron_sbp.pairing.neighbors.recall import measure, measured_rows
from megatron_sbp.pairing.neighbors.scann_plan import plan
from megatron_sbp.pairing.neighbors.scann_tuning import Tuned
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.recipe import Neighbors


def audit_neighbors(
    vectors: Vectors,
    neighbors: Sequence[Path],
    settings: Neighbors,
    *,
    seed: int,
    device: str,
    split: str,
    tuned: Tuned | None = None,
) -> dict[str, Any]:
    """Engine and recall of the neighbors of one split.

    Args:
        vectors: the documents.
        neighbors: files of neighbors, one per file of `vectors`, in the same order.
        settings: those of the search.
        seed: that of the search; also chooses the documents on which the recall is measured.
        device: of the exact search that measures it: auto, cpu or cuda (where there is one).
        split: for messages.
        tuned: how far ScaNN looked, where that was found on a sample.

    Returns:
        engine, documents, dim, k, method, recall_at_k, recall_sample, recall_by_similarity (see
        `Recall.by_similarity`), and for ScaNN leaves, leaves_to_search, reorder. ScaNN is compared with the exact
        engine, and the exact engine, on fewer documents, with float64. None stands for what was not measured.
    """
    audit: dict[str, Any] = {
        "engine": settings.engine,
        "documents": len(vectors),
        "dim": vectors.dimensions,
        "k": settings.k,
    }
    if settings.engine == "exact":
        # Its matrix products are held against others, so that its recall is measured and not asserted.
        place, method = None, "exact"
        further: dict[str, Any] = {}
    else:
        planned = plan(len(vectors), vectors.dimensions, settings, seed)
        # ScaNN runs on CPU nodes, even in a run whose other stages need a GPU.
        place = compute_device("cpu" if device == "cpu" else "auto")
        method = planned.method
        far = tuned or planned
        further = {"leaves": planned.leaves, "leaves_to_search": far.leaves_to_search, "reorder": far.reorder}
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
