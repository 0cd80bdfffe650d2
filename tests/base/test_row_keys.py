from __future__ import annotations

import numpy as np

from megatron_sbp.base.row_keys import row_keys


def test_each_row_has_its_own_key_whatever_is_asked_beside_it():
    rows = np.arange(100_000)
    keys = row_keys(rows, 7)
    assert keys.dtype == np.uint64 and len(np.unique(keys)) == len(rows)
    assert row_keys(rows[500:510], 7).tolist() == keys[500:510].tolist()
    assert not (row_keys(rows, 8) == keys).any()
    bits = np.unpackbits(keys.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
    assert abs(bits - 0.5).max() < 0.01  # six standard deviations of a fair coin
