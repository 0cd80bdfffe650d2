"""Rows with a key in common."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.overlap.shared_keys import shared_keys


@pytest.mark.parametrize("at_once", [1 << 26, 40, 7])
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_against_a_dictionary(at_once, dtype):
    random = np.random.default_rng(4)
    keys = random.integers(0, 60, 200).astype(dtype)
    rows: dict[int, list[int]] = {}
    for row, key in enumerate(keys.tolist()):
        rows.setdefault(key, []).append(row)
    found = []
    for groups in shared_keys([keys[:11], keys[11:11], keys[11:]], at_once):
        assert groups.bounds[0] == 0 and groups.bounds[-1] == len(groups.rows)
        found += [group.tolist() for group in np.split(groups.rows, groups.bounds[1:-1])] if len(groups.rows) else []
        assert set(groups.repeats.tolist()) == set(groups.rows.tolist()) - set(groups.rows[groups.bounds[:-1]].tolist())
    assert sorted(found) == sorted(group for group in rows.values() if len(group) > 1)


def test_none_and_all_different():
    for parts in ([], [np.empty(0, np.uint64)], [np.arange(5, dtype=np.uint64)]):
        for groups in shared_keys(parts):
            assert len(groups.rows) == 0 and groups.bounds.tolist() == [0] and groups.repeats.tolist() == []
