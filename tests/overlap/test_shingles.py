"""Shingles against a plain count of token runs."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.overlap.shingles import shared_fraction, shingle_hashes


def runs(tokens: list[int], length: int) -> set[tuple[int, ...]]:
    width = min(length, len(tokens))
    return {tuple(tokens[place : place + width]) for place in range(len(tokens) - width + 1)} if tokens else set()


@pytest.mark.parametrize("length", [1, 2, 5, 13])
def test_as_many_hashes_as_distinct_runs(length):
    draw = np.random.default_rng(length)
    for size in (0, 1, 2, 5, 12, 13, 14, 100, 1000):
        tokens = draw.integers(0, 4, size)
        hashes = shingle_hashes(tokens, length)
        assert hashes.dtype == np.uint64
        assert hashes.size == len(runs(tokens.tolist(), length))
        assert (np.diff(hashes.astype(object)) > 0).all()


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.int64])
def test_shared_fraction_against_sets(kind):
    draw = np.random.default_rng(0)
    for _ in range(100):
        first, second = draw.integers(0, 3, draw.integers(1, 60)), draw.integers(0, 3, draw.integers(1, 60))
        if draw.random() < 0.5:
            second[: min(20, second.size, first.size)] = first[: min(20, second.size, first.size)]
        # Only runs of the full length are compared; a short document is one run of its own length.
        sets = [runs(part.tolist(), 4) for part in (first, second)]
        expected = len(sets[0] & sets[1]) / min(map(len, sets))
        found = shared_fraction(shingle_hashes(first.astype(kind), 4), shingle_hashes(second.astype(kind), 4))
        assert found == expected


def test_edges():
    empty = shingle_hashes(np.array([], np.int64), 13)
    whole = shingle_hashes(np.arange(50), 13)
    assert shared_fraction(empty, whole) == 0.0 and shared_fraction(whole, whole) == 1.0
    # A short document is no beginning of a long one.
    assert shared_fraction(shingle_hashes(np.arange(5), 13), whole) == 0.0
    assert shared_fraction(shingle_hashes(np.arange(5), 13), shingle_hashes(np.arange(5), 13)) == 1.0


def test_hashes_are_the_same_on_every_machine():
    """Pairs must not depend on where they were mined."""
    assert shingle_hashes(np.array([3, 1, 4, 1, 5]), 3).tolist() == [
        int(value) for value in sorted(by_hand([3, 1, 4, 1, 5], 3))
    ]


def by_hand(tokens: list[int], length: int) -> set[int]:
    """The same hash with Python's integers."""
    found = set()
    for place in range(len(tokens) - length + 1):
        value = length
        for token in tokens[place : place + length]:
            value = ((value ^ (token + 1)) * 0x9E3779B97F4A7C15) % 2**64
            value ^= value >> 29
        found.add(value)
    return found
