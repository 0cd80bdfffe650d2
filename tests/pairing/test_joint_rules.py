"""Rules that need the pairs of all documents, over shards."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from megatron_sbp.pairing.joint_rules import JointRules
from megatron_sbp.recipe import Pairs

PAIRS = [(0, 1, 0.9), (0, 2, 0.8), (0, 3, 0.7), (1, 0, 0.9), (2, 3, 0.6), (3, 1, 0.95)]


def kept(size: int, copies=(), **rules) -> tuple[list[tuple[int, int]], dict[str, int]]:
    """Pairs that are kept, in shards of that many, and what each rule drops."""
    rows = [{"seed": seed, "target": target, "score": score} for seed, target, score in PAIRS]
    tables = [pa.Table.from_pylist(rows[begin : begin + size]) for begin in range(0, len(rows), size)]
    dropped: dict[str, int] = {}

    def drop(name: str, count: int) -> None:
        dropped[name] = dropped.get(name, 0) + count

    joint = JointRules(lambda: tables, Pairs(**rules), 4, np.array(copies, np.int64), 1)
    found = [(row["seed"], row["target"]) for table in joint.tables(drop) for row in table.to_pylist()]
    return found, dropped


@pytest.mark.parametrize("size", [3, 6])
def test_copies_have_no_pairs_on_either_side(size):
    found, dropped = kept(size, copies=[1], collapse_above=0.8)
    assert found == [(0, 2), (0, 3), (2, 3)] and dropped == {"copy": 3}


@pytest.mark.parametrize("size", [3, 6])
def test_a_copy_takes_nobodys_place(size):
    """The best target of document 0 is a copy: the cap keeps the next one."""
    found, dropped = kept(size, copies=[1], collapse_above=0.8, max_targets_per_seed=1)
    assert found == [(0, 2), (2, 3)] and dropped == {"copy": 3, "cap": 1}


@pytest.mark.parametrize("size", [3, 6])
def test_a_target_keeps_its_best_seed_among_those_that_are_left(size):
    found, dropped = kept(size, copies=[1], collapse_above=0.8, max_seeds_per_target=1)
    assert found == [(0, 2), (0, 3)] and dropped == {"copy": 3, "target_cap": 1}


def test_a_cap_of_seeds_alone_needs_no_other_shard():
    assert kept(3, max_targets_per_seed=2) == ([pair[:2] for pair in PAIRS], {})


@pytest.mark.parametrize("size", [3, 6])
def test_mutual_pairs(size):
    assert kept(size, directions="mutual")[0] == [(0, 1), (1, 0)]
