from __future__ import annotations

import numpy as np

from megatron_sbp.pairing.neighbors.clusters import k_means


def inertia(points: np.ndarray, centers: np.ndarray) -> float:
    return float(((points[:, None] - centers[None]) ** 2).sum(-1).min(1).sum())


def test_finds_clusters_that_are_there():
    random = np.random.default_rng(0)
    true = random.standard_normal((4, 6)).astype(np.float32) * 20
    points = true[random.integers(0, 4, 400)] + 0.1 * random.standard_normal((400, 6)).astype(np.float32)
    best = min((k_means(points, 4, seed) for seed in range(8)), key=lambda centers: inertia(points, centers))
    assert inertia(points, best) < 1.1 * inertia(points, true)


def test_iterations_lower_the_distance(helpers):
    points = helpers.unit_vectors(1000, 16, clusters=12).astype(np.float32)
    values = [inertia(points, k_means(points, 12, 3, iterations)) for iterations in (1, 2, 4, 12)]
    assert values == sorted(values, reverse=True) and values[-1] < 0.99 * values[0]


def test_same_seed_same_bytes(helpers):
    points = helpers.unit_vectors(1000, 16, clusters=12).astype(np.float32)
    assert k_means(points, 30, 1).tobytes() == k_means(points, 30, 1).tobytes()
    assert k_means(points, 30, 1).tobytes() != k_means(points, 30, 2).tobytes()


def test_as_many_clusters_as_different_points(helpers):
    """Equal points leave clusters empty: those restart elsewhere."""
    different = helpers.unit_vectors(10, 8).astype(np.float32)
    points = np.concatenate([np.repeat(different[:1], 200, axis=0), different[1:]])
    centers = k_means(points, 10, 1)
    assert np.isfinite(centers).all()
    assert inertia(different, centers) < 1e-6
