"""Pseudo-random numbers of pairs."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base.pair_keys import pair_keys

ROWS = np.arange(100_000)


@pytest.mark.parametrize("apart", [-2, -1, 0, 1, 2, 5_000])
def test_pairs_of_any_distance_have_keys_of_their_own(apart):
    keys = pair_keys(ROWS, ROWS + apart + 2, 7)
    assert keys.dtype == np.uint64 and len(np.unique(keys)) == len(ROWS)
    bits = np.unpackbits(keys.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
    assert abs(bits - 0.5).max() < 0.01  # six standard deviations of a fair coin


def test_a_key_follows_from_its_pair_alone():
    keys = pair_keys(ROWS, ROWS[::-1], 7)
    assert pair_keys(ROWS[500:510], ROWS[::-1][500:510], 7).tolist() == keys[500:510].tolist()
    for others in (pair_keys(ROWS[::-1], ROWS, 7), pair_keys(ROWS, ROWS[::-1], 8), pair_keys(ROWS, ROWS[::-1], -7)):
        assert not (others == keys).any()


def test_no_kind_of_pair_comes_first():
    """A smallest-keys sample of all pairs of 300 rows: distances are as frequent in it as among all pairs."""
    first, second = (side.ravel() for side in np.indices((300, 300)))
    for key in (0, 1, 2):
        sample = np.argsort(pair_keys(first, second, key))[:3000]
        assert np.mean(np.abs(first[sample] - second[sample])) == pytest.approx(100, abs=6)  # 4.5 standard errors
        assert np.sum(first[sample] == second[sample] + 1) < 30  # 10 expected
