"""Counts how often each document is a target, and finds hubs, the targets of very many seeds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from megatron_sbp.base.untyped import JsonObject

HUBS = 10
"""Number of hubs reported."""


class TargetCounts:
    """Counts pairs by their target: four bytes per document.

    Args:
        documents: number of all documents.
    """

    def __init__(self, documents: int):
        self._counts = np.zeros(documents, np.uint32)

    def add(self, targets: np.ndarray) -> None:
        """Counts the targets of some pairs: rows, int64 [pairs]."""
        rows, counts = np.unique(targets, return_counts=True)
        self._counts[rows] += counts.astype(np.uint32)

    def above(self, limit: int) -> np.ndarray:
        """Rows of documents that are targets of more than a given number of seeds: int64, ascending."""
        return np.flatnonzero(self._counts > limit)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of seeds of some documents: uint32 [rows]."""
        return self._counts[rows]

    def summary(self, names: pa.ChunkedArray) -> JsonObject:
        """Statistics of seeds per target, over documents that are a target.

        Args:
            names: ids of all documents, large_string [documents].

        Returns:
            targets (number of documents that are one), mean, median, largest, share_of_top_percent (of the pairs: those
            whose target is among the 1 % of the targets that have the most seeds), and hubs: id, row and seeds of the
            documents with the most, most first.
        """
        sizes = np.sort(self._counts[self._counts > 0])[::-1]
        if not sizes.size:
            return {"targets": 0, "mean": 0.0, "median": 0.0, "largest": 0, "share_of_top_percent": 0.0, "hubs": []}
        top = max(1, len(sizes) // 100)
        rows = _largest(self._counts, min(HUBS, len(sizes)))
        return {
            "targets": len(sizes),
            "mean": float(sizes.mean()),
            "median": float(np.median(sizes)),
            "largest": int(sizes[0]),
            "share_of_top_percent": float(sizes[:top].sum(dtype=np.int64) / sizes.sum(dtype=np.int64)),
            "hubs": [{"id": names[row].as_py(), "row": row, "seeds": int(self._counts[row])} for row in rows.tolist()],
        }


def _largest(counts: np.ndarray, number: int) -> np.ndarray:
    """Rows of the largest counts, largest first, ties by row."""
    least = np.partition(counts, len(counts) - number)[len(counts) - number]
    rows = np.flatnonzero(counts >= least)
    return rows[np.lexsort((rows, -counts[rows].astype(np.int64)))][:number]
