"""Packing: every pair once, nothing too long, and full."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.training.packing import pack


def lengths_like_documents(count: int) -> np.ndarray:
    """Log-normal lengths, cut at 512: what pairs of dictionary articles look like."""
    return np.minimum(np.random.default_rng(0).lognormal(5, 0.6, count).astype(int) + 4, 512)


def test_every_pair_once_and_no_sequence_too_long():
    lengths = lengths_like_documents(5000)
    packing = pack(lengths, 512, seed=1)
    assert sorted(packing.order) == list(range(5000))
    sums = np.add.reduceat(lengths[packing.order], packing.starts[:-1])
    assert sums.max() <= 512
    assert packing.fill == pytest.approx(sums.sum() / (512 * len(packing)))


def test_at_least_97_percent_full():
    assert pack(lengths_like_documents(5000), 512, seed=1).fill >= 0.97


def test_deterministic_and_seeded():
    lengths = lengths_like_documents(500)
    one, same, other = pack(lengths, 512, 1), pack(lengths, 512, 1), pack(lengths, 512, 2)
    assert (one.order == same.order).all() and (one.starts == same.starts).all()
    assert (one.order != other.order).any()


def test_more_pairs_than_a_window(monkeypatch):
    monkeypatch.setattr("megatron_sbp.training.packing.WINDOW", 64)
    lengths = lengths_like_documents(1000)
    packing = pack(lengths, 512, seed=1)
    assert sorted(packing.order) == list(range(1000))
    assert np.add.reduceat(lengths[packing.order], packing.starts[:-1]).max() <= 512


def test_a_pair_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="600 tokens does not fit into a sequence of 512"):
        pack(np.array([10, 600]), 512, seed=1)
    with pytest.raises(ValueError, match="no pairs"):
        pack(np.array([], dtype=int), 512, seed=1)
