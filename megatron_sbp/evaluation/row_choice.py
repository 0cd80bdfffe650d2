"""Seeded choices of documents, by their row numbers."""

from __future__ import annotations

import numpy as np


def choose(population: int, wanted: int, seed: int, stream: int) -> np.ndarray:
    """Rows drawn without replacement, ascending: int64 [min(population, wanted)].

    Args:
        population: rows there are.
        wanted: rows requested.
        seed: the run's seed.
        stream: a number that keeps different choices of one run apart.
    """
    if wanted >= population:
        return np.arange(population)
    return np.sort(np.random.default_rng([seed, stream]).choice(population, wanted, replace=False))
