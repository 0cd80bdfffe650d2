"""k-means, the same every time."""

from __future__ import annotations

import numpy as np
import torch

_BLOCK = 8192


def k_means(points: np.ndarray, clusters: int, seed: int, iterations: int = 12) -> np.ndarray:
    """Centers by Lloyd's algorithm from random points.

    Args:
        points: float32 [n, dimensions].
        clusters: at most n.
        seed: of the choice of the first centers.
        iterations: fewer when no point changes its cluster.

    Returns:
        float32 [clusters, dimensions].
    """
    assert clusters <= len(points), (clusters, len(points))
    random = np.random.default_rng([seed, clusters])
    centers = points[np.sort(random.choice(len(points), clusters, replace=False))].copy()
    former = np.full(len(points), -1)
    for _ in range(iterations):
        nearest, distances = _assign(points, centers)
        if np.array_equal(nearest, former):
            break
        former = nearest
        # Sums in float64 over points in ascending order: the order of addition is never random.
        order = np.argsort(nearest, kind="stable")
        counts = np.bincount(nearest, minlength=clusters)
        ends = np.cumsum(counts)
        for cluster in np.flatnonzero(counts):
            mine = order[ends[cluster] - counts[cluster] : ends[cluster]]
            centers[cluster] = points[mine].mean(axis=0, dtype=np.float64)
        # A cluster without points restarts at one of the points farthest from their centers.
        empty = np.flatnonzero(counts == 0)
        if empty.size:
            centers[empty] = points[np.argsort(-distances, kind="stable")[: empty.size]]
    return centers


def _assign(points: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest center of each point, int64 [n], and the squared distance less the point's own square, float32 [n]."""
    moved = torch.from_numpy(centers)
    squares = (moved * moved).sum(dim=1)
    nearest = np.empty(len(points), np.int64)
    distances = np.empty(len(points), np.float32)
    for begin in range(0, len(points), _BLOCK):
        block = torch.from_numpy(points[begin : begin + _BLOCK])
        found = (squares - 2 * (block @ moved.T)).min(dim=1)
        nearest[begin : begin + _BLOCK] = found.indices.numpy()
        distances[begin : begin + _BLOCK] = found.values.numpy()
    return nearest, distances
