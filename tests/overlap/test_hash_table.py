"""The compiled set of hashes against Python's own."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.overlap.hash_table import insert, new_table, slot_of


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_a_table_is_at_most_half_full(count):
    size = len(new_table(count))
    assert size >= max(4, 2 * count) and size & (size - 1) == 0


def test_values_are_found_where_they_were_put_and_no_others():
    random = np.random.default_rng(1)
    # Few slots to begin with, so that runs of occupied slots wrap around the end of the table.
    values = np.concatenate([random.integers(1, 2**63, 300), np.arange(1000, 1100), [255] * 3]).astype(np.uint64)
    table, seen = new_table(len(values)), set()
    for value in values:
        assert insert(table, value) == (int(value) not in seen)
        seen.add(int(value))
    assert set(table[table != 0].tolist()) == seen
    for value in seen:
        assert table[slot_of(table, np.uint64(value))] == value
    assert all(slot_of(table, np.uint64(value)) == -1 for value in range(2000, 2300) if value not in seen)


def test_a_run_of_slots_goes_on_at_the_beginning():
    table = new_table(2)
    assert [insert(table, np.uint64(value)) for value in (3, 7, 11)] == [True] * 3  # all three belong to the last slot
    assert [slot_of(table, np.uint64(value)) for value in (3, 7, 11, 15)] == [3, 0, 1, -1]
