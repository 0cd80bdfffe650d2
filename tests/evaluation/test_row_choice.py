"""Seeded choices of documents."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.evaluation.row_choice import choose


def test_a_choice_is_ascending_without_repeats_and_follows_from_seed_and_stream():
    found = choose(1000, 50, seed=1, stream=2)
    assert len(set(found.tolist())) == 50 and (np.diff(found) > 0).all() and found.max() < 1000
    assert np.array_equal(found, choose(1000, 50, 1, 2))
    assert not np.array_equal(found, choose(1000, 50, 2, 2)) and not np.array_equal(found, choose(1000, 50, 1, 3))


@pytest.mark.parametrize(("population", "wanted", "count"), [(0, 5, 0), (5, 5, 5), (5, 9, 5), (5, 0, 0)])
def test_all_or_nothing(population, wanted, count):
    assert choose(population, wanted, 1, 1).tolist() == list(range(population))[:count]


def test_every_row_is_equally_likely():
    counts = np.bincount(np.concatenate([choose(20, 5, seed, 1) for seed in range(2000)]), minlength=20)
    assert counts.min() > 430 and counts.max() < 570  # 500 expected, standard deviation 19
