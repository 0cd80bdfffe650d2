"""Pairs on disk: their order, their ids, and the same bytes."""

from __future__ import annotations

import os
import threading

import pyarrow as pa
import pytest
from support.mined_table import mined_table, spans

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing import pair_writing
from megatron_sbp.pairing.pair_writing import SCHEMA
from megatron_sbp.recipe import Pairs


@pytest.mark.parametrize("cuts", [(), (2,), (1, 2, 3)])
def test_file(tmp_path, cuts):
    table, audit = mined_table(tmp_path, Pairs(alpha=0.55), cuts=cuts)
    assert table.schema.equals(SCHEMA)
    rows = [(r["seed"], r["target"], r["seed_id"], r["target_id"], round(r["score"], 2)) for r in table.to_pylist()]
    assert rows == [
        (0, 1, "a", "b", 0.9), (0, 2, "a", "c", 0.6), (1, 0, "b", "a", 0.9), (1, 3, "b", "d", 0.8),
        (2, 3, "c", "d", 0.7), (2, 0, "c", "a", 0.6), (3, 1, "d", "b", 0.8), (3, 2, "d", "c", 0.7),
    ]  # fmt: skip
    summary = audit.summary()
    assert (summary["documents"], summary["documents_with_pairs"]) == (4, 4)
    assert (summary["candidates"], summary["kept"], summary["dropped"]["below_alpha"]) == (12, 8, 4)


def test_same_bytes(tmp_path):
    mined_table(tmp_path, Pairs(alpha=0.55))
    first = (tmp_path / "pairs.parquet").read_bytes()
    mined_table(tmp_path, Pairs(alpha=0.55))
    assert (tmp_path / "pairs.parquet").read_bytes() == first


@pytest.mark.parametrize("joint", [{}, {"max_seeds_per_target": 1}])
def test_ids_are_looked_up_for_several_shards_at_a_time(tmp_path, monkeypatch, joint):
    """Two shards, each waiting for the other one."""
    expected, _ = mined_table(tmp_path, Pairs(alpha=0.55, **joint))
    together, own = threading.Barrier(2), pair_writing.take_ids

    def met(names: pa.ChunkedArray, rows: pa.ChunkedArray) -> pa.ChunkedArray:
        together.wait(10)
        return own(names, rows)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(pair_writing, "take_ids", met)
    assert mined_table(tmp_path, Pairs(alpha=0.55, **joint))[0].equals(expected)


def test_nothing_is_left_by_the_rules_that_regard_all_pairs(tmp_path):
    documents = spans()
    documents.tokens[30:60] = documents.tokens[:30]  # b is a copy of a
    rules = Pairs(alpha=0.85, max_shared_shingles=1.0, collapse_above=0.5, directions="one")
    with pytest.raises(InputError, match=r"\(copy 2, cap 0, direction 0\)") as caught:
        mined_table(tmp_path, rules.model_copy(update={"max_targets_per_seed": 3}), documents)
    assert str(caught.value).startswith("'pairs': no pairs are left") and not (tmp_path / "pairs.parquet").exists()
