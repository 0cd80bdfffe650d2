"""Blends: every source gives exactly its samples, each once and in order, and none runs ahead of its share."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from megatron_sbp.training.data.blended_dataset import interleave


@given(counts=st.lists(st.integers(1, 5000) | st.integers(1, 3), min_size=1, max_size=6))
def test_exact_counts(counts):
    order = interleave(counts)
    sources, samples = order["sources"], order["samples"]
    assert np.bincount(sources, minlength=len(counts)).tolist() == counts
    for source, count in enumerate(counts):
        given_places = np.flatnonzero(sources == source)
        assert (samples[given_places] == np.arange(count)).all()
    # At every prefix each source has given its share, up to one sample per source.
    places = np.arange(1, len(sources) + 1)
    for source, count in enumerate(counts):
        behind = np.abs(np.cumsum(sources == source) - places * count / len(sources))
        assert behind.max() <= len(counts)


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_the_same_counts_give_the_same_order(counts):
    one, other = interleave(counts), interleave(list(counts))
    assert (one["sources"] == other["sources"]).all() and (one["samples"] == other["samples"]).all()
